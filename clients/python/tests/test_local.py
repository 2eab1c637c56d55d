"""What needs no coordinator: the context file, arguments, data frames."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import autorep
from autorep import Client, Front, context
from autorep._frame import COLUMNS

CONTEXTS = """\
current-context: lab
contexts:
  - name: lab
    coordinator: https://lab.example:7070
    ca: certs/ca.pem
    token-file: /run/secrets/token
  - { name: laptop, coordinator: "http://127.0.0.1:7070", token: s3cret }
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
    assert context.load().token == "s3cret"
    assert context.load("lab") == current
    assert repr(Client.from_context()) == "Client('http://127.0.0.1:7070')"


def test_the_file_lies_where_the_commands_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOREP_CONFIG", raising=False)
    monkeypatch.setenv("HOME", "/home/alice")
    assert context.config_path() == Path("/home/alice/.config/autorep/config.yaml")


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
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        Client(**arguments)


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


def test_without_pandas_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(autorep.MissingPandasError, match=r"autorep-client\[pandas\]"):
        Front(sweep="s", rows=(), hypervolume=0.0).to_pandas()
