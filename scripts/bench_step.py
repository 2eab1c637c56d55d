"""What a step of a search costs: beside a step of the plain net, and beside eager PyTorch."""

import json
import os
import statistics
from pathlib import Path

from bench_figure import figure, run
from bench_torch import torch_peer

# Net, data set, images per step, steps of each in a round, suffix of its figures.
CASES = [("resnet18", "cifar-10", 32, 10, ""), ("efficientnet-b0", "imagenet", 16, 6, "_efficientnet")]
ROUNDS = 3
THREADS = len(os.sched_getaffinity(0))


def steps(autorep, net, data, batch, count, *more):
    """Runs `autorep-trainer step-times` as a worker would run the trainer."""
    trainer = Path(autorep).with_name("autorep-trainer")
    options = ["--batch", batch, "--steps", count, "--threads", THREADS, *more]
    command = ["env", "OMP_WAIT_POLICY=passive", trainer, "step-times", net, data, *options]
    out, _, _ = run(list(map(str, command)))
    return json.loads(out)


def beside_plain(autorep):
    """Steps of both in turn in one process, so that a slow moment slows both: the median of the
    ratios of neighbours. Memory of each in a process of its own."""
    figures = []
    for net, data, batch, count, suffix in CASES:
        times = steps(autorep, net, data, batch, 2 * count)
        pairs = zip(times["replace_ms"], times["plain_ms"])
        over = statistics.median(replace / plain for replace, plain in pairs)
        peak = {
            form: steps(autorep, net, data, batch, 3, "--only", form)["peak_mib"]
            for form in ("replace", "plain")
        }
        command = "make bench ONLY=step.replace_over_plain"
        figures += [
            figure(f"step.replace_over_plain{suffix}", round(over, 3), "of a plain step", 1.05, command),
            figure(
                f"step.peak_memory_over_plain{suffix}",
                round(peak["replace"] / peak["plain"], 3),
                "of a plain step's memory",
                1.15,
            ),
        ]
    return figures


def beside_eager(autorep):
    """Rounds of ours and of PyTorch's in turn, each a process: the ratio of the medians of all steps."""
    figures = []
    for net, data, batch, count, suffix in CASES:
        ours, eager, plain, untaught = [], [], [], []
        for _ in range(ROUNDS):
            ours += steps(autorep, net, data, batch, count, "--only", "replace")["replace_ms"]
            peer = torch_peer("eager_step.py", net, batch, count, THREADS)
            eager += peer["eager_ms"]
            plain += peer["plain_ms"]
            untaught += peer["untaught_ms"]
        middle = statistics.median
        command = "make bench ONLY=step.replace_over_eager"
        figures += [
            figure(
                f"step.replace_over_eager{suffix}",
                round(middle(ours) / middle(eager), 3),
                "of an eager step",
                0.62,
                command,
            ),
            # What composing costs the peer itself: no operator can gain more than that.
            figure(
                f"step.eager_over_its_plain{suffix}",
                round(middle(eager) / middle(plain), 3),
                "of an eager step of the plain net with the same teacher",
                None,
                command,
            ),
            figure(
                f"step.eager_over_its_untaught{suffix}",
                round(middle(eager) / middle(untaught), 3),
                "of one without a teacher",
                None,
                command,
            ),
        ]
    return figures


def names(*figures):
    return tuple(figure + suffix for figure in figures for *_, suffix in CASES)


BENCHES = [
    (names("step.replace_over_plain", "step.peak_memory_over_plain"), beside_plain),
    (
        names("step.replace_over_eager", "step.eager_over_its_plain", "step.eager_over_its_untaught"),
        beside_eager,
    ),
]
