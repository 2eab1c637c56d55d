"""A real coordinator with real workers, whose trainers are stand-ins that train nothing."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType

import grpc

from autorep import Client

PATIENCE_S = 60.0

# The folder with the built programs.
PROGRAMS = Path(os.environ.get("AUTOREP_PROGRAMS", ""))

MANIFEST = """\
apiVersion: autorep/v1
kind: Sweep
metadata: { name: tiny, owner: alice }
spec:
  data: { name: fashion-mnist, train_limit: 320, validation: 128, augment: false }
  net: { name: resnet9, width: 2 }
  budgets: [450, 900]
  seeds: [0, 1]
  baseline: { epochs: 4, batch: 32, lr: 0.05 }
  replace: { epochs: 4, batch: 32, calibration_batches: 2 }
  finetune: { epochs: 2, batch: 32 }
  retry: { attempts: 1, backoff: 0s }
"""

_NUMBERS = itertools.count()


def program(name: str) -> Path:
    """Give the path of a built program."""
    path = PROGRAMS / name
    assert path.is_file(), (
        f"expected {path}, found no file: `scripts/python.sh` builds it and sets AUTOREP_PROGRAMS"
    )
    return path


class Lab:
    """A coordinator on a loopback address of its own, which it has again when started again."""

    def __init__(self, folder: Path, script: str = "work 2 1 64 1") -> None:
        self.folder = folder
        number, process = next(_NUMBERS), os.getpid()
        host = f"127.{128 + (process >> 8) % 64}.{process % 256}.{number}"
        self.listen = f"{host}:7070"
        self.url = f"http://{self.listen}"
        self.variables: dict[str, str] = {}
        self.write_script(script)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._coordinator: subprocess.Popen[bytes] | None = None

    def write_script(self, script: str) -> None:
        """Say what the stand-ins do: see worker/double/main.rs."""
        data = self.folder / "data" / "fashion-mnist"
        data.mkdir(parents=True, exist_ok=True)
        (data / "script").write_text(script + "\n", encoding="utf-8")

    def client(self) -> Client:
        return Client(self.url)

    @property
    def host(self) -> str:
        return self.listen.partition(":")[0]

    def start(
        self,
        *arguments: str,
        credentials: grpc.ChannelCredentials | None = None,
        name: str | None = None,
    ) -> None:
        """Start the coordinator and wait until it answers, by TLS if there are credentials.

        Its certificate has this name; by default that of its address.
        """
        command = ["coordinator", "--store", "store", "--listen", self.listen, *arguments]
        self._coordinator = self._spawn("coordinator", command)
        if credentials is None:
            opened = grpc.insecure_channel(self.listen)
        else:
            options = [("grpc.ssl_target_name_override", name or self.host)]
            opened = grpc.secure_channel(self.listen, credentials, options)
            self.url = f"https://{self.listen}"
        with opened as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
            except grpc.FutureTimeoutError:
                raise AssertionError(self.log("coordinator")) from None

    def kill(self) -> None:
        """Kill the coordinator as a power cut does."""
        assert self._coordinator is not None
        self._coordinator.send_signal(signal.SIGKILL)
        self._coordinator.wait(PATIENCE_S)

    def start_worker(self) -> None:
        command = ["worker", "--name", "w", "--store", "store", "--threads", "1"]
        command += ["--trainer", str(program("autorep-trainer-double"))]
        self._spawn("worker", command)

    def run(self, *arguments: str) -> str:
        """Run a command of `autorep` to its end and give what it printed."""
        done = subprocess.run(
            [program("autorep"), *arguments],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _spawn(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [program("autorep"), *arguments],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def _environment(self) -> dict[str, str]:
        own = {name: text for name, text in os.environ.items() if not name.startswith("AUTOREP_")}
        own |= {
            "AUTOREP_COORDINATOR": self.url,
            "AUTOREP_DATA": str(self.folder / "data"),
            "AUTOREP_UNVERIFIED_DATA": "1",
            "HOME": str(self.folder),
        }
        return own | self.variables

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait(PATIENCE_S)
