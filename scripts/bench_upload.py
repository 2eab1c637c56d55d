"""A checkpoint of 1 GB into SeaweedFS: our upload beside plain ones, by turns."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from bench_figure import ROOT, Unmeasured, figure, run
from bench_load import folder
from bench_peers import CACHE, environment

PACKAGES = ["boto3==1.43.11"]
BYTES = 1_000_000_000
ROUNDS = 3
KEY, SECRET = "somebody", "something"
BUCKET = "sweeps"


def free_ports(count):
    """The first of so many ports in a row that nobody uses; the one 10,000 above it is free, too."""
    for first in range(20_000, 30_000, count):
        try:
            for port in [*range(first, first + count), first + 10_000]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise Unmeasured(f"no {count} ports in a row are free")


@contextmanager
def seaweedfs(place):
    """The server as a process; its endpoint. As in e2e/tests/it/weed.rs."""
    staged = [sys.executable, str(ROOT / "scripts" / "stage-seaweedfs.py")]
    program = run(staged)[0].decode().strip()
    first = free_ports(10)
    identity = {
        "name": KEY,
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (place / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (place / "data").mkdir()
    names = [
        "admin.port", "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
        "volume.port.grpc", "filer.port", "filer.port.grpc", "metricsPort",
    ]
    ports = [f"-{name}={first + index}" for index, name in enumerate(names)]
    command = [
        program, "mini", f"-dir={place / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.config={place / 's3.json'}", "-webdav=false", "-admin.ui=false",
        "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-filer.localSocket={place / 'filer.sock'}", f"-s3.localSocket={place / 's3.sock'}", *ports,
    ]
    with open(place / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        endpoint = f"http://127.0.0.1:{first + 1}"
        wait_for(f"{endpoint}/healthz", server, place / "log")
        yield endpoint
    finally:
        server.kill()
        server.wait()


@contextmanager
def variables_of(endpoint):
    """The variables by which every program finds the server, for as long as it is asked."""
    before = dict(os.environ)
    os.environ.update(
        AWS_ENDPOINT=endpoint, AWS_ALLOW_HTTP="true", AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET,
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def wait_for(url, server, log):
    until = time.monotonic() + 30
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise Unmeasured(f"SeaweedFS does not serve: {log.read_text(errors='replace')[-1000:]}")


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
        with seaweedfs(place) as endpoint:
            with variables_of(endpoint):
                sends = ways(autorep, endpoint, str(file))
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
