"""SeaweedFS as a process, for scripts: an S3 server as in e2e/tests/it/weed.rs."""

import json
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager

KEY, SECRET = "somebody", "something"

# Each has a port of its own; they follow one another.
PORTS = [
    "admin.port", "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
    "volume.port.grpc", "filer.port", "filer.port.grpc", "metricsPort",
]
START_S = 30


class NotServed(Exception):
    """There is no server; the text says why."""


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
    raise NotServed(f"no {count} ports in a row are free")


@contextmanager
def serving(program, place):
    """The server as a process that keeps what it has below a folder; its port for S3."""
    first = free_ports(len(PORTS))
    identity = {
        "name": KEY,
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (place / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (place / "data").mkdir()
    command = [
        program, "mini", f"-dir={place / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.config={place / 's3.json'}", "-webdav=false", "-admin.ui=false",
        "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-filer.localSocket={place / 'filer.sock'}", f"-s3.localSocket={place / 's3.sock'}",
        *(f"-{name}={first + index}" for index, name in enumerate(PORTS)),
    ]
    with open(place / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        port = first + PORTS.index("s3.port")
        wait_for(f"http://127.0.0.1:{port}/healthz", server, place / "log")
        yield port
    finally:
        server.kill()
        server.wait()


def variables(port):
    """Those by which a program finds a server, or what stands before it."""
    return {
        "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }


def wait_for(url, server, log):
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise NotServed(f"SeaweedFS does not serve: {log.read_text(errors='replace')[-1000:]}")
