"""The client against a coordinator that is played: what a real one cannot be brought to in time."""

from __future__ import annotations

import dataclasses
import threading
import typing
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

import autorep
from autorep import Client, SweepState, errors, model
from autorep._decode import decode
from autorep.v1 import common_pb2, lab_pb2, lab_pb2_grpc

Context = grpc.ServicerContext


class Played(lab_pb2_grpc.LabServicer):
    """Answers each call as the test says, and keeps what came with it."""

    def __init__(self) -> None:
        self.tokens: list[str | None] = []
        self.list: Callable[[Context], lab_pb2.ListResponse] = lambda _: lab_pb2.ListResponse()
        self.show = lab_pb2.ShowResponse()
        self.fronts: Callable[[Context], Iterator[lab_pb2.Front]] = lambda _: iter(())
        self.chunks: list[bytes] = []
        self.logs: Callable[[lab_pb2.LogsRequest, Context], Iterator[lab_pb2.LogChunk]] = (
            lambda _request, _context: (lab_pb2.LogChunk(text=it) for it in self.chunks)
        )

    def _note(self, context: Context) -> None:
        metadata = dict(context.invocation_metadata())
        self.tokens.append(typing.cast("str | None", metadata.get("authorization")))

    # The generated annotations want servicers that are asynchronous as well.
    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(context)
        return self.list(context)

    def Show(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(context)
        return self.show

    def WatchFront(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(context)
        yield from self.fronts(context)

    def Logs(self, request: Any, context: Any) -> Any:  # noqa: N802
        yield from self.logs(request, context)


@pytest.fixture
def played() -> Iterator[tuple[Played, str]]:
    """Give a played coordinator and its address."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    servicer = Played()  # type: ignore[abstract]
    lab_pb2_grpc.add_LabServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


def refuse(
    context: Context, code: grpc.StatusCode, text: str, **detail: Any
) -> lab_pb2.ListResponse:
    """Refuse as proto/src/status.rs does."""
    metadata: list[tuple[str, str | bytes]] = [
        ("autorep-refusal-bin", common_pb2.RefusalDetail(**detail).SerializeToString())
    ]
    if wait := detail.get("retry_after_ms"):
        metadata.append(("grpc-retry-pushback-ms", str(wait)))
    context.set_trailing_metadata(tuple(metadata))
    context.abort(code, text)


def test_every_kind_of_refusal_has_its_exception(played: tuple[Played, str]) -> None:
    servicer, url = played
    kinds = common_pb2.RefusalKind.DESCRIPTOR.values
    assert {it.number for it in kinds if it.number != 0} == set(errors._BY_KIND)
    with Client(url) as client:
        for kind, exception in errors._BY_KIND.items():
            # The code is that of another kind: what counts is the detail.
            servicer.list = lambda context, kind=kind: refuse(  # type: ignore[misc]
                context, grpc.StatusCode.FAILED_PRECONDITION, "erwartet: „Katze“\n", kind=kind
            )
            with pytest.raises(autorep.RefusedError) as caught:
                client.list()
            assert type(caught.value) is exception
            assert str(caught.value) == "erwartet: „Katze“\n"


def test_a_status_without_a_detail_or_with_nonsense_is_read_by_its_code(
    played: tuple[Played, str],
) -> None:
    servicer, url = played
    code = grpc.StatusCode
    table = {
        code.DEADLINE_EXCEEDED: autorep.UnavailableError,
        code.CANCELLED: autorep.UnavailableError,
        code.UNAUTHENTICATED: autorep.UnauthenticatedError,
        code.PERMISSION_DENIED: autorep.ForbiddenError,
        code.INVALID_ARGUMENT: autorep.BadRequestError,
        code.UNIMPLEMENTED: autorep.InternalError,
        code.NOT_FOUND: autorep.InternalError,
    }
    with Client(url) as client:
        for status, exception in table.items():
            for detail in (None, b"\xff", common_pb2.RefusalDetail(kind=99).SerializeToString()):  # type: ignore[arg-type]

                def answer(
                    context: Context,
                    status: grpc.StatusCode = status,
                    detail: bytes | None = detail,
                ) -> lab_pb2.ListResponse:
                    if detail is not None:
                        context.set_trailing_metadata((("autorep-refusal-bin", detail),))
                    context.abort(status, "x")

                servicer.list = answer
                with pytest.raises(autorep.RefusedError, match="x") as caught:
                    client.list()
                assert type(caught.value) is exception


def test_a_call_is_made_again_after_the_wait_that_an_overloaded_coordinator_asks_for(
    played: tuple[Played, str],
) -> None:
    servicer, url = played

    def twice_overloaded(context: Context) -> lab_pb2.ListResponse:
        if len(servicer.tokens) < 3:
            kind = common_pb2.REFUSAL_KIND_OVERLOADED
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            return refuse(context, code, "too many", kind=kind, retry_after_ms=20)
        return lab_pb2.ListResponse(sweeps=[lab_pb2.SweepSummary(sweep="a")])

    servicer.list = twice_overloaded
    with Client(url) as client:
        assert client.list()[0].sweep == "a"


def test_an_overload_that_lasts_says_when_to_come_back(played: tuple[Played, str]) -> None:
    servicer, url = played
    servicer.list = lambda context: refuse(
        context,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "too many streams",
        kind=common_pb2.REFUSAL_KIND_OVERLOADED,
        retry_after_ms=10,
    )
    with Client(url) as client, pytest.raises(autorep.OverloadedError) as caught:
        client.list()
    assert caught.value.retry_after == 0.01
    assert caught.value.is_transient
    assert len(servicer.tokens) == 4


def test_every_call_carries_the_token_and_a_file_is_read_each_time(
    played: tuple[Played, str], tmp_path: Path
) -> None:
    servicer, url = played
    with Client(url, token="s3cret-as-it-gets") as client:
        client.list()
        assert "s3cret" not in repr(client)
        assert "s3cret" not in repr(client._connection._identity)
    file = tmp_path / "token"
    file.write_text("the-first-of-two\n", encoding="ascii")
    with Client(url, token_file=file) as client:
        for token in ("the-first-of-two\n", "the-second-of-two\n"):
            file.write_text(token, encoding="ascii")
            client.list()
        file.unlink()
        with pytest.raises(autorep.AutorepError, match="expected a token in"):
            client.list()
    assert servicer.tokens == [
        "Bearer s3cret-as-it-gets",
        "Bearer the-first-of-two",
        "Bearer the-second-of-two",
    ]


def test_a_proxy_is_not_asked_for_this_machine(
    played: tuple[Played, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, url = played
    servicer.list = lambda context: lab_pb2.ListResponse()
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for here in (url, url.replace("127.0.0.1", "localhost")):
        with Client(here, timeout=10) as client:
            assert client.list() == ()


def test_an_answer_that_takes_too_long_is_given_up(played: tuple[Played, str]) -> None:
    servicer, url = played
    over = threading.Event()

    def hang(context: Context) -> lab_pb2.ListResponse:
        over.wait(60)
        return lab_pb2.ListResponse()

    servicer.list = hang
    with (
        Client(url, timeout=0.2) as client,
        pytest.raises(autorep.UnavailableError, match="eadline"),
    ):
        client.list()
    over.set()


def front(*counts: int) -> lab_pb2.Front:
    rows = [lab_pb2.FrontRow(candidate="a", relu_count=it, relu_total=100) for it in counts]
    return lab_pb2.Front(sweep="s", rows=rows)


def shown(state: lab_pb2.SweepState.ValueType) -> lab_pb2.ShowResponse:
    return lab_pb2.ShowResponse(summary=lab_pb2.SweepSummary(sweep="s", state=state))


def test_a_watch_reconnects_leaves_repeats_out_and_ends_with_the_last_front(
    played: tuple[Played, str],
) -> None:
    servicer, url = played
    servicer.show = shown(lab_pb2.SWEEP_STATE_ACTIVE)
    seen = threading.Event()
    streams = []

    def answers(context: Context) -> Iterator[lab_pb2.Front]:
        streams.append(context)
        if len(streams) == 1:
            yield front(10)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection breaks")
        elif len(streams) == 2:
            yield front(10)  # Again, and then the coordinator stops.
        elif len(streams) == 3:
            yield front(10, 20)
            seen.wait(60)
            servicer.show = shown(lab_pb2.SWEEP_STATE_DONE)
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone for good")
        else:
            yield front(10, 20, 30)

    servicer.fronts = answers
    with Client(url) as client:
        lengths = []
        for it in client.sweep("s").watch(every=0.02):
            lengths.append(len(it.rows))
            if lengths[-1] == 2:
                seen.set()
    assert lengths == [1, 2, 3]


def test_who_stops_watching_ends_the_call_and_its_thread(played: tuple[Played, str]) -> None:
    servicer, url = played
    servicer.show = shown(lab_pb2.SWEEP_STATE_ACTIVE)
    ended, over = threading.Event(), threading.Event()

    def answers(context: Context) -> Iterator[lab_pb2.Front]:
        context.add_callback(ended.set)
        yield front(10)
        over.wait(60)

    servicer.fronts = answers
    with Client(url) as client:
        watch = typing.cast("Any", client.sweep("s").watch())
        next(watch)
        leaving = threading.Thread(target=watch.close)
        leaving.start()
        in_time = ended.wait(10)
        over.set()
        leaving.join(10)
        assert in_time
    assert "autorep-watch" not in {it.name for it in threading.enumerate()}


def test_closing_a_client_ends_its_watches_and_what_is_asked_later(
    played: tuple[Played, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, url = played
    servicer.show = shown(lab_pb2.SWEEP_STATE_ACTIVE)
    over = threading.Event()

    def answers(context: Context) -> Iterator[lab_pb2.Front]:
        context.add_callback(over.set)
        yield front(10)
        over.wait(60)

    servicer.fronts = answers
    unexpected: list[object] = []
    monkeypatch.setattr(threading, "excepthook", unexpected.append)
    client = Client(url)
    watch = client.sweep("s").watch(every=60)
    next(watch)
    client.close()
    with pytest.raises(autorep.AutorepError, match="closed"):
        next(watch)
    with pytest.raises(autorep.AutorepError, match="closed"):
        client.list()
    assert not unexpected


def test_a_watch_that_is_refused_for_good_says_why(played: tuple[Played, str]) -> None:
    servicer, url = played
    servicer.show = shown(lab_pb2.SWEEP_STATE_ACTIVE)

    def answers(context: Context) -> Iterator[lab_pb2.Front]:
        yield front(10)
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token was revoked")

    servicer.fronts = answers
    with Client(url) as client, pytest.raises(autorep.UnauthenticatedError, match="revoked"):
        list(client.sweep("s").watch(every=5))


def test_log_lines_are_whole_although_chunks_split_them_and_their_characters(
    played: tuple[Played, str],
) -> None:
    servicer, url = played
    text = "erste Zeile: größer\n\nzweite ∞\nlast without an end".encode()
    servicer.chunks = [text[i : i + 1] for i in range(len(text))] + [b"\xff", b"\xc3"]
    with Client(url) as client:
        assert list(client.logs("a")) == [
            "erste Zeile: größer",
            "",
            "zweite ∞",
            "last without an end\ufffd\ufffd",
        ]


def test_a_log_goes_on_where_it_broke_off(played: tuple[Played, str]) -> None:
    servicer, url = played
    asked: list[tuple[bool, int, int]] = []
    text = "eins\nzwei: ∞\ndrei\n".encode()
    cut = text.index("∞".encode()) + 1

    def answers(request: lab_pb2.LogsRequest, context: Context) -> Iterator[lab_pb2.LogChunk]:
        asked.append((request.follow, request.generation, request.offset))
        if len(asked) == 1:
            yield lab_pb2.LogChunk(generation=3, text=b"before\n")
            yield lab_pb2.LogChunk(generation=4, text=text[:cut])
            context.abort(grpc.StatusCode.UNAVAILABLE, "the coordinator is stopping")
        yield lab_pb2.LogChunk(generation=4, text=text[request.offset :])

    servicer.logs = answers
    with Client(url) as client:
        lines = list(client.logs("a", follow=True))
    assert lines == ["before", "eins", "zwei: ∞", "drei"]
    assert asked == [(True, 0, 0), (True, 4, cut)]
    asked.clear()
    with Client(url) as client, pytest.raises(autorep.UnavailableError, match="stopping"):
        list(client.logs("a"))


MODEL = {
    model.Submission: lab_pb2.SubmitResponse,
    model.Rehearsal: lab_pb2.Rehearsal,
    model.SweepStatus: lab_pb2.ShowResponse,
    model.SweepSummary: lab_pb2.SweepSummary,
    model.TaskCounts: lab_pb2.TaskCounts,
    model.RunningTask: lab_pb2.RunningTask,
    model.FailedAttempt: lab_pb2.FailedAttempt,
    model.FinishedTask: lab_pb2.FinishedTask,
    model.Front: lab_pb2.Front,
    model.FrontRow: lab_pb2.FrontRow,
    model.DeadCheckpoint: lab_pb2.CollectGarbageResponse,
    model.WorkerSummary: lab_pb2.WorkerSummary,
    model.Observation: common_pb2.Observation,
    model.Searched: common_pb2.Searched,
    model.Projection: common_pb2.Projection,
    model.LearningCurve: common_pb2.LearningCurve,
    model.Progress: common_pb2.Progress,
    model.Accuracy: common_pb2.Accuracy,
}


def test_every_data_class_has_the_fields_of_its_message_and_may_lack_what_that_may() -> None:
    classes = {it for it in vars(model).values() if dataclasses.is_dataclass(it)}
    assert classes == set(MODEL)
    for data, message in MODEL.items():
        descriptor = typing.cast("Any", message).DESCRIPTOR
        fields = {it.metadata.get("wire", it.name): it for it in dataclasses.fields(data)}
        assert set(fields) == set(descriptor.fields_by_name), data
        hints = typing.get_type_hints(data)
        for name, field in descriptor.fields_by_name.items():
            if field.has_presence and field.message_type is None:
                optional = type(None) in typing.get_args(hints[fields[name].name])
                assert optional, f"{data}.{name}"


def test_every_value_of_an_enum_has_its_member_and_a_newer_one_is_unknown() -> None:
    for members, wire in [
        (model.SweepState, lab_pb2.SweepState.DESCRIPTOR),
        (model.PointKind, lab_pb2.PointKind.DESCRIPTOR),
        (model.FailureClass, common_pb2.FailureClass.DESCRIPTOR),
    ]:
        prefix = wire.values_by_number[0].name.removesuffix("UNSPECIFIED")
        named = {it.name.removeprefix(prefix) for it in wire.values} - {"UNSPECIFIED"}
        assert named | {"UNKNOWN"} == set(members.__members__)
    newer = lab_pb2.SweepSummary(state=typing.cast("Any", 77))
    assert decode(model.SweepSummary, newer).state is SweepState.UNKNOWN


def test_what_an_older_coordinator_does_not_say_is_none_or_what_it_stood_for() -> None:
    row = decode(model.FrontRow, lab_pb2.FrontRow())
    assert (row.strategy, row.convergence, row.validation_mean) == ("independent", None, None)
    assert row.relu_share is None
    known = decode(model.FrontRow, lab_pb2.FrontRow(strategy="ladder", validation_mean=0.0))
    assert (known.strategy, known.validation_mean) == ("ladder", 0.0)
