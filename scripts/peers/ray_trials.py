#!/usr/bin/env python3
"""Trials of Ray Tune, with actors that are used again.

usage: ray_trials.py rate FOLDER TRIALS        no-op trials per second of fit()
       ray_trials.py start FOLDER TRIALS       half-second trials, each leaving a mark when it ends
       ray_trials.py restore FOLDER TRIALS     goes on where `start` was killed
"""

import os
import sys
import time
import uuid

os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray import tune


class Noop(tune.Trainable):
    def step(self):
        return {"done": True, "loss": self.config["x"]}

    def reset_config(self, new_config):
        self.config = new_config
        return True

    def save_checkpoint(self, checkpoint_dir):
        return {}

    def load_checkpoint(self, checkpoint):
        pass


class Marked(Noop):
    """Half a second of work, and a file that says which trial has done it."""

    def step(self):
        time.sleep(0.5)
        mark = f"{self.config['number']}-{uuid.uuid4().hex}"
        with open(os.path.join(self.config["marks"], mark), "w"):
            pass
        return {"done": True, "loss": 0.0}


def begin():
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)


def run_config(folder):
    return tune.RunConfig(name="trials", storage_path=folder, verbose=0)


def rate(folder, trials):
    begin()
    config = tune.TuneConfig(num_samples=trials, reuse_actors=True)
    space = {"x": tune.uniform(0, 1)}
    tuner = tune.Tuner(Noop, param_space=space, tune_config=config, run_config=run_config(folder))
    began = time.monotonic()
    tuner.fit()
    print(trials / (time.monotonic() - began))


def start(folder, trials):
    begin()
    marks = os.path.join(folder, "marks")
    os.makedirs(marks, exist_ok=True)
    config = tune.TuneConfig(reuse_actors=True)
    space = {"number": tune.grid_search(list(range(trials))), "marks": marks}
    tuner = tune.Tuner(Marked, param_space=space, tune_config=config, run_config=run_config(folder))
    tuner.fit()


def restore(folder, _trials):
    begin()
    tuner = tune.Tuner.restore(os.path.join(folder, "trials"), trainable=Marked)
    tuner.fit()


if __name__ == "__main__":
    {"rate": rate, "start": start, "restore": restore}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
