"""Talks to an autorep coordinator: submits sweeps, follows them, and reads their fronts.

    from autorep import Client

    client = Client.from_context()
    sweep = client.submit(Path("sweep.yaml"))
    sweep.wait()
    front = sweep.front()  # a pandas data frame

The generated messages of the protocol are in `autorep.v1`.
"""

from autorep.client import Client
from autorep.context import Context
from autorep.errors import (
    AutorepError,
    BadRequestError,
    ContextError,
    ForbiddenError,
    InternalError,
    ManifestError,
    MissingPandasError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
)
from autorep.model import (
    Accuracy,
    DeadCheckpoint,
    FailedAttempt,
    FailureClass,
    FinishedTask,
    Front,
    FrontRow,
    LearningCurve,
    Observation,
    PointKind,
    Progress,
    Projection,
    Rehearsal,
    RunningTask,
    Searched,
    Submission,
    SweepState,
    SweepStatus,
    SweepSummary,
    TaskCounts,
    WorkerSummary,
)
from autorep.sweep import Sweep

__all__ = [
    "Accuracy",
    "AutorepError",
    "BadRequestError",
    "Client",
    "Context",
    "ContextError",
    "DeadCheckpoint",
    "FailedAttempt",
    "FailureClass",
    "FinishedTask",
    "ForbiddenError",
    "Front",
    "FrontRow",
    "InternalError",
    "LearningCurve",
    "ManifestError",
    "MissingPandasError",
    "NotFoundError",
    "NotReadyError",
    "Observation",
    "OverloadedError",
    "PointKind",
    "Progress",
    "Projection",
    "RefusedError",
    "Rehearsal",
    "RunningTask",
    "Searched",
    "Submission",
    "Sweep",
    "SweepState",
    "SweepStatus",
    "SweepSummary",
    "TaskCounts",
    "UnauthenticatedError",
    "UnavailableError",
    "WorkerSummary",
]
