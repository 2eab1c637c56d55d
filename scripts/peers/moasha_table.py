#!/usr/bin/env python3
"""MO-ASHA of Syne Tune on a table of learning curves. usage: moasha_table.py TABLE OURS

TABLE is what `autorep-bench tabulate` wrote, OURS what `autorep-bench table` printed: its halving, its
numbers of workers and what each order of arrival cost it are taken over. A configuration is a way to
search at a budget, its resource the epochs of its search and then of its finetuning, its metrics the
error on the validation images and the share of ReLUs. All of them are tried, in an order drawn by the
number of the order of arrival. Prints JSON: for each number of workers and each order the hypervolume
(on the test set, of configurations that came to their end) when as many epochs had been trained as
ours took, and at its own end.

In Syne Tune 0.16 `NonDominatedPriority` returns the places of the objectives in their order, best first,
where `Bracket` expects the rank of each, so what is stopped has little to do with what was measured. So
it is run as it is (`shipped`), with a priority that returns ranks (`ranked`), and so with its own default
of stopping, two in three, instead of our halving's (`ranked_default`).
"""

import hashlib
import heapq
import json
import random
import statistics
import struct
import sys
from datetime import datetime

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import (
    NonDominatedPriority,
)

METRICS = ["error", "relu_share"]


class Ranked(NonDominatedPriority):
    """The same order, as the rank of each."""

    def priority_unsafe(self, objectives):
        return np.argsort(super().priority_unsafe(objectives))


# The priority of each, and of how many trials one goes on; None for as many as ours.
VARIANTS = {
    "shipped": (NonDominatedPriority, None),
    "ranked": (Ranked, None),
    "ranked_default": (Ranked, 3),
}


def duration(order, worker, number):
    """How long a worker's epoch takes: the same lots as in `e2e/bench/src/replay.rs`."""

    def draw(number):
        digest = hashlib.sha256(struct.pack("<3Q", order, worker, number)).digest()
        return struct.unpack("<I", digest[:4])[0]

    return (500 + draw(0) % 1501) * (900 + draw(number) % 201)


def hypervolume(points):
    """As `core/src/front/hypervolume.rs`: reference point (share 1, accuracy 0)."""
    area = height = reached = 0.0
    for share, accuracy in sorted(points):
        area += (share - reached) * height
        reached = share
        height = max(height, accuracy)
    return area + (1.0 - reached) * height


class Config:
    """One row of the table: its metrics epoch by epoch, and its point in the end."""

    def __init__(self, row):
        total = row["relu_total"]
        self.name = f"{row['candidate']} {row['budget']}"
        self.epochs = []
        for stage in ("replace", "finetune"):
            if stage in row["stages"]:
                curve = row["stages"][stage]["curve"]
                for relus, correct in curve["epochs"]:
                    self.epochs.append((1 - correct / curve["images"], relus / total))
        end = row["stages"]["evaluate"]
        self.point = (end["relu_count"] / total, end["test"]["correct"] / end["test"]["images"])


def read(path):
    """The configurations, and the epochs of the baselines, which they all need."""
    with open(path) as file:
        rows = json.load(file)["rows"]
    if len({row["seed"] for row in rows}) != 1:
        sys.exit("expected a table of one seed")
    configs = [Config(row) for row in rows if row["kind"] == "replaced"]
    baselines = [row["stages"]["baseline"] for row in rows if row["kind"] == "baseline"]
    return configs, sum(len(it["curve"]["epochs"]) for it in baselines)


def replay(configs, spent, halving, variant, workers, order, most):
    """The hypervolume when `most` epochs were spent, and what was spent in the end with what it gave."""
    priority, reduction = VARIANTS[variant]
    scheduler = MOASHA(
        config_space={},
        metrics=METRICS,
        time_attr="epoch",
        multiobjective_priority=priority(),
        max_t=max(len(it.epochs) for it in configs),
        grace_period=halving["grace"],
        reduction_factor=reduction or halving["reduction"],
        random_seed=order,
    )
    waiting = list(range(len(configs)))
    random.Random(order).shuffle(waiting)
    waiting.reverse()
    ends, begun, points, at_ours = [], [0] * workers, [], None

    def go_on(worker, trial, epoch, now, part=1):
        begun[worker] += 1
        heapq.heappush(ends, (now + duration(order, worker, begun[worker]) // part, worker, trial, epoch))

    def begin(worker, now):
        if waiting:
            number = waiting.pop()
            trial = Trial(number, {"name": configs[number].name}, datetime.fromtimestamp(0))
            scheduler.on_trial_add(trial)
            go_on(worker, trial, 1, now)

    for worker in range(workers):
        begin(worker, 0)
    while ends:
        now, worker, trial, epoch = heapq.heappop(ends)
        config = configs[trial.trial_id]
        if epoch > len(config.epochs):  # It has been evaluated.
            begin(worker, now)
            continue
        if spent == most and at_ours is None:
            at_ours = hypervolume(points)
        spent += 1
        result = dict(zip(METRICS, config.epochs[epoch - 1]), epoch=epoch)
        decision = scheduler.on_trial_result(trial, result)
        if epoch == len(config.epochs):
            points.append(config.point)
            go_on(worker, trial, epoch + 1, now, part=4)
        elif decision == SchedulerDecision.CONTINUE:
            go_on(worker, trial, epoch + 1, now)
        else:
            scheduler.on_trial_remove(trial)
            begin(worker, now)
    end = hypervolume(points)
    return end if at_ours is None else at_ours, spent, end


def measure(configs, baselines, ours, by_workers, variant):
    workers, full = by_workers["workers"], ours["full"]
    found = []
    for order in range(max(len(it["orders"]) for it in ours["by_workers"])):
        most = by_workers["orders"][order % len(by_workers["orders"])][0]
        found.append(replay(configs, baselines, ours["halving"], variant, workers, order, most))
    at_ours, epochs, end = zip(*found)
    return {
        "workers": workers,
        "variant": variant,
        "hypervolume_share_at_our_epochs": statistics.median(at_ours) / full["hypervolume"],
        "hypervolume_share": statistics.median(end) / full["hypervolume"],
        "epochs_share": statistics.median(epochs) / full["epochs"],
        "orders": found,
    }


def main(table, ours):
    configs, baselines = read(table)
    with open(ours) as file:
        ours = json.load(file)
    found = {
        "full": {
            "epochs": baselines + sum(len(it.epochs) for it in configs),
            "hypervolume": hypervolume([it.point for it in configs]),
        },
        "by_workers": [
            measure(configs, baselines, ours, by_workers, variant)
            for by_workers in ours["by_workers"]
            for variant in VARIANTS
        ],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
