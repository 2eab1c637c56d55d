#!/usr/bin/env python3
"""Tries metrics, alerts and dashboard with a real Prometheus and Alertmanager.

usage: test-monitoring.py PROGRAMS PROMETHEUS [WEED]

PROGRAMS is a folder with the built programs, PROMETHEUS what stage-prometheus.py prints, WEED what
stage-seaweedfs.py prints: without it one alert is not tried. A real coordinator and real workers run
sweeps, with a scripted stand-in for the trainer. First all is well: what they serve is held against
docs/metrics.md and promtool, and every query of the dashboard and every alert is evaluated. Then
alerts are made to fire by their real causes, which are taken away again; an Alertmanager tells a
webhook of both. The rules are the shipped ones with shorter times (see `derived`).

Only the standard library is used.
"""

import contextlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from monitoring.calls import text_field
from monitoring.installation import ALERTS, ROOT, Failed, Installation, get, manifest, wait_until

DASHBOARD = json.loads((ROOT / "charts/autorep/files/dashboard.json").read_text())
METRICS_PAGE = (ROOT / "docs/metrics.md").read_text()
RUNBOOK = (ROOT / "docs/runbook.md").read_text()

# What needs a machine or a state that is not made here.
NOT_SERVED = {
    "autorep_worker_gpu_utilization_ratio",
    "autorep_worker_gpu_memory_used_bytes",
    "autorep_worker_gpu_memory_bytes",
}
# Queries that have no data while all is well.
EMPTY_WHEN_WELL = re.compile(
    r"gpu_|code!=\"OK\"|overloads_total.*> 0|connections_refused_total.*> 0"
)
# Needs SeaweedFS.
NEEDS_BUCKET = {"AutorepSlowWrites"}

HEALTHY = "work 12 4 20000 60\n"


def serves(it, name="coordinator"):
    ready = f"http://127.0.0.1:{it.port(name)}/readyz"
    wait_until(f"the {name} serves", lambda: get(ready))  # 503 is an error.


