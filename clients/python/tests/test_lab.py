"""The client against a real coordinator and workers."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas.testing
import pytest
import yaml

import autorep
from autorep import Client, Rehearsal, SweepState
from autorep._frame import COLUMNS
from lab import MANIFEST, PATIENCE_S, Lab


def frame_of_csv(text: str) -> pandas.DataFrame:
    """Read what `autorep front --format csv` prints, every digit of it."""
    rows = list(csv.DictReader(io.StringIO(text)))
    read: dict[str, Callable[[str], Any]] = {
        "string": lambda it: it or None,
        "int64": int,
        "Int64": lambda it: int(it) if it else None,
        "float64": lambda it: float(it) if it else None,
        "bool": {"true": True, "false": False}.__getitem__,
    }
    columns = {
        name: pandas.Series([read[kind](row[name]) for row in rows], dtype=kind)
        for name, kind in COLUMNS.items()
    }
    assert list(rows[0]) == list(COLUMNS)
    return pandas.DataFrame(columns)


def test_a_sweep_is_submitted_waited_for_and_its_front_is_what_the_command_prints(
    lab: Lab, tmp_path: Path
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    lab.start_worker()
    with lab.client() as client:
        sweep = client.submit(path)
        assert sweep.name == "tiny"
        assert sweep.submission is not None
        assert (sweep.submission.tasks, sweep.submission.done) == (16, 0)

        status = sweep.wait(PATIENCE_S)
        assert status.state is SweepState.DONE
        assert status.counts.done == 16
        assert status.summary.owner == "alice"
        assert {it.kind for it in status.finished} == {
            "baseline",
            "replace",
            "finetune",
            "evaluate",
        }
        evaluated = next(it for it in status.finished if it.kind == "evaluate")
        assert evaluated.observation.test is not None
        assert 0 <= evaluated.observation.test.percent <= 100

        front = sweep.front()
        assert front.attrs["sweep"] == "tiny"
        assert 0 < front.attrs["hypervolume"] < 1
        text = lab.run("front", "tiny", "--format", "csv")
        printed = frame_of_csv(text)
        assert len(front) == 3
        pandas.testing.assert_frame_equal(front, printed, check_exact=True)

        # The same as a mapping: nothing is left to do.
        again = client.submit(yaml.safe_load(MANIFEST))
        assert again.submission is not None
        assert again.submission.done == 16


def test_a_watch_gives_every_change_and_ends_with_the_sweep(lab: Lab) -> None:
    lab.start_worker()
    with lab.client() as client:
        sweep = client.submit(MANIFEST)
        fronts = list(sweep.watch(every=0.1))
        counts = [sum(row.seeds for row in front.rows) for front in fronts]
        assert counts == sorted(counts)
        assert counts[0] == 0
        assert counts[-1] == 6
        assert all(a != b for a, b in itertools.pairwise(fronts))
        assert fronts[-1] == sweep.front_report()


def test_a_watch_goes_on_when_the_coordinator_is_killed_and_started_again(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    with lab.client() as client:
        fronts = client.submit(MANIFEST).watch(every=0.1)
        assert next(fronts).rows == ()
        lab.kill()
        lab.start()
        lab.start_worker()
        last = list(fronts)[-1]
        assert [row.seeds for row in last.rows] == [2, 2, 2]
        assert "Traceback" not in caplog.text


def test_waiting_outlasts_a_coordinator_that_is_away(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(lab.url, timeout=5) as client:
        sweep = client.submit(MANIFEST)
        looks = []

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 1:
                lab.kill()
            elif len(looks) == 2:
                lab.start()
                lab.start_worker()

        monkeypatch.setattr("autorep.sweep.time", SimpleNamespace(sleep=sleep))
        assert sweep.wait(every=0.1).state is SweepState.DONE
    waits = [it for it in caplog.messages if it.endswith("; waiting for it")]
    assert len(waits) == 1
    assert lab.url in waits[0]


def test_waiting_has_an_end_and_says_that_the_sweep_goes_on(lab: Lab) -> None:
    with lab.client() as client:
        sweep = client.submit(MANIFEST)
        with pytest.raises(TimeoutError, match=r"'tiny' to end within 0\.1 s; it goes on: 0 tasks"):
            sweep.wait(0.1, every=0.05)
        assert sweep.show().state is SweepState.ACTIVE


def test_a_sweep_is_paused_resumed_and_cancelled(lab: Lab) -> None:
    with lab.client() as client:
        assert client.list() == ()
        sweep = client.submit(MANIFEST)
        for act, state in [
            (sweep.pause, SweepState.PAUSED),
            (sweep.resume, SweepState.ACTIVE),
            (sweep.cancel, SweepState.CANCELLED),
        ]:
            act()
            (listed,) = client.list()
            assert (listed.sweep, listed.state) == ("tiny", state)
            assert listed == sweep.show().summary
        assert sweep.wait(1).counts.cancelled == 16


def test_all_problems_of_a_manifest_come_at_once_with_line_and_column(lab: Lab) -> None:
    bad = MANIFEST.replace("budgets:", "budget:").replace("width: 2", "width: many")
    with lab.client() as client:
        for refuse in (client.submit, client.check, client.plan):
            with pytest.raises(autorep.ManifestError) as caught:
                refuse(bad)
            assert "6:32" in str(caught.value)
            assert "7:3" in str(caught.value)
            assert "budgets" in str(caught.value)
            assert not caught.value.is_transient
        assert client.list() == ()


def test_what_is_not_there_and_what_makes_no_sense_is_refused_as_such(lab: Lab) -> None:
    with lab.client() as client:
        with pytest.raises(autorep.NotFoundError, match='"huge"'):
            client.sweep("huge").show()
        with pytest.raises(autorep.NotFoundError):
            next(client.sweep("huge").watch())
        with pytest.raises(autorep.NotFoundError, match="abc"):
            next(client.logs("abc"))
        with pytest.raises(autorep.BadRequestError, match="hexadecimal"):
            client.pin("no task")
        with pytest.raises(autorep.BadRequestError, match="sweep's name"):
            client.sweep("No Name").pause()


def test_a_plan_is_that_of_the_command_and_starts_nothing(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    printed: dict[str, Any] = json.loads(lab.run("plan", str(path), "--format", "json"))
    with lab.client() as client:
        assert client.plan(path) == printed
        checked = client.check(path)
        assert (checked.sweep, checked.tasks, checked.done) == ("tiny", 16, 0)
        assert client.list() == ()


def test_a_rehearsal_is_a_sweep_of_its_own(lab: Lab) -> None:
    with lab.client() as client:
        sweep = client.submit(MANIFEST, rehearsal=Rehearsal())
        assert sweep.name == "tiny-rehearsal"
        first = client.plan(MANIFEST, rehearsal=Rehearsal(first_seed=7))
        assert first == client.plan(MANIFEST, rehearsal=Rehearsal(first_seed=7))
        assert first != client.plan(MANIFEST, rehearsal=Rehearsal(first_seed=8))


def test_failures_are_shown_with_their_class_and_the_log_has_the_trainers_lines(lab: Lab) -> None:
    lab.write_script("stderr the loss went wild: 1e9 … ∞\nstderr\nfailed loss is inf")
    lab.start_worker()
    with lab.client() as client:
        status = client.submit(MANIFEST).wait(PATIENCE_S)
        assert status.state is SweepState.PARTIAL
        assert status.counts.gave_up == 2
        failed = status.failures[0]
        assert failed.failure is autorep.FailureClass.DIVERGED
        assert (failed.kind, failed.attempt, failed.gave_up) == ("baseline", 1, True)
        assert "loss is inf" in failed.message
        lines = list(client.logs(failed.task[:12]))
        assert "the loss went wild: 1e9 … ∞" in lines
        assert list(client.logs(failed.task, follow=True)) == lines


def test_a_log_that_is_not_there_yet_is_said_to_come(lab: Lab) -> None:
    lab.write_script("hold")
    lab.start_worker()
    with lab.client() as client:
        sweep = client.submit(MANIFEST)
        while not (running := sweep.show().running):
            assert sweep.show().state is SweepState.ACTIVE
        assert running[0].worker == "w"
        with pytest.raises(autorep.NotReadyError, match="follow it"):
            next(client.logs(running[0].task))
        assert sweep.checkpoint() == 1
        (worker,) = client.workers()
        assert (worker.worker, worker.device, worker.task) == ("w", "cpu", running[0].task)


def test_checkpoints_are_pinned_and_what_nothing_reaches_is_named(lab: Lab) -> None:
    lab.start_worker()
    with lab.client() as client:
        sweep = client.submit(MANIFEST)
        status = sweep.wait(PATIENCE_S)
        task = status.finished[0].task
        assert client.pin(task[:16]) == task
        assert client.pin(task, pinned=False) == task
        dead = list(client.collect_garbage(dry_run=True, min_age_s=0))
        assert dead
        assert all(it.folder.startswith("tasks/") and it.reason for it in dead)
        assert list(client.collect_garbage(dry_run=True, min_age_s=0)) == dead


def test_nobody_at_the_address_is_said_with_the_address() -> None:
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(autorep.UnavailableError, match=r"http://127\.0\.0\.1:1, got none"):
            client.list()
        with pytest.raises(autorep.UnavailableError):
            next(client.sweep("tiny").watch())
