"""One sweep of a coordinator."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from autorep._connection import Connection, Stream
from autorep._decode import decode
from autorep._follow import Follower
from autorep.errors import RefusedError, UnavailableError
from autorep.model import Front, Submission, SweepStatus
from autorep.v1 import lab_pb2

if TYPE_CHECKING:
    import pandas

_LOG = logging.getLogger("autorep")


class Sweep:
    """A sweep, by its name: `Client.submit` and `Client.sweep` give one."""

    name: str
    """`metadata.name` of its manifest."""
    submission: Submission | None
    """What became of the manifest; `None` unless the sweep comes from `submit`."""

    def __init__(
        self, connection: Connection, name: str, submission: Submission | None = None
    ) -> None:
        self._connection = connection
        self.name = name
        self.submission = submission
        self._away = False

    def __repr__(self) -> str:
        return f"Sweep({self.name!r})"

    def show(self) -> SweepStatus:
        """Say how it stands: counts, running tasks, failures."""
        request = lab_pb2.ShowRequest(sweep=self.name)
        return decode(SweepStatus, self._connection.call(self._connection.stub.Show, request))

    def front(self) -> pandas.DataFrame:
        """Give the front now as a data frame, with the columns of `autorep front --format csv`.

        Every candidate that has a result is a row; `on_front` says which are on the front.

        Raises:
            MissingPandasError: pandas is not installed; `front_report` needs nothing.

        """
        return self.front_report().to_pandas()

    def front_report(self) -> Front:
        """Give the front now."""
        request = lab_pb2.WatchFrontRequest(sweep=self.name)
        for front in self._connection.stream(self._connection.stub.WatchFront, request):
            return decode(Front, front)
        raise UnavailableError(f"expected a front from {self._connection.coordinator}, got none")

    def watch(self, *, every: float = 1.0) -> Iterator[Front]:
        """Give the front now and whenever it has changed, until the sweep has ended.

        A coordinator that is away is waited for, also longer than the client's timeout. Who reads
        slowly gets the latest front, not each one in between.

        Args:
            every: Seconds of silence after which to look whether the sweep has ended.

        Raises:
            UnavailableError: The coordinator does not answer the first call.

        """
        self.show()  # What is wrong from the start is said at once.
        last: Front | None = None
        with Follower(self._follow) as follower:
            while True:
                news = follower.next(every)
                if news is None:
                    final = self._final()
                    if final is not None:
                        if final != last:
                            yield final
                        return
                elif (front := decode(Front, news)) != last:
                    last = front
                    yield front

    def wait(self, timeout: float | None = None, *, every: float = 1.0) -> SweepStatus:
        """Wait until the sweep has ended: done, partial (some tasks gave up) or cancelled.

        A coordinator that is away is waited for, too.

        Args:
            timeout: Seconds to wait at most; by default any time.
            every: Seconds between two looks.

        Raises:
            TimeoutError: It has not ended in time; it goes on.
            UnavailableError: The coordinator does not answer the first call.

        """
        until = None if timeout is None else time.monotonic() + timeout
        status = self.show()
        while not status.state.ended:
            left = every if until is None else until - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"expected sweep {self.name!r} to end within {timeout} s; it goes on: "
                    f"{status.counts.done} tasks are done"
                )
            time.sleep(min(every, left))
            status = self._look() or status
        return status

    def pause(self) -> None:
        """Grant no more leases for it; running tasks go on."""
        request = lab_pb2.PauseRequest(sweep=self.name)
        self._connection.call(self._connection.stub.Pause, request)

    def resume(self) -> None:
        """Take `pause` back."""
        request = lab_pb2.ResumeRequest(sweep=self.name)
        self._connection.call(self._connection.stub.Resume, request)

    def cancel(self) -> None:
        """End it: waiting tasks are dropped, running ones told to stop. Results stay."""
        request = lab_pb2.CancelRequest(sweep=self.name)
        self._connection.call(self._connection.stub.Cancel, request)

    def checkpoint(self) -> int:
        """Ask the trainers of its running tasks for a checkpoint each; give how many were asked."""
        request = lab_pb2.CheckpointRequest(sweep=self.name)
        return self._connection.call(self._connection.stub.Checkpoint, request).tasks

    def _follow(self) -> Stream[lab_pb2.Front]:
        request = lab_pb2.WatchFrontRequest(sweep=self.name, follow=True)
        return self._connection.stream(self._connection.stub.WatchFront, request, endless=True)

    def _look(self) -> SweepStatus | None:
        """Say how it stands, unless the coordinator is away."""
        try:
            status = self.show()
        except RefusedError as error:
            if not error.is_transient:
                raise
            if not self._away:
                self._away = True
                _LOG.warning("%s; waiting for it", error)
            return None
        self._away = False
        return status

    def _final(self) -> Front | None:
        """Give the front if the sweep has ended."""
        status = self._look()
        if status is None or not status.state.ended:
            return None
        try:
            return self.front_report()
        except RefusedError as error:
            if not error.is_transient:
                raise
            return None
