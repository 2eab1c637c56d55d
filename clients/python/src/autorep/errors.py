"""What can go wrong, as exceptions.

A coordinator refuses with a gRPC status. What kind of refusal it is travels beside it in binary
metadata; the status's message is for people, and is the exception's text here.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError

from autorep.v1 import common_pb2

_DETAIL_KEY = "autorep-refusal-bin"


class AutorepError(Exception):
    """Whatever this package raises, but for what Python has errors of its own for.

    Those are wrong arguments (`ValueError`, `TypeError`), manifests that cannot be read (`OSError`)
    and a wait that is over (`TimeoutError`).
    """


class ContextError(AutorepError):
    """The context file is missing, is not what it should be, or has no such context."""


class MissingPandasError(AutorepError, ImportError):
    """A data frame was asked for, and pandas is not installed."""


class RefusedError(AutorepError):
    """The coordinator refused a call; the subclass says why, the text what to do."""

    retry_after: float | None
    """Seconds to wait before the same call is made again, where the coordinator says so."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later without anything else being done."""
        return isinstance(self, (OverloadedError, UnavailableError))


class ManifestError(RefusedError):
    """A manifest has problems: all of them, with line and column."""


class NotFoundError(RefusedError):
    """There is no sweep of this name, or no task whose id begins like this."""


class BadRequestError(RefusedError):
    """An argument is not what the coordinator expects."""


class NotReadyError(RefusedError):
    """The request is right, but something else has to happen before."""


class UnauthenticatedError(RefusedError):
    """No token, or one that nobody issued."""


class ForbiddenError(RefusedError):
    """The token does not give the right to this call."""


class OverloadedError(RefusedError):
    """A limit is reached: try again later."""


class UnavailableError(RefusedError):
    """The coordinator is not there, starting, stopping or without its store: try again soon."""


class InternalError(RefusedError):
    """A defect of the coordinator, or something else than a coordinator answered."""


_BY_KIND: dict[int, type[RefusedError]] = {
    common_pb2.REFUSAL_KIND_UNKNOWN_TASK: NotFoundError,
    common_pb2.REFUSAL_KIND_UNKNOWN_SWEEP: NotFoundError,
    common_pb2.REFUSAL_KIND_BAD_REQUEST: BadRequestError,
    common_pb2.REFUSAL_KIND_MANIFEST_PROBLEMS: ManifestError,
    common_pb2.REFUSAL_KIND_NOT_READY: NotReadyError,
    common_pb2.REFUSAL_KIND_UNAUTHENTICATED: UnauthenticatedError,
    common_pb2.REFUSAL_KIND_FORBIDDEN: ForbiddenError,
    common_pb2.REFUSAL_KIND_OVERLOADED: OverloadedError,
    common_pb2.REFUSAL_KIND_UNAVAILABLE: UnavailableError,
    common_pb2.REFUSAL_KIND_INTERNAL: InternalError,
    # Said to workers only.
    common_pb2.REFUSAL_KIND_STALE: RefusedError,
    common_pb2.REFUSAL_KIND_UNKNOWN_WORKER: RefusedError,
    common_pb2.REFUSAL_KIND_PROTOCOL_VERSION: RefusedError,
}

# A status without details comes from the connection, from a proxy or from the gRPC library.
_BY_CODE: dict[grpc.StatusCode, type[RefusedError]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.ABORTED: UnavailableError,
    grpc.StatusCode.UNKNOWN: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
    grpc.StatusCode.INVALID_ARGUMENT: BadRequestError,
}


def refusal(error: grpc.RpcError, coordinator: str) -> RefusedError:
    """Say what a failed call of the coordinator at this address means."""
    # The errors that gRPC raises are calls; its annotations do not say so.
    assert isinstance(error, grpc.Call)
    text = error.details() or error.code().name
    for key, value in error.trailing_metadata() or ():
        if key == _DETAIL_KEY and isinstance(value, bytes):
            try:
                detail = common_pb2.RefusalDetail.FromString(value)
            except DecodeError:
                break
            if detail.kind in _BY_KIND:
                wait = detail.retry_after_ms / 1000
                return _BY_KIND[detail.kind](text, wait if wait > 0 else None)
    kind = _BY_CODE.get(error.code(), InternalError)
    if kind is UnavailableError:
        text = f"expected an answer from the coordinator at {coordinator}, got none: {text}"
    elif kind is InternalError:
        text = f"the coordinator at {coordinator} answered {error.code().name}: {text}"
    return kind(text)
