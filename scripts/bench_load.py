"""The coordinator under load: what `autorep-bench` measures, with targets."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from bench_figure import ROOT, Unmeasured, figure, run

MIB = 1 << 20


def load(autorep, *arguments):
    """Runs the load generator, which lies beside the binary that it loads."""
    generator = os.path.join(os.path.dirname(autorep), "autorep-bench")
    out, _, _ = run([generator, "--autorep", autorep, *map(str, arguments)])
    return json.loads(out)


def folder():
    """A folder on the disk that builds are on: /tmp may be memory, where fsync costs nothing."""
    return tempfile.TemporaryDirectory(dir=os.environ.get("CARGO_TARGET_DIR"))


def dispatch(autorep):
    many = load(autorep, "dispatch", "--workers", 64)
    one = load(autorep, "dispatch", "--workers", 1)
    each = load(autorep, "dispatch", "--workers", 1, "--acquire-each")
    command = "make bench ONLY=dispatch.tasks"
    return [
        figure("dispatch.tasks_per_s", round(many["tasks_per_s"]), "tasks/s", 4000, command, "higher"),
        figure(
            "dispatch.tasks_per_s_one_worker", round(one["tasks_per_s"]), "tasks/s", 400, command, "higher"
        ),
        figure(
            "dispatch.tasks_per_s_one_worker_acquire_each",
            round(each["tasks_per_s"]),
            "tasks/s",
            None,
            command,
            "higher",
        ),
        figure("dispatch.tasks_fdatasync_ms", many["fdatasync_ms"], "ms (4 KiB, median)", None, command),
        figure(
            "dispatch.tasks_fdatasync_one_worker_ms",
            one["fdatasync_ms"],
            "ms (4 KiB, median)",
            None,
            command,
        ),
        figure(
            "dispatch.tasks_coordinator_cores", round(many["coordinator_cores"], 2), "cores", None, command
        ),
    ]


def first_lease(autorep):
    found = load(autorep, "first-lease")
    return [figure("dispatch.first_lease_s", round(found["first_lease_s"], 3), "s", 0.3)]


def reclaim(autorep):
    found = load(autorep, "reclaim")
    ttl = f"s beyond a TTL of {found['lease_ttl_s']:g} s"
    return [figure("dispatch.reclaim_s", round(found["excess_s"], 3), ttl, 1)]


def acquire(autorep):
    found = load(autorep, "acquire", "--workers", 1000)
    return [
        figure("dispatch.acquire_p99_ms", found["p99_ms"], "ms at 1,000 workers", 50),
        figure(
            "dispatch.acquire_fdatasync_ms",
            found["fdatasync_ms"],
            "ms (4 KiB, median)",
            None,
            "make bench ONLY=dispatch.acquire",
        ),
    ]


def crowd(autorep):
    found = load(autorep, "crowd", "--workers", 10_000)
    command = "make bench ONLY=dispatch.rss_10k"
    return [
        figure("dispatch.rss_10k_workers_mib", round(found["peak_mib"]), "MiB", 1024, command),
        figure("dispatch.cpu_10k_workers_cores", round(found["cpu_cores"], 3), "cores", 1, command),
    ]


def front_100k(autorep):
    with folder() as place:
        store = os.path.join(place, "store")
        filled = load(autorep, "fill", "--store", store, "--tasks", 100_000)
        if filled["done"] != 100_000:
            raise Unmeasured(f"expected 100000 results, found {filled}")
        out, seconds, peak = run([autorep, "front", "filled", "--store", store, "--format", "json"])
    rows = len(json.loads(out)["rows"])
    if rows != filled["candidates"]:
        raise Unmeasured(f"expected {filled['candidates']} candidates on record, found {rows}")
    command = "make bench ONLY=front.load"
    return [
        figure("front.load_100k_s", round(seconds, 3), "s", 1, command),
        figure("front.load_100k_peak_mb", round(peak / 1e6), "MB", 150, command),
    ]


def restart(autorep):
    with folder() as place:
        store = os.path.join(place, "store")
        load(autorep, "fill", "--store", store, "--tasks", 1_000_000)
        found = load(autorep, "restart", "--store", store)
    if found["done"] != 1_000_000:
        raise Unmeasured(f"expected 1000000 results after the restart, found {found['done']}")
    command = "make bench ONLY=restart"
    return [
        figure("restart.million_tasks_s", round(found["serving_s"], 2), "s", 20, command),
        figure("restart.million_tasks_peak_gb", round(found["peak_gb"], 3), "GB", 2.147, command),
    ]


def ledger(autorep):
    found = load(autorep, "ledger")
    by_tasks = found["event_ns_by_tasks"]
    command = "make bench ONLY=ledger"
    sizes = [
        figure(f"ledger.event_ns_at_{int(tasks):,}".replace(",", "_"), nanos, "ns/event", None, command)
        for tasks, nanos in sorted(by_tasks.items(), key=lambda item: int(item[0]))
    ]
    return [figure("ledger.event_cost_ratio", round(found["ratio"], 2), "10^6 : 10^3 tasks", 4, command), *sizes]


def grow(autorep):
    found = load(autorep, "grow")
    command = "make bench ONLY=grow"
    return [
        figure("grow.halving_10k_ms", round(found["halving_ms"], 3), "ms at 10,000 searches", 1, command),
        figure("grow.seeds_10k_ms", round(found["seeds_ms"], 3), "ms at 10,000 candidates", 1, command),
        figure("grow.budgets_10k_ms", round(found["budgets_ms"], 3), "ms at 10,000 candidates", 1, command),
    ]


def simulate(_autorep):
    script = ROOT / "scripts" / "simulate.sh"
    if not script.exists():
        raise Unmeasured("simulate.seeds_per_min: scripts/simulate.sh is not there")
    out, seconds, _ = run(["env", "N=500", "bash", str(script)])
    said = re.findall(rb"([\d.]+) seeds per minute", out)
    rate = float(said[-1]) if said else 500 * 60 / seconds
    return [figure("simulate.seeds_per_min", round(rate), "seeds/min", None, better="higher")]


BENCHES = [
    (
        (
            "dispatch.tasks_per_s",
            "dispatch.tasks_per_s_one_worker",
            "dispatch.tasks_per_s_one_worker_acquire_each",
            "dispatch.tasks_fdatasync_ms",
            "dispatch.tasks_fdatasync_one_worker_ms",
            "dispatch.tasks_coordinator_cores",
        ),
        dispatch,
    ),
    (("dispatch.first_lease_s",), first_lease),
    (("dispatch.reclaim_s",), reclaim),
    (("dispatch.acquire_p99_ms", "dispatch.acquire_fdatasync_ms"), acquire),
    (("dispatch.rss_10k_workers_mib", "dispatch.cpu_10k_workers_cores"), crowd),
    (("front.load_100k_s", "front.load_100k_peak_mb"), front_100k),
    (("restart.million_tasks_s", "restart.million_tasks_peak_gb"), restart),
    (
        (
            "ledger.event_cost_ratio",
            "ledger.event_ns_at_1_000",
            "ledger.event_ns_at_10_000",
            "ledger.event_ns_at_100_000",
            "ledger.event_ns_at_1_000_000",
        ),
        ledger,
    ),
    (("grow.halving_10k_ms", "grow.seeds_10k_ms", "grow.budgets_10k_ms"), grow),
    (("simulate.seeds_per_min",), simulate),
]
