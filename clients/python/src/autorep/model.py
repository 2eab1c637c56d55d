"""What a coordinator says, as frozen data classes with the fields of the messages in `lab.proto`.

Accuracies of a front are in percent, differences of them in percentage points. `None` stands for
what is not known.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autorep import _frame

if TYPE_CHECKING:
    import pandas


class SweepState(enum.Enum):
    """How a sweep stands."""

    ACTIVE = "active"
    """Tasks are running or waiting to run."""
    PAUSED = "paused"
    """No new leases are granted."""
    DONE = "done"
    """Every task is done."""
    PARTIAL = "partial"
    """Nothing is left to run, but some tasks gave up."""
    CANCELLED = "cancelled"
    """Ended by a person."""
    UNKNOWN = "unknown"
    """The coordinator is newer than this package: it said something else."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to run, unless the manifest is submitted again."""
        return self in (SweepState.DONE, SweepState.PARTIAL, SweepState.CANCELLED)


class PointKind(enum.Enum):
    """What a point of a front is."""

    BASELINE = "baseline"
    """The full-ReLU network: the reference line."""
    REPLACED = "replaced"
    """A network with a budget of ReLUs."""
    UNKNOWN = "unknown"
    """The coordinator is newer than this package: it said something else."""


class FailureClass(enum.Enum):
    """Why an attempt ended without a result."""

    TRAINER_CRASHED = "trainer_crashed"
    """The trainer process ended without a word: a crash or a kill."""
    OUT_OF_MEMORY = "out_of_memory"
    """The trainer was out of memory."""
    DIVERGED = "diverged"
    """The loss became infinite or not a number."""
    BAD_DATA = "bad_data"
    """The data set is missing, damaged or not what the task needs."""
    BAD_CHECKPOINT = "bad_checkpoint"
    """A checkpoint could not be read, or was not what its digest says."""
    STORE_UNAVAILABLE = "store_unavailable"
    """The store could not be reached."""
    TRAINER_ERROR = "trainer_error"
    """Anything else that the trainer reported."""
    WORKER_LOST = "worker_lost"
    """The worker stopped renewing its lease."""
    BUDGET_UNREACHED = "budget_unreached"
    """A search did not come down to its budget and may not be projected."""
    BAD_WEIGHTS = "bad_weights"
    """The weights to start from are another file than the manifest names, or do not fit."""
    NO_SCRATCH = "no_scratch"
    """The worker's scratch folder has no room or cannot be used."""
    UNKNOWN = "unknown"
    """The coordinator is newer than this package: it said something else."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How far a sweep is cut down to see it through to its end."""

    steps: int = 2
    """Optimizer steps of the stage with the largest batch."""
    batch: int = 0
    """The most images of a step; 0 for the manifest's own batches."""
    first_seed: int | None = None
    """Stands for the manifest's first seed: one that no other run has, so that its tasks are new.
    By default the seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a manifest, or would."""

    sweep: str
    """The sweep's name."""
    tasks: int
    """Tasks of the plan."""
    done: int
    """Those of them whose results the store already has."""
    notes: tuple[str, ...]
    """What a person should know: needs that no known worker meets, and the like."""


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Tasks of one sweep by state."""

    waiting: int
    """Waiting for other tasks."""
    ready: int
    """Ready to be leased."""
    leased: int
    """Leased to a worker."""
    done: int
    """Done, with a result."""
    gave_up: int
    """Given up after too many failures."""
    blocked: int
    """Never to run because a task they need gave up."""
    cancelled: int
    """Cancelled with the sweep."""
    parked: int
    """Not let go further by the sweep: stopped at a rung, or not chosen."""


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """A sweep in a list."""

    sweep: str
    """Its name."""
    state: SweepState
    counts: TaskCounts
    owner: str
    priority: int
    at_limit: bool
    """Whether nothing more of it fits into its limit."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many of how many images were classified correctly."""

    correct: int
    images: int

    @property
    def percent(self) -> float:
        """Their share in percent."""
        return 100 * self.correct / self.images


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a trainer is."""

    epoch: int
    """The epoch being trained, counted from 1."""
    epochs: int
    """Epochs of the task."""
    step: int
    """Optimizer steps done."""
    steps: int
    """Optimizer steps of the task."""
    loss: float | None
    """Mean training loss over the last reporting interval."""
    relu_count: int | None
    """ReLUs that the net keeps now."""
    relu_budget: int | None
    """ReLUs that it may keep in the end."""
    images_per_second: float | None
    validation: Accuracy | None
    """After the last finished epoch."""
    seconds_left: float | None
    """Estimated, until the task's end."""
    data_wait_share: float | None
    """The share of the last interval, 0 to 1, that training waited for batches."""


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that a worker holds."""

    task: str
    """Its id: 64 hexadecimal digits."""
    kind: str
    """baseline, replace, finetune or evaluate."""
    label: str
    """Seed, grid point and budget, for people."""
    worker: str
    attempt: int
    """Counted from 1."""
    progress: Progress | None
    """`None` until the trainer has reported."""
    members: tuple[str, ...]
    """The workers that do it with that one."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that ended without a result."""

    task: str
    """The task's id: 64 hexadecimal digits."""
    kind: str
    """baseline, replace, finetune or evaluate."""
    label: str
    """Seed, grid point and budget, for people."""
    attempt: int
    """Counted from 1."""
    worker: str
    failure: FailureClass = field(metadata={"wire": "class"})
    message: str
    """What went wrong, in a sentence."""
    stderr_tail: str
    """The end of the trainer's standard error."""
    gave_up: bool
    """Whether the task will not be tried again."""
    quarantined: bool
    """Whether that is because its attempts took trainers or whole workers with them."""
    last_progress: str
    """Where the trainer was when it was last heard of, in words; empty if it never was."""


