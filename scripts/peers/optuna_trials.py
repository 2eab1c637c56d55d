#!/usr/bin/env python3
"""No-op trials of Optuna with a journal file. usage: optuna_trials.py FOLDER PROCESSES TRIALS

Each process asks for a trial of three parameters, and tells two objectives. Prints the trials per
second from the moment at which all processes have begun.
"""

import multiprocessing
import sys
import time

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def open_storage(path):
    return JournalStorage(JournalFileBackend(path))


def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    y = trial.suggest_float("y", 1e-5, 1e-1, log=True)
    z = trial.suggest_int("z", 1, 100)
    return x + z, y


def work(path, trials, ready, go):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler()
    study = optuna.load_study(study_name="noop", storage=open_storage(path), sampler=sampler)
    ready.wait()
    go.wait()
    study.optimize(objective, n_trials=trials)


def main(folder, processes, trials):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = f"{folder}/journal.log"
    optuna.create_study(
        study_name="noop", storage=open_storage(path), directions=["minimize", "minimize"]
    )
    ready = multiprocessing.Barrier(processes + 1)
    go = multiprocessing.Event()
    workers = [
        multiprocessing.Process(target=work, args=(path, trials // processes, ready, go))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    began = time.monotonic()
    go.set()
    for worker in workers:
        worker.join()
        if worker.exitcode != 0:
            sys.exit(f"a process ended with {worker.exitcode}")
    print((trials // processes) * processes / (time.monotonic() - began))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
