"""The gRPC channel to a coordinator: addresses, certificates, tokens, retries, errors."""

from __future__ import annotations

import ipaddress
import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message

from autorep.errors import AutorepError, refusal
from autorep.v1 import lab_pb2_grpc

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

# Fronts of large sweeps come in one message.
_MAX_MESSAGE_BYTES = 64 << 20

# What a coordinator takes for a token: see transport/src/secret.rs.
_TOKEN = re.compile("[!-~]{16,1024}")

# Every call of the service is idempotent. gRPC itself keeps to the wait that a coordinator asks
# for.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "autorep.v1.Lab"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}

_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A coordinator that is started again is to be found within a second or so.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.service_config", json.dumps(_RETRIES)),
]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom to trust, and who one is."""

    ca: Path | None = None
    token: str | None = None
    token_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    plain_token: bool = False

    def __repr__(self) -> str:
        """Leave out what nobody may see."""
        return "Identity(…)"


class Connection:
    """A channel to one coordinator. Any number of threads may use it."""

    def __init__(self, coordinator: str, identity: Identity, timeout: float) -> None:
        self.coordinator = coordinator
        self._identity = identity
        self._timeout = timeout
        self._closed = False
        self._metadata()  # A token that cannot be read or sent is said now.
        self._channel = _channel(coordinator, identity)
        self.stub = lab_pb2_grpc.LabStub(self._channel)

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def call(
        self, method: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> Response:
        """Make a unary call."""
        self._demand_open()
        try:
            return method(request, timeout=self._timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            raise refusal(error, self.coordinator) from error

    def stream(
        self,
        method: grpc.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        endless: bool = False,
    ) -> Stream[Response]:
        """Make a call that is answered with many messages; `endless` ones have no deadline."""
        self._demand_open()
        timeout = None if endless else self._timeout
        return Stream(method(request, timeout=timeout, metadata=self._metadata()), self.coordinator)

    def _demand_open(self) -> None:
        if self._closed:
            raise AutorepError(
                f"expected an open client of {self.coordinator}, found one that was closed: "
                "make another"
            )

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._identity.token
        if self._identity.token_file is not None:
            # Read every time: whoever renews the token replaces the file.
            token = _text(self._identity.token_file, "a token")
        if token is None:
            return ()
        if _is_exposed(self.coordinator) and not self._identity.plain_token:
            raise ValueError(
                "expected an address that begins with https:// or is on this machine, found "
                f"{self.coordinator!r}: everybody on the way could read the token; if only your "
                "own machines are, say plain_token=True"
            )
        token = token.strip()
        if not _TOKEN.fullmatch(token):
            raise AutorepError(
                "expected a token of 16 to 1024 visible ASCII characters, found one of "
                f"{len(token)} characters, or with others among them"
            )
        return (("authorization", f"Bearer {token}"),)


class Stream(Generic[Response]):
    """The answers of a running call. Another thread may cancel it."""

    def __init__(self, call: grpc._CallIterator[Response], coordinator: str) -> None:
        self._call = call
        self._coordinator = coordinator

    def __iter__(self) -> Iterator[Response]:
        """Give the answers as they come; whoever stops reading ends the call."""
        try:
            yield from self._call
        except grpc.RpcError as error:
            raise refusal(error, self._coordinator) from error
        finally:
            self.cancel()

    def cancel(self) -> None:
        """End the call. The thread that reads its answers gets an `UnavailableError`."""
        self._call.cancel()


def _is_exposed(coordinator: str) -> bool:
    """Say whether others than this machine's own users could read what is sent to an address."""
    url = urlsplit(coordinator)
    return url.scheme != "https" and not _is_here(url.hostname or "")


def _is_here(host: str) -> bool:
    """Say whether a host is this machine by its loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _channel(coordinator: str, identity: Identity) -> grpc.Channel:
    url = urlsplit(coordinator)
    if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/"):
        raise ValueError(
            f"expected a coordinator's address like https://HOST:7070, found {coordinator!r}"
        )
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    target = f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    # gRPC would ask a proxy (https_proxy) for this machine, too, as for a forwarded port.
    options = [*_OPTIONS, ("grpc.enable_http_proxy", int(not _is_here(url.hostname)))]
    if url.scheme == "https":
        return grpc.secure_channel(target, _credentials(identity), options=options)
    if identity.ca is not None or identity.client_cert is not None:
        raise ValueError(
            f"expected an address that begins with https:// for certificates, found {coordinator!r}"
        )
    return grpc.insecure_channel(target, options=options)


def _credentials(identity: Identity) -> grpc.ChannelCredentials:
    if (identity.client_cert is None) != (identity.client_key is None):
        raise ValueError("expected client_cert and client_key together, found only one of them")
    ca = identity.ca
    roots = _system_roots() if ca is None else _bytes(ca, "certificates of authorities")
    if identity.client_cert is None or identity.client_key is None:
        return grpc.ssl_channel_credentials(roots)
    return grpc.ssl_channel_credentials(
        roots,
        private_key=_bytes(identity.client_key, "a private key"),
        certificate_chain=_bytes(identity.client_cert, "a certificate"),
    )


def _system_roots() -> bytes | None:
    """Find the authorities that this machine trusts; without any, gRPC takes its own list."""
    roots = ssl.create_default_context().get_ca_certs(binary_form=True)
    pem = "".join(ssl.DER_cert_to_PEM_cert(root) for root in roots)
    return pem.encode() or None


def _bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AutorepError(f"expected {what} in {path}, could not read it: {error}") from error


def _text(path: Path, what: str) -> str:
    return _bytes(path, what).decode("ascii", errors="replace")
