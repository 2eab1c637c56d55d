"""What the stage-….py scripts have in common: a folder in the user's cache that is whole or not there.

What a script does is told on stderr; what it has staged is on its stdout alone. Only the standard
library is used, and only what Python 3.8 has. `stage-libtorch.py` needs no other file, because an
image is built with it alone.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


class Unmet(Exception):
    """Something is missing; the text says what and which command mends it."""


def cache_folder():
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "autorep"


def check_machine(otherwise):
    """Refuses a machine for which nothing is staged; `otherwise` says what to do there."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise Unmet(
            f"only x86_64 Linux is staged by this script, this is {machine} {system}. {otherwise}"
        )


def check_room(cache, needed_bytes):
    free = shutil.disk_usage(cache).free
    if free < needed_bytes:
        raise Unmet(
            f"staging needs {needed_bytes / 1e9:.1f} GB in {cache}, {free / 1e9:.1f} GB are free: "
            "make room, or set XDG_CACHE_HOME to a folder on a larger disk"
        )


def download_wheel(requirement, sha256, into, options=()):
    """Downloads a wheel. pip itself refuses a file whose digest is not the one named."""
    requirements = into / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--no-cache-dir",
        "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:", *options,
        "--quiet", "--progress-bar", "off", "--timeout", "60", "--retries", "5",
        "--dest", str(into), "-r", str(requirements),
    ]
    environment = dict(os.environ, PIP_REQUIRE_VIRTUALENV="false")
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment, check=False
    )
    wheels = list(into.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        raise Unmet(
            f"pip could not download {requirement} (its message is above): check the network and "
            "`python3 -m pip config list`, then run this again"
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != sha256:
        raise Unmet(
            f"{wheels[0].name} should have the sha256 {sha256}, found {found}: run this again; if "
            "it happens twice, do not trust where pip downloads from"
        )
    return wheels[0]


class Staging:
    """What is staged, by its name in messages and in the cache."""

    def __init__(self, name):
        self.name = name

    def say(self, text):
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def folder(self, name, needed_bytes, is_whole, fill):
        """The folder of this name in the cache. Unless it is whole, `fill(fresh, work)` makes it anew in
        the folder `fresh`, with `work` for whatever it needs on the way."""
        cache = cache_folder()
        cache.mkdir(parents=True, exist_ok=True)
        folder = cache / name
        with open(cache / f"{self.name}.lock", "w") as lock:
            # Two checkouts may stage at the same time; the second finds the work done.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_whole(folder):
                self.say(f"already staged in {folder}")
                return folder
            check_room(cache, needed_bytes)
            with self._work(cache) as work:
                fresh = work / "fresh"
                fresh.mkdir()
                fill(fresh, work)
                fresh.chmod(0o755)
                if folder.exists():
                    folder.rename(work / "old")
                fresh.rename(folder)
            self.say(f"staged in {folder}")
        return folder

    @staticmethod
    @contextlib.contextmanager
    def _work(cache):
        work = Path(tempfile.mkdtemp(prefix=".staging-", dir=cache))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def main(self, stage):
        """Ends this program with what `stage` returns on stdout, or with what it lacks on stderr."""
        try:
            print(stage())
        except (Unmet, OSError) as error:
            self.say(str(error))
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)
