"""Others beside ours, in the same run: Optuna and Ray Tune, in an environment of their own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench_figure import ROOT, Unmeasured, figure, run
from bench_load import folder, load

PACKAGES = ["ray[tune]==2.60.0", "optuna==5.0.0"]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autorep" / "peers"

# Trials of the crash: half a second each, killed when so many have ended.
CRASH_TRIALS = 150
CRASH_AT = CRASH_TRIALS * 60 // 100
OUR_TASKS = 190


def environment(place, packages):
    """The interpreter of an environment with these packages, made once."""
    venv = place / "venv"
    interpreter = venv / "bin" / "python"
    done = place / "installed"
    wanted = "\n".join(packages)
    if done.is_file() and done.read_text() == wanted:
        return str(interpreter)
    print(f"bench: installing {' '.join(packages)} into {venv}", file=sys.stderr)
    shutil.rmtree(venv, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(venv)])
    run([str(interpreter), "-m", "pip", "install", "--quiet", *packages])
    done.write_text(wanted)
    return str(interpreter)


def python():
    return environment(CACHE, PACKAGES)


def script(name, *arguments):
    return [python(), str(ROOT / "scripts" / "peers" / name), *map(str, arguments)]


def last_number(out):
    return float(out.split()[-1])


def rates(autorep):
    """Tasks or trials per second, side by side, with what the disk could do meanwhile."""
    with folder() as place:
        out, _, _ = run(script("optuna_trials.py", place, 4, 2000))
        optuna = last_number(out)
    ours = load(autorep, "dispatch", "--workers", 4)
    with folder() as place:
        out, _, _ = run(script("ray_trials.py", "rate", place, 500))
        ray = last_number(out)
    command = "make bench ONLY=peers"
    return [
        figure("peers.ours_4_workers_tasks_per_s", round(ours["tasks_per_s"]), "tasks/s", None, command),
        figure("peers.optuna_journal_4_trials_per_s", round(optuna), "trials/s", None, command),
        figure("peers.ray_tune_reuse_trials_per_s", round(ray, 1), "trials/s", None, command),
        figure("peers.fdatasync_ms", ours["fdatasync_ms"], "ms (4 KiB, median)", None, command),
    ]


def crash(autorep):
    """Tasks that run twice after the coordinating process was killed at 60 %."""
    command = "make bench ONLY=peers.crash"
    ray = ray_crash()
    # 5 baselines and their evaluations, and 2 grid points with 18 tasks for each of 5 seeds.
    ours = load(autorep, "crash", "--tasks", OUR_TASKS, "--kill-after", OUR_TASKS * 60 // 100)
    return [
        figure("peers.crash_ray_tune_run_twice", ray, f"of {CRASH_TRIALS} trials", None, command),
        figure("peers.crash_ours_run_twice", ours["run_twice"], f"of {OUR_TASKS} tasks", 0, command),
        figure("peers.crash_ours_results_lost", ours["lost"], f"of {OUR_TASKS} tasks", 0, command),
    ]


def ray_crash():
    with folder() as place:
        marks = Path(place) / "marks"
        marks.mkdir()
        # A session of its own: the driver alone is killed, and what it leaves afterwards.
        driver = subprocess.Popen(
            script("ray_trials.py", "start", place, CRASH_TRIALS),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 300
            while len(list(marks.iterdir())) < CRASH_AT:
                if driver.poll() is not None or time.monotonic() > deadline:
                    raise Unmeasured("Ray Tune did not get to the trial at which it is killed")
                time.sleep(0.05)
            driver.kill()
            driver.wait()
        finally:
            end_session(driver.pid)
        run(script("ray_trials.py", "restore", place, CRASH_TRIALS))
        times = Counter(mark.name.split("-")[0] for mark in marks.iterdir())
    if len(times) != CRASH_TRIALS:
        raise Unmeasured(f"expected {CRASH_TRIALS} trials in the end, found {len(times)}")
    return sum(count > 1 for count in times.values())


def end_session(session):
    """Ends the processes that a driver has left behind: those of its own session."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            stat = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(stat[3]) == session:
                os.kill(int(process.name), signal.SIGKILL)
        except (OSError, IndexError):
            continue


BENCHES = [
    (
        (
            "peers.ours_4_workers_tasks_per_s",
            "peers.optuna_journal_4_trials_per_s",
            "peers.ray_tune_reuse_trials_per_s",
            "peers.fdatasync_ms",
        ),
        rates,
    ),
    (
        (
            "peers.crash_ray_tune_run_twice",
            "peers.crash_ours_run_twice",
            "peers.crash_ours_results_lost",
        ),
        crash,
    ),
]
