#!/usr/bin/env python3
"""Tries metrics, alerts and dashboard with a real Prometheus and Alertmanager.

usage: test-monitoring.py PROGRAMS PROMETHEUS

PROGRAMS is a folder with the built programs, PROMETHEUS what stage-prometheus.py prints. A real
coordinator and real workers run sweeps, with a scripted stand-in for the trainer. First all is well:
what they serve is held against docs/metrics.md and promtool, and every query of the dashboard and
every alert is evaluated. Then alerts are made to fire by their real causes, which are taken away
again; an Alertmanager tells a webhook of both. The rules are the shipped ones with shorter times
(see `derived`).

Only the standard library is used.
"""

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts/autorep/files"
ALERTS = (CHART / "alerts.yaml").read_text()
DASHBOARD = json.loads((CHART / "dashboard.json").read_text())
METRICS_PAGE = (ROOT / "docs/metrics.md").read_text()
RUNBOOK = (ROOT / "docs/runbook.md").read_text()

# No wait may be longer: the machine may be busy.
PATIENCE_S = 90

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
# Their causes (a slow disk, ten thousand callers, a defect) are not made here; unit tests have them.
UNIT_TESTED_ONLY = {
    "AutorepSlowWrites",
    "AutorepOverloaded",
    "AutorepCallsFail",
}

HEALTHY = "work 12 4 20000 60\n"

MANIFEST = """\
apiVersion: autorep/v1
kind: Sweep
metadata: {{ name: {name}, owner: {owner} }}
spec:
  data: {{ name: fashion-mnist, train_limit: 320, validation: 128, augment: false }}
  net: {{ name: resnet9, width: 2 }}
  budgets: [450, 40%]
  seeds: {seeds}
  baseline: {{ epochs: 4, batch: 32, lr: 0.05 }}
  replace: {{ epochs: 4, batch: 32, calibration_batches: 2 }}
  finetune: {{ epochs: 2, batch: 32 }}
  retry: {{ attempts: 3, backoff: 0s }}
  checkpoint: {{ every: 1s }}
  resources: {{ {resources} }}
"""


class Failed(Exception):
    """A check failed; the text says what was expected and what was found."""


def derived(rules):
    """The same rules for a test: what takes minutes there takes seconds here."""
    rules = re.sub(r"for: \d+m", "for: 1s", rules)
    rules = rules.replace("[1d]", "[5m]")
    rules = re.sub(r"\[(5|10|15|30)m\]|\[1h\]", "[15s]", rules)
    return rules.replace("> 1800", "> 8")


def renamed(rules):
    """The shipped rules beside them, under names of their own: only evaluated."""
    return rules.replace("alert: Autorep", "alert: Shipped").replace("- name: autorep", "- name: shipped")


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


