#!/usr/bin/env python3
"""Stages Prometheus and its Alertmanager, against which metrics, alerts and the dashboard are tried.

Takes `prometheus`, `promtool` and `prometheus-alertmanager` of this machine if it has them; else
downloads Debian's (or Ubuntu's) packages with the machine's own apt, which checks where they come
from, and unpacks them into the user's cache folder. Nothing is installed and nothing started. What it
does is told on stderr; on stdout is a folder with the three programs alone. A second call finds them
and downloads nothing. AUTOREP_PROMETHEUS names a folder of your own instead.

Only the standard library is used, and only what Python 3.8 has.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from staging import Staging, Unmet

PACKAGES = ["prometheus", "prometheus-alertmanager"]
PROGRAMS = ["prometheus", "promtool", "prometheus-alertmanager"]
TEMPLATES = ["default.tmpl", "email.tmpl"]
NEEDED_BYTES = 300_000_000

STAGING = Staging("prometheus")


def has_programs(folder):
    return all(os.access(folder / name, os.X_OK) for name in PROGRAMS)


def installed():
    """The folder of the programs that this machine has."""
    found = shutil.which("prometheus")
    if found is None:
        return None
    folder = Path(found).parent
    return folder if has_programs(folder) else None


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


def fill(fresh, work):
    STAGING.say("downloading two packages, 30 MB, with apt-get")
    download(work)
    for package in sorted(work.glob("*.deb")):
        if not run(["dpkg-deb", "-x", package.name, "unpacked"], work):
            raise Unmet(f"dpkg-deb could not unpack {package.name} (its message is above)")
    for name in PROGRAMS:
        shutil.move(str(work / "unpacked/usr/bin" / name), str(fresh / name))
    without_install(fresh / "prometheus-alertmanager")
    templates = work / "unpacked/usr/share/prometheus/alertmanager"
    for name in TEMPLATES:
        shutil.move(str(templates / name), str(fresh / name))


def is_whole(folder):
    return has_programs(folder) and all((folder / name).is_file() for name in TEMPLATES)


def stage():
    own = os.environ.get("AUTOREP_PROMETHEUS")
    if own:
        if not has_programs(Path(own)):
            raise Unmet(f"AUTOREP_PROMETHEUS={own}: expected {', '.join(PROGRAMS)} there")
        STAGING.say("AUTOREP_PROMETHEUS is set: it is used as it is")
        return own
    folder = installed()
    if folder is not None:
        STAGING.say(f"this machine has it, in {folder}")
        return folder
    return STAGING.folder("prometheus", NEEDED_BYTES, is_whole, fill)


if __name__ == "__main__":
    STAGING.main(stage)
