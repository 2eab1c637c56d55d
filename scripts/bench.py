#!/usr/bin/env python3
"""Measures figures against their targets and writes target/bench.json.

usage: bench.py AUTOREP [PREFIX]   (AUTOREP: the release binary; PREFIX: only figures named so)

target/bench.json is a list of {name, value, unit, target, better, command}. A missed target is
shown and is no failure: whether a figure is good enough is for its reader. A figure that cannot
be measured is one; that there is no GPU is said and is none.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import bench_gpu
import bench_load
import bench_loader
import bench_peers
import bench_ranks
import bench_step
import bench_table
import bench_upload
from bench_figure import ROOT, Unmeasured, figure, run, verdict

QUICKSTART = "manifests/quickstart.yaml"

# 5 seeds x (baseline and its evaluation + 41 x 271 grid points x 6 budgets x 3 tasks each): one
# million tasks exactly.
MILLION_TASKS = """\
apiVersion: autorep/v1
kind: Sweep
metadata: { name: million-tasks }
spec:
  data: { name: fashion-mnist, train_limit: 10000 }
  net: { name: resnet9, width: 16 }
  budgets: [1K, 2K, 4K, 8K, 16K, 50%]
  seeds: 5
  baseline: { epochs: 4 }
  replace: { epochs: 4 }
  finetune: { epochs: 2 }
  grid:
    replace.penalty: { from: 1.0e-5, to: 1.0e-3, steps: 41, scale: log }
    replace.hysteresis: { from: 1.0e-4, to: 1.0e-1, steps: 271, scale: log }
"""


def plan_million_tasks(autorep):
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "million.yaml"
        manifest.write_text(MILLION_TASKS)
        out, seconds, peak = run([autorep, "plan", str(manifest), "--format", "json"])
    tasks = json.loads(out)["tasks"]
    if tasks != 1_000_000:
        raise Unmeasured(f"the plan should hold 1000000 tasks, found {tasks}")
    command = "make bench ONLY=plan.million_tasks"
    return [
        figure("plan.million_tasks_s", round(seconds, 3), "s", 10, command),
        figure("plan.million_tasks_peak_gb", round(peak / 1e9, 3), "GB", 2, command),
    ]


def run_overhead(autorep):
    run([autorep, "data", "fetch", "fashion-mnist"])
    with tempfile.TemporaryDirectory() as store:
        run([autorep, "run", QUICKSTART, "--store", store])
        reports = list(Path(store).glob("sweeps/*/run.json"))
        if len(reports) != 1:
            raise Unmeasured(f"expected one sweeps/*/run.json in the store, found {len(reports)}")
        report = json.loads(reports[0].read_text())
    command = "make bench ONLY=run.overhead_share"
    return [
        figure("run.overhead_share", round(report["overhead_share"], 4), "share of wall time", 0.05, command)
    ]


# What is measured together, by the names of its figures.
BENCHES = [
    (("plan.million_tasks_s", "plan.million_tasks_peak_gb"), plan_million_tasks),
    (("run.overhead_share",), run_overhead),
    *bench_gpu.BENCHES,
    *bench_load.BENCHES,
    *bench_loader.BENCHES,
    *bench_peers.BENCHES,
    *bench_ranks.BENCHES,
    *bench_table.BENCHES,
    *bench_step.BENCHES,
    *bench_upload.BENCHES,
]


def fresh_folder():
    """Where coordinators under load keep their stores, until all is measured.

    ext4 does not use the inode of a deleted file again for minutes, and a new file's search for one
    passes over all such inodes of its group (`recently_deleted` in fs/ext4/ialloc.c): behind a store
    of some ten thousand objects that was just removed, each new one takes a millisecond longer. So
    nothing is removed in between, and each store lies in a group of its own.
    """
    folder = tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("CARGO_TARGET_DIR"))
    try:
        subprocess.run(["chattr", "+T", folder.name], stderr=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        pass
    os.environ["AUTOREP_BENCH_STORES"] = folder.name
    return folder


def main(autorep, prefix):
    chosen = [bench for names, bench in BENCHES if any(name.startswith(prefix) for name in names)]
    if not chosen:
        known = ", ".join(name for names, _ in BENCHES for name in names)
        print(f"bench: no figure begins with {prefix!r}; there are {known}", file=sys.stderr)
        return 2
    with fresh_folder():
        figures, code = measure(autorep, prefix, chosen)
    if not figures:
        return code
    path = ROOT / "target" / "bench.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {path.relative_to(ROOT)}")
    return code


def measure(autorep, prefix, chosen):
    figures, code = [], 0
    for bench in chosen:
        try:
            measured = bench(autorep)
        except Unmeasured as error:
            print(f"bench: {error}", file=sys.stderr)
            code = 1
            continue
        for one in measured:
            if not one["name"].startswith(prefix):
                continue
            shown = f"{one['name']:<36} {one['value']:>10} {one['unit']:<20} {verdict(one)}"
            print(shown.rstrip(), flush=True)
            figures.append(one)
    return figures, code


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
