"""The client: a coordinator as an object."""

from __future__ import annotations

import codecs
import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from autorep import context
from autorep._connection import Connection, Identity
from autorep._decode import decode
from autorep.errors import UnavailableError
from autorep.model import DeadCheckpoint, Rehearsal, Submission, SweepSummary, WorkerSummary
from autorep.sweep import Sweep
from autorep.v1 import lab_pb2

PathLike = str | Path
Manifest = str | Path | Mapping[str, Any]

_LOG = logging.getLogger("autorep")


class Client:
    """A connection to a coordinator. Any number of threads may use it.

    Every call is idempotent: one that finds the coordinator away or overloaded is tried again a few
    times, within `timeout`. What fails raises a subclass of `AutorepError`.
    """

    def __init__(
        self,
        coordinator: str,
        *,
        token: str | None = None,
        token_file: PathLike | None = None,
        ca: PathLike | None = None,
        client_cert: PathLike | None = None,
        client_key: PathLike | None = None,
        plain_token: bool = False,
        timeout: float = 60.0,
    ) -> None:
        """Connect at the first call.

        Args:
            coordinator: Its address, as in https://HOST:7070.
            token: The token that says who calls.
            token_file: A file that holds it; read again for every call.
            ca: PEM file of the authorities to trust instead of the system's.
            client_cert: PEM file of the certificate to show, where the coordinator asks for one.
            client_key: PEM file of its key. Certificates are read once.
            plain_token: Send the token to another machine although nothing is encrypted.
            timeout: Seconds that a call may take; following has no limit.

        Raises:
            ValueError: The arguments do not fit together.
            AutorepError: A file cannot be read.

        """
        if token is not None and token_file is not None:
            raise ValueError("expected token or token_file, found both")
        identity = Identity(
            ca=_path(ca),
            token=token,
            token_file=_path(token_file),
            client_cert=_path(client_cert),
            client_key=_path(client_key),
            plain_token=plain_token,
        )
        self._connection = Connection(coordinator, identity, timeout)

    @classmethod
    def from_context(
        cls, name: str | None = None, *, config: PathLike | None = None, timeout: float = 60.0
    ) -> Client:
        """Take address, certificates and token from a context: see `autorep context`.

        Args:
            name: Which; by default `$AUTOREP_CONTEXT`, or else the current one.
            config: The context file; by default `$AUTOREP_CONFIG`, or else
                `autorep/config.yaml` in `$XDG_CONFIG_HOME` or `~/.config`.
            timeout: Seconds that a call may take.

        Raises:
            ContextError: The file or the context is missing, or is not what it should be.

        """
        return cls._of(context.load(name, _path(config)), timeout)

    @classmethod
    def from_environment(cls, *, timeout: float = 60.0) -> Client:
        """Take what the commands take when they are given no arguments.

        `$AUTOREP_COORDINATOR`, or else a context; the variables for certificates and tokens
        (`AUTOREP_CA`, `AUTOREP_CLIENT_CERT`, `AUTOREP_CLIENT_KEY`, `AUTOREP_TOKEN_FILE`,
        `AUTOREP_TOKEN`, `AUTOREP_PLAIN_TOKEN`) go before what the current context has, and are left
        alone where `$AUTOREP_CONTEXT` names one.

        Raises:
            ContextError: No coordinator is named, and there is no context either.

        """
        return cls._of(context.environment(), timeout)

    @classmethod
    def _of(cls, found: context.Context, timeout: float) -> Client:
        return cls(
            found.coordinator,
            token=found.token,
            token_file=found.token_file,
            ca=found.ca,
            client_cert=found.client_cert,
            client_key=found.client_key,
            plain_token=found.plain_token,
            timeout=timeout,
        )

    def __repr__(self) -> str:
        return f"Client({self._connection.coordinator!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and all calls that run."""
        self._connection.close()

    def submit(self, manifest: Manifest, *, rehearsal: Rehearsal | None = None) -> Sweep:
        """Add a sweep, or extend the one of the same name.

        Args:
            manifest: YAML as text, a path of a file of it, or the same as a mapping.
            rehearsal: Cut the sweep down to a few steps, under the name NAME-rehearsal.

        Returns:
            The sweep; what became of the manifest is in its `submission`.

        Raises:
            ManifestError: It has problems; nothing was started.

        """
        submission = self._submit(manifest, rehearsal, dry_run=False)
        return Sweep(self._connection, submission.sweep, submission)

    def check(self, manifest: Manifest, *, rehearsal: Rehearsal | None = None) -> Submission:
        """Say what `submit` would, and change nothing."""
        return self._submit(manifest, rehearsal, dry_run=True)

    def _submit(
        self, manifest: Manifest, rehearsal: Rehearsal | None, *, dry_run: bool
    ) -> Submission:
        request = lab_pb2.SubmitRequest(
            manifest=_manifest_text(manifest),
            dry_run=dry_run,
            rehearsal=_rehearsal(rehearsal),
        )
        answer = self._connection.call(self._connection.stub.Submit, request)
        return decode(Submission, answer)

    def plan(self, manifest: Manifest, *, rehearsal: Rehearsal | None = None) -> dict[str, Any]:
        """Say what a manifest would run, as `autorep plan --format json` does; start nothing.

        Raises:
            ManifestError: It has problems.

        """
        request = lab_pb2.PlanRequest(
            manifest=_manifest_text(manifest), rehearsal=_rehearsal(rehearsal)
        )
        answer = self._connection.call(self._connection.stub.Plan, request)
        plan: dict[str, Any] = json.loads(answer.plan_json)
        return plan

    def sweep(self, name: str) -> Sweep:
        """Give the sweep of this name. Nothing is asked yet: it may not exist."""
        return Sweep(self._connection, name)

    def list(self) -> tuple[SweepSummary, ...]:
        """Give all sweeps with their counts."""
        answer = self._connection.call(self._connection.stub.List, lab_pb2.ListRequest())
        return tuple(decode(SweepSummary, it) for it in answer.sweeps)

    def workers(self) -> tuple[WorkerSummary, ...]:
        """Give the workers that are known, and what keeps them from working."""
        request = lab_pb2.ListWorkersRequest()
        answer = self._connection.call(self._connection.stub.ListWorkers, request)
        return tuple(decode(WorkerSummary, it) for it in answer.workers)

    def logs(self, task: str, *, follow: bool = False) -> Iterator[str]:
        """Give the lines of the log of a task's latest attempt.

        Args:
            task: Its id, or a unique beginning of it, as in `sweep.show().running`.
            follow: Go on with what a running attempt prints, and with later attempts, until the
                task is done. A coordinator that is away is waited for, once it has answered.

        Raises:
            NotFoundError: There is no such task.
            NotReadyError: It has no log yet, and is not followed.

        """
        # What a trainer writes may be anything, and a character may lie across two chunks.
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        rest = ""
        for chunk in self._log_chunks(task, follow=follow):
            *lines, rest = (rest + decoder.decode(chunk.text)).split("\n")
            yield from lines
        rest += decoder.decode(b"", final=True)
        if rest:
            yield rest

    def _log_chunks(self, task: str, *, follow: bool) -> Iterator[lab_pb2.LogChunk]:
        request = lab_pb2.LogsRequest(task=task, follow=follow)
        while True:
            chunks = self._connection.stream(self._connection.stub.Logs, request, endless=follow)
            try:
                for chunk in chunks:
                    if chunk.generation != request.generation:
                        request.generation, request.offset = chunk.generation, 0
                    request.offset += len(chunk.text)
                    yield chunk
            except UnavailableError as error:
                # Where to go on is known from the first chunk on.
                if not follow or request.generation == 0:
                    raise
                _LOG.warning("%s; waiting for it", error)
                time.sleep(1)
            else:
                return

    def pin(self, task: str, *, pinned: bool = True) -> str:
        """Keep the checkpoints of a task whatever becomes of it, or not any more.

        Args:
            task: Its id, or a unique beginning of it.
            pinned: False to take the pin back.

        Returns:
            The whole id.

        """
        request = lab_pb2.PinRequest(task=task, pinned=pinned)
        return self._connection.call(self._connection.stub.Pin, request).task

    def collect_garbage(
        self, *, dry_run: bool = False, min_age_s: float | None = None
    ) -> Iterator[DeadCheckpoint]:
        """Delete the checkpoints that nothing can reach any more, or say which that would be.

        Args:
            dry_run: Only say.
            min_age_s: Spare what was written less than so many seconds ago; by default the
                coordinator's own setting.

        """
        request = lab_pb2.CollectGarbageRequest(dry_run=dry_run)
        if min_age_s is not None:
            request.min_age_ms = int(1000 * min_age_s)
        method = self._connection.stub.CollectGarbage
        for dead in self._connection.stream(method, request, endless=True):
            yield decode(DeadCheckpoint, dead)


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path).expanduser()


def _manifest_text(manifest: Manifest) -> str:
    if isinstance(manifest, Path):
        return manifest.read_text(encoding="utf-8")
    if isinstance(manifest, Mapping):
        return json.dumps(manifest, ensure_ascii=False)  # which is YAML, too
    if "\n" not in manifest and manifest.endswith((".yaml", ".yml", ".json")):
        raise ValueError(
            f"expected a manifest's text, found what looks like a path: pass Path({manifest!r})"
        )
    return manifest


def _rehearsal(rehearsal: Rehearsal | None) -> lab_pb2.Rehearsal | None:
    if rehearsal is None:
        return None
    seed = int(time.time()) if rehearsal.first_seed is None else rehearsal.first_seed
    return lab_pb2.Rehearsal(steps=rehearsal.steps, batch=rehearsal.batch, first_seed=seed)
