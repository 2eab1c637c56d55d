"""The client and a real coordinator under TLS and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

import autorep
from autorep import Client, SweepState
from lab import MANIFEST, PATIENCE_S, Lab

ROLES = {"alice": "submitter", "bob": "submitter", "eve": "viewer", "crew": "worker"}


@dataclass(frozen=True)
class Secured:
    """A coordinator with TLS and tokens, and where its files are."""

    lab: Lab
    folder: Path

    def client(self, token: str | None) -> Client:
        file = None if token is None else self.folder / f"{token}.token"
        return Client(self.lab.url, ca=self.folder / "ca.pem", token_file=file)


def certify(lab: Lab, authority: trustme.CA, name: str) -> list[str]:
    """Write a certificate for a name; give the coordinator's arguments for it."""
    authority.cert_pem.write_to_path(str(lab.folder / "ca.pem"))
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(str(lab.folder / "tls.key"))
    chain = b"".join(it.bytes() for it in issued.cert_chain_pems)
    (lab.folder / "tls.crt").write_bytes(chain)
    return ["--tls-cert", "tls.crt", "--tls-key", "tls.key"]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Give a coordinator that asks for tokens, and one token for each role."""
    folder = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    with Lab(folder) as lab:
        entries = ""
        for name, role in ROLES.items():
            owner = ["--owner", name] if role == "submitter" else []
            options = ["--name", name, "--role", role, "--out", f"{name}.token", *owner]
            entries += lab.run("token", "new", *options)
        (folder / "tokens.yaml").write_text(entries, encoding="utf-8")
        trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        arguments = certify(lab, authority, lab.host)
        lab.start(*arguments, "--tokens", "tokens.yaml", credentials=trusted)
        yield Secured(lab, folder)


def test_a_context_of_the_command_line_submits_over_tls_with_a_token(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, folder = secured.lab, secured.folder
    lab.variables = {"AUTOREP_CONFIG": str(folder / "config.yaml")}
    address = ["--coordinator", lab.url, "--ca", "ca.pem", "--token-file", "alice.token"]
    lab.run("context", "set", "lab", *address)
    monkeypatch.setenv("AUTOREP_CONFIG", str(folder / "config.yaml"))
    lab.variables = {
        "AUTOREP_CA": str(folder / "ca.pem"),
        "AUTOREP_TOKEN_FILE": str(folder / "crew.token"),
    }
    lab.start_worker()
    with Client.from_context("lab") as client:
        sweep = client.submit(MANIFEST)
        assert [it.sweep for it in sweep.watch(every=0.1)][-1] == "tiny"
        assert sweep.wait(PATIENCE_S).state is SweepState.DONE
        assert len(sweep.front()) == 3


def test_each_role_may_what_it_may_and_no_more(secured: Secured) -> None:
    alices = MANIFEST.replace("name: tiny", "name: alices")
    bobs = MANIFEST.replace("name: tiny, owner: alice", "name: bobs, owner: bob")
    with (
        secured.client("alice") as alice,
        secured.client("bob") as bob,
        secured.client("eve") as eve,
        secured.client("crew") as crew,
    ):
        alice.submit(alices).pause()
        bob.submit(bobs).pause()
        # What another owner has is as if it were not there.
        assert "bobs" not in {it.sweep for it in alice.list()}
        with pytest.raises(autorep.NotFoundError, match="alices"):
            bob.sweep("alices").cancel()
        with pytest.raises(autorep.ForbiddenError, match="owner"):
            bob.submit(MANIFEST.replace("name: tiny", "name: stolen"))
        assert {"alices", "bobs"} <= {it.sweep for it in eve.list()}
        with pytest.raises(autorep.ForbiddenError, match="submit and steer sweeps"):
            eve.sweep("alices").resume()
        with pytest.raises(autorep.ForbiddenError, match="administer"):
            next(alice.collect_garbage(dry_run=True))
        with pytest.raises(autorep.ForbiddenError, match="read sweeps"):
            crew.list()


def test_a_token_that_is_missing_or_was_revoked_is_refused_as_such(secured: Secured) -> None:
    with (
        secured.client(None) as nobody,
        pytest.raises(autorep.UnauthenticatedError, match="expected a token, found none"),
    ):
        nobody.list()
    (secured.folder / "old.token").write_text("autorep-of-a-former-member", encoding="ascii")
    with (
        secured.client("old") as old,
        pytest.raises(autorep.UnauthenticatedError, match="may have been revoked"),
    ):
        next(old.sweep("tiny").watch())


def test_a_coordinator_that_another_authority_has_certified_is_not_talked_to(
    secured: Secured, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    token = secured.folder / "alice.token"
    for ca in (tmp_path / "other.pem", None):
        with (
            Client(secured.lab.url, ca=ca, token_file=token) as client,
            pytest.raises(autorep.UnavailableError, match=r"(?i)certificate"),
        ):
            client.list()


def test_a_coordinator_whose_certificate_has_another_name_is_not_talked_to(tmp_path: Path) -> None:
    authority = trustme.CA()
    with Lab(tmp_path) as lab:
        arguments = certify(lab, authority, "elsewhere.example")
        trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        lab.start(*arguments, credentials=trusted, name="elsewhere.example")
        with (
            Client(lab.url, ca=tmp_path / "ca.pem") as client,
            pytest.raises(autorep.UnavailableError, match=r"(?i)hostname|peer name"),
        ):
            client.list()


def test_a_coordinator_that_asks_for_a_certificate_takes_the_right_one_only(tmp_path: Path) -> None:
    authority, others = trustme.CA(), trustme.CA()
    mine, strange = authority.issue_cert("alice.example"), others.issue_cert("alice.example")
    for name, issued in (("mine", mine), ("strange", strange)):
        issued.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.crt"))
    with Lab(tmp_path) as lab:
        arguments = certify(lab, authority, lab.host)
        credentials = grpc.ssl_channel_credentials(
            authority.cert_pem.bytes(),
            mine.private_key_pem.bytes(),
            mine.cert_chain_pems[0].bytes(),
        )
        lab.start(*arguments, "--tls-client-ca", "ca.pem", credentials=credentials)

        def client(name: str | None) -> Client:
            if name is None:
                return Client(lab.url, ca=tmp_path / "ca.pem")
            cert, key = tmp_path / f"{name}.crt", tmp_path / f"{name}.key"
            return Client(lab.url, ca=tmp_path / "ca.pem", client_cert=cert, client_key=key)

        with client("mine") as known:
            assert known.list() == ()
        for other in ("strange", None):
            with client(other) as stranger, pytest.raises(autorep.UnavailableError):
                stranger.list()
