"""The context file, which `autorep context` keeps: coordinators by name, with what they ask for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autorep.errors import ContextError

_TEXTS = {"name", "coordinator", "ca", "token-file", "token", "client-cert", "client-key"}
_FLAGS = {"plain-token"}


@dataclass(frozen=True, slots=True)
class Context:
    """A coordinator, and what it asks for."""

    name: str
    coordinator: str
    """Its address, as in https://HOST:7070."""
    ca: Path | None = None
    """PEM file of the authorities to trust instead of the system's."""
    token_file: Path | None = None
    token: str | None = None
    client_cert: Path | None = None
    """PEM file of the certificate to show."""
    client_key: Path | None = None
    """PEM file of its key."""
    plain_token: bool = False
    """Whether the token may be sent to another machine although nothing is encrypted."""

    def __repr__(self) -> str:
        """Leave out what nobody may see."""
        return f"Context(name={self.name!r}, coordinator={self.coordinator!r})"


def config_path() -> Path:
    """Say where the context file lies: `$AUTOREP_CONFIG`, or else below the user's settings."""
    if own := os.environ.get("AUTOREP_CONFIG"):
        return Path(own)
    settings = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not settings.is_absolute():
        settings = Path.home() / ".config"
    return settings / "autorep" / "config.yaml"


def environment() -> Context:
    """Read what the commands take when they are given no arguments.

    The coordinator is `$AUTOREP_COORDINATOR`, or else that of a context. `$AUTOREP_CA`,
    `$AUTOREP_CLIENT_CERT` with `$AUTOREP_CLIENT_KEY`, `$AUTOREP_TOKEN_FILE` or `$AUTOREP_TOKEN`,
    and `$AUTOREP_PLAIN_TOKEN` go before what the current context has; the one that
    `$AUTOREP_CONTEXT` names is taken as it is, since they may be meant for another coordinator.

    Raises:
        ContextError: No coordinator is named, and there is no context either.

    """

    def text(name: str) -> str | None:
        return os.environ.get(f"AUTOREP_{name}") or None

    def file(name: str) -> Path | None:
        path = text(name)
        return None if path is None else Path(path)

    address = text("COORDINATOR")
    if address is None and text("CONTEXT"):
        return load()
    base = load() if address is None else Context(name="", coordinator=address)
    changes: dict[str, Any] = {}
    if ca := file("CA"):
        changes["ca"] = ca
    if (cert := file("CLIENT_CERT")) and (key := file("CLIENT_KEY")):
        changes |= {"client_cert": cert, "client_key": key}
    if path := file("TOKEN_FILE"):
        changes |= {"token_file": path, "token": None}
    elif token := text("TOKEN"):
        changes |= {"token_file": None, "token": token}
    if text("PLAIN_TOKEN") in ("1", "true"):
        changes["plain_token"] = True
    return dataclasses.replace(base, **changes)


def load(name: str | None = None, path: Path | None = None) -> Context:
    """Read one context.

    Args:
        name: Which; by default `$AUTOREP_CONTEXT`, or else the file's current one.
        path: The file; by default that of `config_path`. Paths in it are relative to its folder.

    Raises:
        ContextError: The file or the context is missing, or is not what it should be.

    """
    path = path or config_path()
    document = _read(path)
    contexts = document.get("contexts") or []
    if not isinstance(contexts, list) or not all(isinstance(it, dict) for it in contexts):
        raise ContextError(f"{path}: expected a list of contexts, found {contexts!r:.80}")
    name = name or os.environ.get("AUTOREP_CONTEXT") or document.get("current-context")
    known = ", ".join(repr(it.get("name")) for it in contexts) or "none"
    if not name:
        raise ContextError(
            f"{path}: expected a current context, found none: name one of {known}, or choose with "
            "`autorep context use NAME`"
        )
    for entry in contexts:
        if entry.get("name") == name:
            return _context(path, entry)
    raise ContextError(f"{path}: expected a context {name!r}, found {known}")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ContextError(
            f"expected a context file at {path}, found none: `autorep context set` makes one, and "
            "$AUTOREP_CONFIG names another"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ContextError(
            f"expected a context file at {path}, could not read it: {error}"
        ) from error
    except yaml.YAMLError as error:
        # Not the text around the problem: it may hold a token.
        where = getattr(error, "problem_mark", None)
        place = f", line {where.line + 1}" if where is not None else ""
        raise ContextError(f"{path}{place}: expected YAML, found something else") from None
    if not isinstance(document, dict):
        raise ContextError(f"{path}: expected `current-context` and `contexts`, found neither")
    return document


def _context(path: Path, entry: Mapping[str, Any]) -> Context:
    name = entry["name"]
    for key, value in entry.items():
        if key not in _TEXTS | _FLAGS:
            raise ContextError(f"{path}: context {name!r}: unknown key {key!r}")
        if key in _FLAGS and not isinstance(value, bool):
            raise ContextError(f"{path}: context {name!r}: expected true or false for {key!r}")
        if key in _TEXTS and value is not None and not isinstance(value, str):
            raise ContextError(f"{path}: context {name!r}: expected a text for {key!r}")

    def file(key: str) -> Path | None:
        return path.parent / entry[key] if entry.get(key) else None

    coordinator = entry.get("coordinator")
    if not coordinator:
        raise ContextError(f"{path}: context {name!r}: expected the address of a `coordinator`")
    return Context(
        name=name,
        coordinator=coordinator,
        ca=file("ca"),
        token_file=file("token-file"),
        # As the commands do: the file goes before the token.
        token=None if entry.get("token-file") else entry.get("token"),
        client_cert=file("client-cert"),
        client_key=file("client-key"),
        plain_token=entry.get("plain-token", False),
    )