class Webhook:
    """What an Alertmanager has said: by alert, the states that it was told to be in."""

    def __init__(self):
        self.told = {}
        self.marks = {}
        told = self.told

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                for alert in body["alerts"]:
                    told.setdefault(alert["labels"]["alertname"], []).append(alert["status"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


    def mark(self):
        """What is told from now on is news."""
        self.marks = {alert: len(told) for alert, told in list(self.told.items())}


class Installation:
    """A coordinator, workers, Prometheus and Alertmanager in a folder."""

    def __init__(self, folder, programs, prometheus):
        self.folder, self.programs, self.tools = folder, programs, prometheus
        self.processes = {}
        self.ports = {}
        self.webhook = Webhook()
        self.data = folder / "data/fashion-mnist"
        self.data.mkdir(parents=True)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("AUTOREP_")
        }

    def make_tokens(self):
        """One for workers, one for whoever submits."""
        entries = [
            self.autorep("token", "new", "--name", role, "--role", role, "--out", f"{role}.token")
            for role in ["worker", "admin"]
        ]
        (self.folder / "tokens.yaml").write_text("".join(entries))
        (self.folder / "wrong.token").write_text("0" * 43 + "\n")

    def port(self, name):
        return self.ports.setdefault(name, free_port())

    def spawn(self, name, command):
        log = open(self.folder / f"{name}.log", "ab")
        self.processes[name] = subprocess.Popen(
            [str(part) for part in command], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )

    def end(self, name, how=signal.SIGKILL):
        process = self.processes.pop(name)
        process.send_signal(how)
        process.wait()

    def start_coordinator(self):
        self.spawn("coordinator", [
            self.programs / "autorep", "coordinator", "--store", "store", "--lease-ttl", "2s",
            "--owner", "capped:cap=1", "--tokens", "tokens.yaml", "--listen", f"127.0.0.1:{self.port('grpc')}",
            "--metrics-listen", f"127.0.0.1:{self.port('coordinator')}",
        ])

    def start_worker(self, name):
        machine = {"w4": "b", "w5": "c", "w6": "c"}.get(name, "a")
        self.spawn(name, [
            self.programs / "autorep", "worker", "--store", "store", "--name", name,
            "--coordinator", f"http://127.0.0.1:{self.port('grpc')}", "--machine", machine, "--token-file", "worker.token",
            "--ranks", "1", "--threads", "1", "--data", "data", "--scratch", "scratch",
            "--trainer", self.programs / "autorep-trainer-double",
            "--metrics-listen", f"127.0.0.1:{self.port(name)}",
        ])

    def start_watchers(self, workers):
        (self.folder / "alerts.yaml").write_text(derived(ALERTS))
        (self.folder / "shipped.yaml").write_text(renamed(ALERTS))
        targets = {"coordinator": ["coordinator"], "worker": workers}
        scrapes = [
            {
                "job_name": job,
                "static_configs": [{
                    "targets": [f"127.0.0.1:{self.port(name)}" for name in names],
                    "labels": {"namespace": "test"},
                }],
            }
            for job, names in targets.items()
        ]
        # JSON is YAML.
        self.write("prometheus.yaml", {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yaml", "shipped.yaml"],
            "scrape_configs": scrapes,
            "alerting": {"alertmanagers": [
                {"static_configs": [{"targets": [f"127.0.0.1:{self.port('alertmanager')}"]}]}
            ]},
        })
        self.write("alertmanager.yaml", {
            "route": {
                "receiver": "nobody",
                "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s",
                "routes": [{"receiver": "webhook", "matchers": ['alertname=~"Autorep.+"']}],
            },
            "receivers": [{"name": "nobody"}, {
                "name": "webhook",
                "webhook_configs": [{"url": f"http://127.0.0.1:{self.webhook.port}/"}],
            }],
        })
        self.spawn("prometheus", [
            self.tools / "prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=tsdb",
            f"--web.listen-address=127.0.0.1:{self.port('prometheus')}", "--log.level=warn",
            "--rules.alert.resend-delay=1s",
        ])
        for template in self.tools.glob("*.tmpl"):  # None where the package is installed.
            (self.folder / template.name).write_bytes(template.read_bytes())
        self.spawn("alertmanager", [
            self.tools / "prometheus-alertmanager", "--config.file=alertmanager.yaml",
            "--storage.path=alertmanager", "--cluster.listen-address=", "--log.level=warn",
            f"--web.listen-address=127.0.0.1:{self.port('alertmanager')}",
        ])

    def write(self, name, value):
        (self.folder / name).write_text(json.dumps(value, indent=1))

    def script(self, text):
        """What trainers do from their next task on."""
        fresh = self.data / "script.new"
        fresh.write_text(text)
        fresh.rename(self.data / "script")

    def autorep(self, *arguments, token="admin.token"):
        command = [self.programs / "autorep", *arguments]
        environment = dict(
            self.environment, AUTOREP_COORDINATOR=f"http://127.0.0.1:{self.port('grpc')}",
            AUTOREP_TOKEN_FILE=token,
        )
        done = subprocess.run(
            [str(part) for part in command], cwd=self.folder, env=environment, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S,
        )
        if done.returncode not in (0, 3):
            raise Failed(f"autorep {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def submit(self, name, seeds, owner="everybody", resources="gpus: 0"):
        text = MANIFEST.format(name=name, seeds=list(seeds), owner=owner, resources=resources)
        (self.folder / f"{name}.yaml").write_text(text)
        self.autorep("submit", f"{name}.yaml")

    def prometheus(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port('prometheus')}/api/v1/{path}"
        try:
            answer = json.loads(get(f"{url}?{urllib.parse.urlencode(parameters)}"))
        except urllib.error.HTTPError as error:
            if error.code == 503:  # It is starting.
                raise
            raise Failed(f"{parameters}: {error.read().decode()}") from error
        return answer["data"]

    def value(self, query):
        """The sum of what a query gives now; None if it gives nothing."""
        found = self.prometheus("query", query=query)["result"]
        return sum(float(it["value"][1]) for it in found) if found else None

    def logs(self):
        for path in sorted(self.folder.glob("*.log")):
            print(f"--- {path.name}, its end\n" + path.read_text(errors="replace")[-1500:], file=sys.stderr)

    def stop(self):
        for name in list(self.processes):
            self.end(name)


def wait_until(what, condition):
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return time.monotonic() - began
        if time.monotonic() - began > PATIENCE_S:
            raise Failed(f"expected that {what} within {PATIENCE_S} s, found that not")
        time.sleep(0.1)


def serves(it):
    ready = f"http://127.0.0.1:{it.port('coordinator')}/readyz"
    wait_until("the coordinator serves", lambda: get(ready))  # 503 is an error.


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
        found = it.prometheus("query_range", query=query, start=began, end=time.time(), step=1)
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

    def has_fired(alert):
        told, mark = it.webhook.told.get(alert, []), it.webhook.marks.get(alert, 0)
        return "firing" in told[mark:] or told[-1:] == ["firing"]

    for alert in alerts:
        wait_until(f"{alert} fires", lambda: has_fired(alert))


def resolved(it, alerts):
    for alert in alerts:
        wait_until(f"{alert} resolves", lambda: it.webhook.told.get(alert, [""])[-1] == "resolved")


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
    fires(
        it, "AutorepTasksInQuarantine", "AutorepTasksGaveUp", "AutorepAttemptsFail",
        "AutorepMachineExcluded",
    )
    it.script(HEALTHY)
    # As the runbook says: once the cause is mended.
    it.submit("crashes", [20, 21, 22, 23])
    wait_until("nothing is in quarantine", lambda: it.value("autorep_quarantined_tasks") == 0)
    it.autorep("cancel", "crashes")


def cause_idle_workers(it):
    """An owner's cap, and a sweep for GPUs that nobody has."""
    it.script("work 400 100 1000 50\n")
    for name in ["w5", "w6"]:  # The others' machines are excluded, or nearly.
        it.start_worker(name)
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
    wait_until("its front is measured", lambda: it.value("autorep_front_points") is not None)


def all_resolve(it):
    names = sorted(set(re.findall(r"alert: (\S+)", ALERTS)) - UNIT_TESTED_ONLY)
    never = [name for name in names if "firing" not in it.webhook.told.get(name, [])]
    if never:
        raise Failed(f"expected that each alert was made to fire, found none of {never}")
    resolved(it, names)
    return f"{len(names)} alerts"


def main(programs, prometheus):
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="autorep-monitoring-") as folder:
        it = Installation(Path(folder), Path(programs).resolve(), Path(prometheus))
        try:
            checks.run("rules on made-up series", unit_tests, it)
            it.make_tokens()
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
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
