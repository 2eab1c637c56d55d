"""A checkpoint of 1 GB into SeaweedFS: our upload beside plain ones, by turns."""

import json
import os
import shutil
import statistics
import sys
from contextlib import contextmanager
from pathlib import Path

import seaweedfs
from bench_figure import ROOT, Unmeasured, figure, run
from bench_load import folder
from bench_peers import CACHE, environment

PACKAGES = ["boto3==1.43.11"]
BYTES = 1_000_000_000
ROUNDS = 3
BUCKET = "sweeps"


@contextmanager
def seaweed(place):
    """The staged server; its port."""
    staged = [sys.executable, str(ROOT / "scripts" / "stage-seaweedfs.py")]
    program = run(staged)[0].decode().strip()
    try:
        with seaweedfs.serving(program, place) as port:
            yield port
    except seaweedfs.NotServed as error:
        raise Unmeasured(str(error)) from error


@contextmanager
def variables_of(port):
    """The variables by which every program finds the server, for as long as it is asked."""
    before = dict(os.environ)
    os.environ.update(seaweedfs.variables(port))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def ways(autorep, endpoint, file):
    """Each way to send the file under a key: a command that prints its seconds."""
    program = os.path.join(os.path.dirname(autorep), "examples", "upload")
    python = environment(CACHE.with_name("peers-s3"), PACKAGES)
    boto3 = [python, str(ROOT / "scripts" / "peers" / "boto3_upload.py"), endpoint, BUCKET]
    url = f"s3://{BUCKET}/bench"
    return {
        "ours": lambda key: json.loads(run([program, url, key, file])[0]),
        "object_store": lambda key: json.loads(run([program, url, key, file, "plain"])[0]),
        "boto3": lambda key: {"seconds": float(run([*boto3, f"bench/{key}", file])[0])},
    }


def upload(autorep):
    with folder() as place:
        place = Path(place)
        if shutil.disk_usage(place).free < 4 * BYTES * ROUNDS:
            raise Unmeasured(f"uploads need {4 * BYTES * ROUNDS / 1e9:.0f} GB in {place}")
        file = place / "checkpoint"
        with open(file, "wb") as out:
            for _ in range(BYTES // 1_000_000):
                out.write(os.urandom(1_000_000))
        with seaweed(place) as port:
            with variables_of(port):
                sends = ways(autorep, os.environ["AWS_ENDPOINT"], str(file))
                found = {name: [] for name in sends}
                for number in range(ROUNDS):
                    for name, send in sends.items():
                        found[name].append(send(f"{name}-{number}"))
    seconds = {
        name: statistics.median(one["seconds"] for one in each) for name, each in found.items()
    }
    extra = max(one["extra_memory_mib"] for one in found["ours"])
    plain = min(seconds["object_store"], seconds["boto3"])
    command, share = "make bench ONLY=upload", round(plain / seconds["ours"], 2)
    return [
        figure("upload.over_plain", share, "of the faster plain upload", 0.8, command, "higher"),
        figure("upload.extra_memory_mib", round(extra, 1), "MiB", 64, command),
        *(
            figure(f"upload.{name}_mb_per_s", round(BYTES / 1e6 / took), "MB/s, 1 GB", None, command, "higher")
            for name, took in seconds.items()
        ),
    ]


BENCHES = [
    (
        (
            "upload.over_plain",
            "upload.extra_memory_mib",
            "upload.ours_mb_per_s",
            "upload.object_store_mb_per_s",
            "upload.boto3_mb_per_s",
        ),
        upload,
    ),
]