def exposed(text):
    """The metrics in a page of Prometheus's text format, with their kinds."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def documented(*sections):
    """The metrics that the page lists, with their kinds."""
    kinds = {}
    for section in sections:
        text = METRICS_PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
        kinds.update(re.findall(r"^\| `(\S+)` \| (\w+) \|", text, re.MULTILINE))
    return kinds


def check_pages(it):
    """What is served is what the page lists, and promtool finds nothing to say about it."""
    for name, section in [("coordinator", "Coordinator"), ("w1", "Worker")]:
        text = get(f"http://127.0.0.1:{it.port(name)}/metrics")
        served, listed = exposed(text), documented(section, "Both")
        if served != {name: listed[name] for name in served if name in listed}:
            strange = set(served.items()) - set(listed.items())
            raise Failed(f"expected metrics of docs/metrics.md, found on {name} also {strange}")
        missing = set(listed) - set(served) - NOT_SERVED
        if missing:
            raise Failed(f"expected all that docs/metrics.md lists, {name} does not serve {missing}")
        lint = subprocess.run(
            [str(it.tools / "promtool"), "check", "metrics"], input=text, check=False,
            capture_output=True, text=True,
        )
        if lint.returncode != 0:
            raise Failed(f"promtool check metrics, {name}: {lint.stderr}")
        if "HELP" not in text or len(re.findall("^# HELP", text, re.MULTILINE)) != len(served):
            raise Failed(f"expected a help for each metric of {name}")
    ready = get(f"http://127.0.0.1:{it.port('w1')}/readyz")
    if ready != "ok\n":
        raise Failed(f"expected a worker that is ready, found {ready!r}")


def queries(panels):
    for panel in panels:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def check_dashboard(it, began):
    """Every query is answered, and with data where there is some."""
    count = 0
    for title, text in queries(DASHBOARD["panels"]):
        query = re.sub(r"\$(namespace|sweep|worker|job)\b", ".*", text)
        query = query.replace("$__rate_interval", "10s")
        if "$" in query:
            raise Failed(f"{title}: a variable is left in {query}")
        # The last step is no earlier than now: some data have only just come.
        found = it.prometheus("query_range", query=query, start=began, end=time.time() + 1, step=1)
        if not found["result"] and not EMPTY_WHEN_WELL.search(query):
            raise Failed(f"{title}: expected data, found none for {query}")
        count += 1
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric = re.match(r"label_values\((.*), (\w+)\)$", variable["query"]["query"])
            match = metric[1].replace("$namespace", ".*")
            values = it.prometheus(f"label/{metric[2]}/values", **{"match[]": match})
            if not values:
                raise Failed(f"variable {variable['name']}: expected values, found none")
    return f"{count} queries"


def check_rules(it):
    """Each rule is evaluated without error, none fires while all is well, each has its entry."""
    rules = [rule for group in it.prometheus("rules")["groups"] for rule in group["rules"]]
    anchors = {f"#{title.lower()}" for title in re.findall(r"^## (\S+)$", RUNBOOK, re.MULTILINE)}
    for rule in rules:
        if rule["health"] != "ok":
            raise Failed(f"{rule['name']}: {rule.get('lastError', rule['health'])}")
        if rule["state"] == "firing":
            raise Failed(f"{rule['name']} fires though all is well: {rule['alerts']}")
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        if page != "docs/runbook.md" or f"#{anchor}" not in anchors:
            raise Failed(f"{rule['name']}: expected an entry in docs/runbook.md, found none")
    return f"{len(rules)} rules"


def fires(it, *alerts):
    """Waits until each has fired since the webhook was last marked, or fires still."""
    for alert in alerts:
        wait_until(f"{alert} fires", lambda: it.webhook.has_fired(alert))


def resolved(it, alerts):
    for alert in alerts:
        wait_until(f"{alert} resolves", lambda: it.webhook.is_resolved(alert))


def cause_hanging_trainers(it):
    """Trainers that wait for data, and then do nothing more."""
    it.script("progress 1 0.9\nhold\n")
    it.submit("hangs", [60, 61])
    fires(it, "AutorepTrainersWaitForData", "AutorepNoProgress")
    it.script(HEALTHY)


def cause_lost_workers(it):
    """Four workers are killed while they hold leases."""
    for name in ["w3", "w4"]:
        it.start_worker(name)
    it.autorep("cancel", "hangs")
    it.script("work 400 100 1000 50\n")
    it.submit("lost", [10, 11, 12, 13])
    wait_until("four workers have leases", lambda: it.value('autorep_workers{state="busy"}') == 4)
    for name in ["w1", "w2", "w3", "w4"]:
        it.end(name)
    it.script(HEALTHY)
    fires(it, "AutorepLeaseExpiryStorm")
    for name in ["w1", "w2"]:
        it.start_worker(name)


def cause_crashes(it):
    """Trainers that crash, again and again, on two machines."""
    it.autorep("cancel", "lost")
    for name in ["w3", "w4"]:
        it.start_worker(name)
    it.script("abort\n")
    it.submit("crashes", [20, 21, 22, 23])
    fires(it, "AutorepTasksInQuarantine", "AutorepTasksGaveUp", "AutorepAttemptsFail")
    it.script(HEALTHY)
    # Where it happens on all machines, none is left alone until there is another one.
    for name in ["w5", "w6"]:
        it.start_worker(name)
    fires(it, "AutorepMachineExcluded")
    # As the runbook says: once the cause is mended.
    it.submit("crashes", [20, 21, 22, 23])
    wait_until("nothing is in quarantine", lambda: it.value("autorep_quarantined_tasks") == 0)
    it.autorep("cancel", "crashes")


def cause_idle_workers(it):
    """An owner's cap, and a sweep for GPUs that nobody has."""
    it.script("work 400 100 1000 50\n")
    it.submit("caps", [30, 31, 32], owner="capped")
    it.submit("needs", [40], resources="gpus: 1, gpu_type: h100")
    fires(it, "AutorepGpuIdleWhileWorkWaits", "AutorepNobodyCanTakeTasks")
    it.autorep("cancel", "caps")
    it.autorep("cancel", "needs")
    it.script(HEALTHY)


def cause_lost_coordinator(it):
    """The coordinator is killed, and comes back."""
    it.end("coordinator")
    fires(it, "AutorepCoordinatorDown", "AutorepWorkerNotReady")
    it.start_coordinator()
    serves(it)


def cause_lost_store(it):
    """The store takes no checkpoints for a while."""
    tasks, aside = it.folder / "store/tasks", it.folder / "store/aside"
    it.script("work 100 4 1000 50\n")
    it.submit("stored", [50, 51])
    wait_until("workers have leases", lambda: (it.value('autorep_workers{state="busy"}') or 0) >= 1)
    (it.folder / "store/nothing").write_text("no folder\n")
    tasks.rename(aside)
    tasks.symlink_to("nothing")
    fires(it, "AutorepStoreErrors")
    # At once: a worker that finds no such folder would make one.
    fresh = it.folder / "store/fresh"
    fresh.symlink_to("aside")
    fresh.rename(tasks)


def cause_slow_store(it):
    """The way to a coordinator's bucket is slow."""
    serves(it, "bucket")
    it.way.slow(3)
    it.submit("steered", [70], to="bucket")
    steers = itertools.cycle(["pause", "resume"])

    def steered():
        it.autorep(next(steers), "steered", to="bucket")
        return it.webhook.has_fired("AutorepSlowWrites")

    wait_until("AutorepSlowWrites fires", steered)
    it.way.fast()
    it.autorep("cancel", "steered", to="bucket")