@dataclass(frozen=True, slots=True)
class Projection:
    """One projection of a search's net to exactly a budget."""

    budget: int
    searched_count: int
    """ReLUs that the net had just before."""
    epochs: int
    """Epochs that had ended before."""
    unchanged: bool
    """Whether the net stayed the same."""
    before: Accuracy | None
    """Of validation, just before; `None` if it is not known or the net stayed the same."""
    after: Accuracy | None
    """Of validation, just after."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search reports beside its nets."""

    epochs: int
    """Epochs that ended before indicators froze."""
    turned_off: int
    """Times that an element gave its ReLU up."""
    turned_on: int
    """Times that an element took its ReLU back."""
    projections: tuple[Projection, ...]
    """One per budget, the largest first."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """What a training stage measured at the end of each of its epochs, the first first."""

    images: int
    """Validation images that every epoch was measured on."""
    relu_counts: tuple[int, ...]
    """ReLUs that the net kept."""
    correct: tuple[int, ...]
    """Validation images classified correctly."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one seed of a task measured."""

    relu_count: int
    relu_total: int
    """ReLUs of the full network."""
    validation: Accuracy | None
    test: Accuracy | None
    searched_count: int | None
    selected_epoch: int | None
    epochs: int
    seconds: float
    """Of training, over all attempts."""
    skipped_images: int
    """Different images that do not decode and were skipped."""
    curve: LearningCurve | None
    """`None` for evaluations."""
    searched: Searched | None
    """`None` for other tasks than searches, and from older trainers."""


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """A task with its result."""

    task: str
    """Its id: 64 hexadecimal digits."""
    kind: str
    """baseline, replace, finetune or evaluate."""
    label: str
    """Seed, grid point and budget, for people."""
    worker: str
    observation: Observation


