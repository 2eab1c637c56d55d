"""What every benchmark uses: figures, and commands that are run and watched."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Unmeasured(Exception):
    """A figure could not be measured; the text says why."""


def figure(name, value, unit, target, command=None, better="lower"):
    """One figure. Without a target (None) it is only shown."""
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "target": target,
        "better": better,
        "command": command or f"make bench ONLY={name}",
    }


def verdict(figure):
    """How a figure compares with its target, for people."""
    target = figure["target"]
    if target is None:
        return ""
    if figure["better"] == "higher":
        bound, met = "at least", figure["value"] >= target
    else:
        bound, met = "at most", figure["value"] <= target
    return f"target {bound} {target}: {'met' if met else 'MISSED'}"


def run(command):
    """Runs a command to its end: its stdout, wall seconds and peak resident bytes."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            tail = err.read().decode(errors="replace")[-2000:]
            raise Unmeasured(f"{' '.join(command)} ended with {child.returncode}: {tail}")
        return out.read(), seconds, usage.ru_maxrss * 1024
