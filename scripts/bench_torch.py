"""PyTorch and torchvision beside ours: the same reference that `make test-parity` stages."""

import json
import os
import sys
from pathlib import Path

from bench_figure import ROOT, run

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autorep"
PEERS = ROOT / "scripts" / "peers"
REFERENCE = CACHE / "parity" / "reference"


def torch_peer(name, *arguments):
    """Runs scripts/peers/NAME with PyTorch 2.11 and torchvision 0.26, and returns the JSON object
    that it prints. They are downloaded (560 MB) unless `make test-parity` or a bench did before.
    """
    run([sys.executable, str(ROOT / "scripts" / "parity" / "stage.py"), str(REFERENCE)])
    # The reference brings its own libtorch; ours must not come before it.
    setting = [f"PYTHONPATH={REFERENCE / 'site'}", "LD_LIBRARY_PATH="]
    script = str(PEERS / name)
    command = ["env", *setting, sys.executable, "-W", "ignore", script, *map(str, arguments)]
    out, _, _ = run(command)
    return json.loads(out)
