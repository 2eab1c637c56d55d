"""Streams that go on when a connection breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from google.protobuf.message import Message

from autorep._connection import Stream
from autorep.errors import AutorepError, RefusedError

Response = TypeVar("Response", bound=Message)

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0


class Follower(Generic[Response]):
    """Holds the latest message of an endless stream, which a thread reads and opens again.

    Who is slow misses messages in between, never the latest. Entering starts it, leaving ends it.
    """

    def __init__(self, opened: Callable[[], Stream[Response]]) -> None:
        self._open = opened
        self._news = threading.Condition()
        self._latest: Response | None = None
        self._error: AutorepError | None = None
        self._stream: Stream[Response] | None = None
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autorep-watch", daemon=True)

    def __enter__(self) -> Follower[Response]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._news:
            self._left.set()
            if self._stream is not None:
                self._stream.cancel()
        self._thread.join()

    def next(self, timeout: float) -> Response | None:
        """Take the latest message; `None` if none has come in so many seconds.

        Raises:
            AutorepError: The stream cannot go on.

        """
        with self._news:
            self._news.wait_for(lambda: self._latest is not None or self._error, timeout)
            latest, self._latest = self._latest, None
            if latest is None and self._error is not None:
                raise self._error
            return latest

    def _run(self) -> None:
        wait = _FIRST_WAIT_S
        while not self._left.is_set():
            asked = None
            try:
                for message in self._opened():
                    wait = _FIRST_WAIT_S
                    with self._news:
                        self._latest = message
                        self._news.notify()
            except AutorepError as error:
                if not (isinstance(error, RefusedError) and error.is_transient):
                    with self._news:
                        self._error = error
                        self._news.notify()
                    return
                asked = error.retry_after
            # A stream that ends without an error is one of a coordinator that stops.
            self._left.wait(asked or wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _opened(self) -> Stream[Response]:
        stream = self._open()
        with self._news:
            self._stream = stream
            if self._left.is_set():
                stream.cancel()
        return stream