@dataclass(frozen=True, slots=True)
class SweepStatus:
    """One sweep: counts, running tasks, failures."""

    summary: SweepSummary
    running: tuple[RunningTask, ...]
    failures: tuple[FailedAttempt, ...]
    """The latest, newest last; at most 100."""
    trained_seconds: float
    """Seconds that trainers reported for done tasks."""
    finished: tuple[FinishedTask, ...]
    """Results, newest last; at most the latest 100.

    Of those that were there when the sweep was submitted or the coordinator started the order is
    the plan's and `worker` is empty.
    """
    notes: tuple[str, ...]
    """What a person should know: needs that no known worker meets, and the like."""

    @property
    def state(self) -> SweepState:
        """How the sweep stands."""
        return self.summary.state

    @property
    def counts(self) -> TaskCounts:
        """Its tasks by state."""
        return self.summary.counts


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One candidate with its estimate over seeds."""

    id: str
    """The candidate's digest: 64 hexadecimal digits, the same in every sweep."""
    candidate: str
    """What tells it from the others, as in `replace.penalty=0.0001`."""
    kind: PointKind
    budget: int
    """ReLUs allowed."""
    relu_count: int
    """ReLUs that the measured nets evaluate for one image."""
    relu_total: int
    """ReLUs of the full network."""
    accuracy_mean: float
    """Mean test accuracy, percent."""
    accuracy_std: float
    """Its sample standard deviation, percentage points; 0 for one seed."""
    validation_mean: float | None
    """Mean validation accuracy of the same nets, percent."""
    seeds: int
    """Seeds that are in."""
    seeds_planned: int
    """Seeds that the manifest asks for."""
    on_front: bool
    data: str
    """The name of the data set."""
    net: str
    """The name of the network's family."""
    strategy: str = field(metadata={"empty": "independent"})
    """independent, descent or ladder."""
    accuracy_se: float | None
    """Standard error of the mean, percentage points."""
    p_on_front: float | None
    """Probability of being on the front if all nets were trained again."""
    front_low: float | None
    """Lower end of the interval that holds the best accuracy within `relu_count` with 95 %."""
    front_high: float | None
    """Its upper end."""
    lies_under: int | None
    """ReLUs of a point with fewer of them that is more accurate by more than noise."""
    selection_bias: float | None
    """Validation less test accuracy, percentage points."""
    selection_bias_se: float | None
    """Its standard error, percentage points."""
    convergence: str | None
    """Whether its searches came down to the budget: reached, left or never."""
    projection_cost: float | None
    """Validation accuracy that projection to the exact budget cost, percentage points."""

    @property
    def relu_share(self) -> float | None:
        """`relu_count` over `relu_total`; `None` if the network has no ReLU."""
        return self.relu_count / self.relu_total if self.relu_total > 0 else None


@dataclass(frozen=True, slots=True)
class Front:
    """A sweep's report: its front, and every other candidate that has a result."""

    sweep: str
    rows: tuple[FrontRow, ...]
    """Baselines, then by ReLU count."""
    hypervolume: float
    """The share of the unit square of ReLU share and accuracy that the front dominates."""

    def to_pandas(self) -> pandas.DataFrame:
        """Make a data frame of the rows, with the columns of `autorep front --format csv`.

        `attrs` of the frame has the sweep's name and the hypervolume.

        Raises:
            MissingPandasError: pandas is not installed.

        """
        return _frame.of_front(self)


@dataclass(frozen=True, slots=True)
class DeadCheckpoint:
    """A checkpoint that nothing can reach any more."""

    folder: str
    """Its folder in the store."""
    objects: int
    bytes: int
    reason: str
    """Why nothing can reach it."""


@dataclass(frozen=True, slots=True)
class WorkerSummary:
    """A worker that the coordinator knows."""

    worker: str
    """Its name."""
    machine: str
    device: str
    """What it trains on: "cpu" or "cuda:N"."""
    offer: str
    """What it has, in words."""
    silent_ms: int
    """Milliseconds since it was last heard of."""
    task: str
    """The id of the task that it holds; empty for none."""
    excluded_ms: int
    """Milliseconds until its machine gets tasks again; 0 if it does."""
    node: int
    """Its place among the workers that hold the task together, from 0."""
    nodes: int
    """How many those are; 0 for none."""
