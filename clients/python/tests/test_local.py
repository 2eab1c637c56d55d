"""What needs no coordinator: the context file, arguments, data frames."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

import autorep
from autorep import Client, Front, FrontRow, context
from autorep._decode import decode
from autorep._frame import COLUMNS
from autorep.v1 import lab_pb2

CONTEXTS = """\
current-context: lab
contexts:
  - name: lab
    coordinator: https://lab.example:7070
    ca: certs/ca.pem
    token-file: /run/secrets/token
  - { name: laptop, coordinator: "http://127.0.0.1:7070", token: s3cret-of-the-laptop }
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONTEXTS, encoding="utf-8")
    monkeypatch.setenv("AUTOREP_CONFIG", str(path))
    monkeypatch.delenv("AUTOREP_CONTEXT", raising=False)
    return path


def test_a_context_is_the_one_that_is_named_or_that_of_the_variable_or_the_current_one(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = context.load()
    assert current.coordinator == "https://lab.example:7070"
    assert current.ca == config.parent / "certs/ca.pem"
    assert current.token_file == Path("/run/secrets/token")
    monkeypatch.setenv("AUTOREP_CONTEXT", "laptop")
    assert context.load().token == "s3cret-of-the-laptop"
    assert context.load("lab") == current
    assert repr(Client.from_context()) == "Client('http://127.0.0.1:7070')"


def test_the_file_lies_where_the_commands_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOREP_CONFIG", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/alice")
    assert context.config_path() == Path("/home/alice/.config/autorep/config.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/alice")
    assert context.config_path() == Path("/etc/alice/autorep/config.yaml")


def test_variables_go_before_the_current_context_and_not_before_one_that_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert context.environment() == context.load("lab")
    monkeypatch.setenv("AUTOREP_TOKEN", "from-the-environment")
    monkeypatch.setenv("AUTOREP_CA", "/other/ca.pem")
    found = context.environment()
    assert (found.coordinator, found.ca) == ("https://lab.example:7070", Path("/other/ca.pem"))
    assert (found.token, found.token_file) == ("from-the-environment", None)
    monkeypatch.setenv("AUTOREP_TOKEN_FILE", "/other/token")
    found = context.environment()
    assert (found.token, found.token_file) == (None, Path("/other/token"))
    monkeypatch.setenv("AUTOREP_CONTEXT", "laptop")  # the token is not meant for it
    assert context.environment() == context.load("laptop")
    for name in ("AUTOREP_CA", "AUTOREP_TOKEN", "AUTOREP_TOKEN_FILE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AUTOREP_COORDINATOR", "http://127.0.0.1:7071")
    found = context.environment()
    assert (found.coordinator, found.ca, found.token_file) == ("http://127.0.0.1:7071", None, None)
    assert repr(Client.from_environment()) == "Client('http://127.0.0.1:7071')"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "found none: `autorep context set`"),
        ("contexts: [", "expected YAML"),
        ("- a", "found neither"),
        ("contexts: {}", "expected a current context"),
        ("contexts: [a]", "a list of contexts"),
        ("current-context: x\ncontexts: [{name: a, coordinator: b}]", "'x', found 'a'"),
        ("current-context: a\ncontexts: [{name: a}]", "address of a `coordinator`"),
        ("current-context: a\ncontexts: [{name: a, coordinator: b, tokn: c}]", "'tokn'"),
        ("current-context: a\ncontexts: [{name: a, coordinator: 1}]", "expected a text"),
        ("current-context: a\ncontexts: [{name: a, plain-token: 1}]", "true or false"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_with_its_path(
    config: Path, text: str | None, said: str
) -> None:
    if text is None:
        config.unlink()
    else:
        config.write_text(text, encoding="utf-8")
    with pytest.raises(autorep.ContextError) as caught:
        context.load()
    assert said in str(caught.value)
    assert str(config) in str(caught.value)


def test_a_token_is_in_no_text_about_its_context(config: Path) -> None:
    assert "s3cret" not in repr(context.load("laptop"))
    config.write_text(CONTEXTS + "  - token: s3cret: x", encoding="utf-8")
    with pytest.raises(autorep.ContextError) as caught:
        context.load()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"coordinator": "lab.example:7070"},
        {"coordinator": "https://lab.example:7070/path"},
        {"coordinator": "ftp://lab.example"},
        {"coordinator": "http://127.0.0.1:7070", "ca": "ca.pem"},
        {"coordinator": "https://lab.example", "client_cert": "cert.pem"},
        {"coordinator": "https://lab.example", "token": "a", "token_file": "b"},
        {"coordinator": "http://lab.example:7070", "token": "everybody-reads-this"},
        {"coordinator": "http://192.0.2.7", "token": "everybody-reads-this"},
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        Client(**arguments)


def test_a_token_goes_without_encryption_only_to_this_machine_unless_it_is_meant() -> None:
    for here in ("http://localhost:7070", "http://127.3.2.1:7070", "http://[::1]:7070"):
        Client(here, token="nobody-reads-this")
    Client("http://lab.example:7070", token="among-our-own-machines", plain_token=True)


def test_what_is_no_token_is_not_sent_and_not_shown() -> None:
    for text in ("short", "with a space in the middle", "with\na line break in it", "größer" * 5):
        with pytest.raises(autorep.AutorepError, match="expected a token of 16") as caught:
            Client("http://127.0.0.1:7070", token=text)
        assert text not in str(caught.value)


def test_a_certificate_that_is_not_there_is_said_with_its_path() -> None:
    with pytest.raises(autorep.AutorepError, match=r"in /nowhere/ca\.pem"):
        Client("https://lab.example", ca="/nowhere/ca.pem")


def test_a_path_given_as_text_is_not_sent_as_a_manifest() -> None:
    with (
        Client("http://127.0.0.1:1") as client,
        pytest.raises(ValueError, match=r"Path\('sweep.yaml'\)"),
    ):
        client.submit("sweep.yaml")


def test_an_empty_front_is_a_frame_with_all_columns_and_their_types() -> None:
    frame = Front(sweep="s", rows=(), hypervolume=0.0).to_pandas()
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == COLUMNS
    assert frame.empty


def test_what_is_not_known_is_missing_in_the_frame_and_counts_stay_whole_numbers() -> None:
    row = decode(FrontRow, lab_pb2.FrontRow(kind=lab_pb2.POINT_KIND_BASELINE, relu_count=2**40))
    other = dataclasses.replace(row, lies_under=2**60 + 1, convergence="reached", relu_total=2**42)
    frame = Front(sweep="s", rows=(row, other), hypervolume=0.5).to_pandas()
    for name in ("relu_share", "validation_mean", "lies_under", "convergence"):
        assert frame[name].isna()[0], name
    assert (frame["kind"][0], frame["strategy"][0]) == ("baseline", "independent")
    assert frame["relu_count"][1] == 2**40
    assert int(frame["lies_under"][1]) == 2**60 + 1
    assert (frame["relu_share"][1], frame["convergence"][1]) == (0.25, "reached")
    assert frame.attrs == {"sweep": "s", "hypervolume": 0.5}


def test_without_pandas_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(autorep.MissingPandasError, match=r"autorep-client\[pandas\]"):
        Front(sweep="s", rows=(), hypervolume=0.0).to_pandas()
