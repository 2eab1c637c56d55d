"""What alerts are tried on: a coordinator, workers, Prometheus and Alertmanager in a folder."""

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import seaweedfs
from monitoring.calls import Call
from monitoring.way import Way

ROOT = Path(__file__).resolve().parent.parent.parent
ALERTS = (ROOT / "charts/autorep/files/alerts.yaml").read_text()

# No wait may be longer: the machine may be busy.
PATIENCE_S = 90

MANIFEST = """\
apiVersion: autorep/v1
kind: Sweep
metadata: {{ name: {name}, owner: {owner} }}
spec:
  data: {{ name: fashion-mnist, train_limit: 320, validation: 128, augment: false }}
  net: {{ name: resnet9, width: 2 }}
  budgets: {budgets}
  seeds: {seeds}
  baseline: {{ epochs: 4, batch: 32, lr: 0.05 }}
  replace: {{ epochs: 4, batch: 32, calibration_batches: 2 }}
  finetune: {{ epochs: 2, batch: 32 }}
  retry: {{ attempts: 3, backoff: 0s }}
  checkpoint: {{ every: 1s }}
  resources: {{ {resources} }}
"""


def manifest(name, seeds, owner="everybody", resources="gpus: 0", budgets="[450, 40%]"):
    return MANIFEST.format(
        name=name, seeds=list(seeds), owner=owner, resources=resources, budgets=budgets
    )


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


def wait_until(what, condition):
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return time.monotonic() - began
        if time.monotonic() - began > PATIENCE_S:
            raise Failed(f"expected that {what} within {PATIENCE_S} s, found that not")
        time.sleep(0.1)


class Webhook:
    """What an Alertmanager has said: by alert, the states that its series were told to be in."""

    def __init__(self):
        self.told = {}
        self.marks = {}
        told = self.told

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                for alert in body["alerts"]:
                    said = (alert["fingerprint"], alert["status"])
                    told.setdefault(alert["labels"]["alertname"], []).append(said)
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

    def states(self, alert):
        """What was told last of each of its series."""
        return set(dict(self.told.get(alert, [])).values())

    def has_fired(self, alert):
        """Since the mark, or still."""
        news = self.told.get(alert, [])[self.marks.get(alert, 0):]
        return "firing" in {state for _, state in news} | self.states(alert)

    def is_resolved(self, alert):
        return self.states(alert) == {"resolved"}


class Installation:
    """A coordinator, workers, Prometheus and Alertmanager in a folder."""

    def __init__(self, folder, programs, prometheus):
        self.folder, self.programs, self.tools = folder, programs, prometheus
        self.processes = {}
        self.ports = {}
        # Before a bucket in which a second coordinator keeps its state, if there is one.
        self.way = None
        self.webhook = Webhook()
        self.data = folder / "data/fashion-mnist"
        self.data.mkdir(parents=True)
        self.environment = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("AUTOREP_", "AWS_"))
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

    def spawn(self, name, command, **variables):
        log = open(self.folder / f"{name}.log", "ab")
        self.processes[name] = subprocess.Popen(
            [str(part) for part in command], cwd=self.folder, env=self.environment | variables,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )

    def end(self, name, how=signal.SIGKILL):
        process = self.processes.pop(name)
        process.send_signal(how)
        process.wait()

    def start_coordinator(self, name="coordinator", store="store", **variables):
        self.spawn(name, [
            self.programs / "autorep", "coordinator", "--store", store, "--lease-ttl", "2s",
            "--owner", "capped:cap=1", "--tokens", "tokens.yaml",
            "--listen", f"127.0.0.1:{self.port(f'{name} calls')}",
            "--metrics-listen", f"127.0.0.1:{self.port(name)}",
        ], **variables)

    @contextlib.contextmanager
    def bucket(self, weed):
        """SeaweedFS, the way to it, and a coordinator at the way's other end."""
        place = self.folder / "weed"
        place.mkdir()
        try:
            with seaweedfs.serving(weed, place) as port:
                self.way = Way(port)
                variables = seaweedfs.variables(self.way.port)
                self.start_coordinator("bucket", "s3://sweeps/team", **variables)
                yield
        except seaweedfs.NotServed as error:
            raise Failed(str(error)) from error

    def start_worker(self, name):
        machine = {"w4": "b", "w5": "c", "w6": "c"}.get(name, "a")
        self.spawn(name, [
            self.programs / "autorep", "worker", "--store", "store", "--name", name,
            "--coordinator", f"http://127.0.0.1:{self.port('coordinator calls')}",
            "--machine", machine, "--token-file", "worker.token",
            "--ranks", "1", "--threads", "1", "--data", "data", "--scratch", "scratch",
            "--trainer", self.programs / "autorep-trainer-double",
            "--metrics-listen", f"127.0.0.1:{self.port(name)}",
        ])

    def start_watchers(self, workers):
        (self.folder / "alerts.yaml").write_text(derived(ALERTS))
        (self.folder / "shipped.yaml").write_text(renamed(ALERTS))
        targets = {
            "coordinator": {"test": ["coordinator"], "bucket": ["bucket"] if self.way else []},
            "worker": {"test": workers},
        }
        scrapes = [
            {
                "job_name": job,
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{self.port(name)}" for name in names],
                        "labels": {"namespace": namespace},
                    }
                    for namespace, names in namespaces.items()
                ],
            }
            for job, namespaces in targets.items()
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

    def autorep(self, *arguments, token="admin.token", to="coordinator"):
        command = [self.programs / "autorep", *arguments]
        environment = dict(
            self.environment, AUTOREP_COORDINATOR=f"http://127.0.0.1:{self.port(f'{to} calls')}",
            AUTOREP_TOKEN_FILE=token,
        )
        done = subprocess.run(
            [str(part) for part in command], cwd=self.folder, env=environment, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S,
        )
        if done.returncode not in (0, 3):
            raise Failed(f"autorep {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def submit(self, name, seeds, to="coordinator", **others):
        (self.folder / f"{name}.yaml").write_text(manifest(name, seeds, **others))
        self.autorep("submit", f"{name}.yaml", to=to)

    def call(self, method, body):
        """A call by hand, as somebody who may submit."""
        token = (self.folder / "admin.token").read_text().strip()
        return Call(self.port("coordinator calls"), f"/autorep.v1.Lab/{method}", token, body)

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
