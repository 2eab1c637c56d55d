#!/usr/bin/env python3
"""Stages Prometheus and its Alertmanager, against which metrics, alerts and the dashboard are tried.

Takes `prometheus`, `promtool` and `prometheus-alertmanager` of this machine if it has them; else
downloads Debian's (or Ubuntu's) packages with the machine's own apt, which checks where they come
from, and unpacks them into the user's cache folder. Nothing is installed and nothing started. What it
does is told on stderr; on stdout is a folder with the three programs alone. A second call finds them
and downloads nothing. AUTOREP_PROMETHEUS names a folder of your own instead.

Only the standard library is used, and only what Python 3.8 has.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ["prometheus", "prometheus-alertmanager"]
PROGRAMS = ["prometheus", "promtool", "prometheus-alertmanager"]
TEMPLATES = ["default.tmpl", "email.tmpl"]
NEEDED_BYTES = 300_000_000


class Unmet(Exception):
    """Something is missing; the text says what and which command mends it."""


def say(text):
    print("prometheus: " + text, file=sys.stderr, flush=True)


def cache_folder():
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "autorep"


def is_whole(folder):
    return all(os.access(folder / name, os.X_OK) for name in PROGRAMS)


def installed():
    """The folder of the programs that this machine has."""
    found = shutil.which("prometheus")
    if found is None:
        return None
    folder = Path(found).parent
    return folder if is_whole(folder) else None


def run(command, where):
    result = subprocess.run(
        command, cwd=where, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.STDOUT,
        env=dict(os.environ, LC_ALL="C"), check=False,
    )
    return result.returncode == 0


def download(into):
    for tool in ["apt-get", "dpkg-deb"]:
        if shutil.which(tool) is None:
            raise Unmet(
                f"{tool} is not on this machine, and neither is Prometheus: install "
                f"{', '.join(PROGRAMS)}, or set AUTOREP_PROMETHEUS to a folder with them"
            )
    # apt's own user cannot write here, and the file is checked all the same.
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    if run(command, into):
        return
    if os.geteuid() == 0 and run(["apt-get", "-qq", "update"], into) and run(command, into):
        return
    raise Unmet(
        "apt-get could not download the packages " + " and ".join(PACKAGES) + " (its message is "
        "above): check the network, and run `apt-get update` as root"
    )


def without_install(program):
    """Debian's Alertmanager reads its templates where the package is installed. Here it reads them from the
    folder in which it is started: by a path that is as long."""
    installed = b"/usr/share/prometheus/alertmanager"
    here = b"/proc/self/cwd".ljust(len(installed), b"/")
    program.write_bytes(program.read_bytes().replace(installed, here))


def stage(cache, folder):
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise Unmet(
            f"staging needs {NEEDED_BYTES / 1e9:.1f} GB in {cache}, {free / 1e9:.1f} GB are free: "
            "make room, or set XDG_CACHE_HOME to a folder on a larger disk"
        )
    work = Path(tempfile.mkdtemp(prefix=".staging-", dir=cache))
    try:
        say("downloading two packages, 30 MB, with apt-get")
        download(work)
        for package in sorted(work.glob("*.deb")):
            if not run(["dpkg-deb", "-x", package.name, "unpacked"], work):
                raise Unmet(f"dpkg-deb could not unpack {package.name} (its message is above)")
        fresh = work / "fresh"
        fresh.mkdir()
        for name in PROGRAMS:
            shutil.move(str(work / "unpacked/usr/bin" / name), str(fresh / name))
        without_install(fresh / "prometheus-alertmanager")
        templates = work / "unpacked/usr/share/prometheus/alertmanager"
        for name in TEMPLATES:
            shutil.move(str(templates / name), str(fresh / name))
        if folder.exists():
            folder.rename(work / "old")
        fresh.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    own = os.environ.get("AUTOREP_PROMETHEUS")
    if own:
        if not is_whole(Path(own)):
            raise Unmet(f"AUTOREP_PROMETHEUS={own}: expected {', '.join(PROGRAMS)} there")
        say("AUTOREP_PROMETHEUS is set: it is used as it is")
        print(own)
        return
    folder = installed()
    if folder is not None:
        say(f"this machine has it, in {folder}")
        print(folder)
        return
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / "prometheus"
    with open(cache / "prometheus.lock", "w") as lock:
        # Two checkouts may stage at the same time; the second finds the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_whole(folder) and all((folder / name).is_file() for name in TEMPLATES):
            say(f"already staged in {folder}")
        else:
            stage(cache, folder)
            say(f"staged in {folder}")
    print(folder)


if __name__ == "__main__":
    try:
        main()
    except (Unmet, OSError) as error:
        print(f"prometheus: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