def cause_many_people(it):
    """Eighty people ask what a large sweep would run, all at once."""
    budgets = [f"{share}%" for share in range(1, 100)]
    large = text_field(1, manifest("large", range(1000), budgets=budgets))
    with contextlib.ExitStack() as people:
        for _ in range(80):
            people.enter_context(it.call("Plan", large))
        fires(it, "AutorepOverloaded")


def cause_broken_client(it):
    """A client sends what is no message."""

    def called():
        with it.call("ListWorkers", b"\xff") as call:
            call.end()
        return it.webhook.has_fired("AutorepCallsFail")

    wait_until("AutorepCallsFail fires", called)


def cause_wrong_token(it):
    """Somebody comes with a token that nobody knows."""
    for _ in range(3):
        try:
            it.autorep("list", token="wrong.token")
        except Failed:
            time.sleep(1)  # Beside a scrape, so that the increase is one.
            continue
        raise Failed("expected that a token that nobody knows is refused, found that it is not")
    fires(it, "AutorepCallsRefused")


CAUSES = [
    cause_hanging_trainers,
    cause_lost_workers,
    cause_crashes,
    cause_idle_workers,
    cause_lost_coordinator,
    cause_lost_store,
    cause_slow_store,
    cause_many_people,
    cause_broken_client,
    cause_wrong_token,
]


class Checks:
    """Runs one check after the other and tells of each."""

    def __init__(self):
        self.passed = 0
        self.began = time.monotonic()

    def run(self, name, check, *arguments):
        began = time.monotonic()
        found = check(*arguments)
        self.passed += 1
        note = f" ({found})" if isinstance(found, str) else ""
        print(f"{name}{note}: {time.monotonic() - began:.0f} s", flush=True)


def unit_tests(it):
    """Rules on made-up series."""
    (it.folder / "units").mkdir()
    (it.folder / "units/alerts.yaml").write_text(ALERTS)
    tests = it.folder / "units/alerts_test.yaml"
    tests.write_text((ROOT / "scripts/monitoring/alerts_test.yaml").read_text())
    done = subprocess.run(
        [str(it.tools / "promtool"), "test", "rules", str(tests)], check=False,
        capture_output=True, text=True,
    )
    if done.returncode != 0:
        raise Failed(done.stdout + done.stderr)
    names = set(re.findall(r"alert: (\S+)", ALERTS))
    untested = {name for name in names if name not in tests.read_text()}
    if untested:
        raise Failed(f"expected a unit test of each alert, found none of {untested}")
    return f"{len(names)} alerts"


def healthy_sweep(it):
    it.script(HEALTHY)
    serves(it)
    it.submit("well", [0, 1, 2])
    wait_until("the sweep is done", lambda: it.value('autorep_sweeps{state="done"}') == 1)
    # Of what is measured of a sweep, this comes last.
    best = "autorep_front_best_accuracy_ratio"
    wait_until("its front is measured", lambda: it.value(best) is not None)


def all_resolve(it):
    names = sorted(set(re.findall(r"alert: (\S+)", ALERTS)) - (set() if it.way else NEEDS_BUCKET))
    it.webhook.marks.clear()
    never = [name for name in names if not it.webhook.has_fired(name)]
    if never:
        raise Failed(f"expected that each alert was made to fire, found none of {never}")
    resolved(it, names)
    return f"{len(names)} alerts"


def main(programs, prometheus, weed=""):
    checks = Checks()
    with contextlib.ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="autorep-monitoring-"))
        it = Installation(Path(folder), Path(programs).resolve(), Path(prometheus))
        try:
            checks.run("rules on made-up series", unit_tests, it)
            it.make_tokens()
            if weed:
                held.enter_context(it.bucket(weed))
            it.start_watchers(["w1", "w2", "w3", "w4", "w5", "w6"])
            it.start_coordinator()
            began = time.time()
            for name in ["w1", "w2"]:
                it.start_worker(name)
            checks.run("a sweep is run and scraped", healthy_sweep, it)
            checks.run("pages are as docs/metrics.md says and promtool likes them", check_pages, it)
            checks.run("the dashboard's queries have data", check_dashboard, it, began)
            checks.run("rules are evaluated and quiet", check_rules, it)
            it.webhook.told.clear()
            for cause in CAUSES:
                if cause is cause_slow_store and not it.way:
                    continue
                it.webhook.mark()
                checks.run("alerts fire: " + cause.__doc__.rstrip("."), cause, it)
            checks.run("alerts resolve", all_resolve, it)
        except (Failed, OSError, subprocess.SubprocessError) as error:
            it.logs()
            print(f"FAILED: {error}", file=sys.stderr)
            print(f"test result: FAILED. {checks.passed} passed; 1 failed; 0 ignored;")
            return 1
        finally:
            it.stop()
    print(f"test result: ok. {checks.passed} passed; 0 failed; 0 ignored;")
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
