"""What training over two ranks costs, on this machine's CPU: one thread per rank, as many images on
each, so that two ranks do twice the work in the time of one where nothing is lost."""

import json
import os
from pathlib import Path

from bench_figure import Unmeasured, figure, run

COMMAND = "make bench ONLY=ranks"
IMAGES, STEPS = 32, 12


def ranks(autorep):
    example = Path(autorep).parent / "examples" / "ranks"
    if not example.is_file():
        raise Unmeasured(f"expected {example}: cargo build --release -p autorep-trainer --example ranks")
    if (os.cpu_count() or 1) < 2:
        raise Unmeasured("two ranks need two cores, this machine has one")
    # As workers set it: threads that wait otherwise keep their core from the others.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    out, _, _ = run([str(example), str(IMAGES), str(STEPS)])
    one, two, own = (json.loads(line) for line in out.splitlines())
    share = "share of one rank's images per second, per rank"
    return [
        figure("ranks.efficiency_2", round(one["step_s"] / two["step_s"], 3), share, 0.85, COMMAND, "higher"),
        figure("ranks.efficiency_2_without_sync_bn", round(one["step_s"] / own["step_s"], 3), share, None, COMMAND),
        figure("ranks.bytes_per_step_mb", round(two["bytes"] / 1e6, 1), "MB", None, COMMAND),
        figure("ranks.sum_ms", round(two["busy_s"] * 1e3, 1), "ms of a step in which sums are under way", None, COMMAND),
        figure("ranks.hidden", round(two["hidden"], 3), "share of that behind the backward pass", None, COMMAND),
    ]


BENCHES = [
    (
        (
            "ranks.efficiency_2",
            "ranks.efficiency_2_without_sync_bn",
            "ranks.bytes_per_step_mb",
            "ranks.sum_ms",
            "ranks.hidden",
        ),
        ranks,
    ),
]
