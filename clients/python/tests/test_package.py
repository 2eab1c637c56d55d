"""The package as a wheel, and what its README says."""

from __future__ import annotations

import importlib.metadata
import os
import re
import typing
from pathlib import Path

import pandas
import pytest

import autorep
from lab import MANIFEST, Lab

HERE = Path(__file__).parent


def test_the_tests_run_against_the_wheel_which_has_types_and_licences() -> None:
    site = Path(os.environ["AUTOREP_WHEEL_SITE"])  # set by scripts/python.sh
    assert autorep.__file__ is not None
    folder = Path(autorep.__file__).parent
    assert folder.is_relative_to(site)
    for name in ("py.typed", "v1/lab_pb2.pyi", "v1/lab_pb2_grpc.pyi"):
        assert (folder / name).is_file(), name
    (licences,) = site.glob("*.dist-info/licenses")
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        # Copies: a source distribution would keep links to what lies outside of it.
        assert (licences / name).read_bytes() == (HERE.parents[2] / name).read_bytes()


def test_the_package_has_the_version_of_the_workspace() -> None:
    workspace = (HERE.parents[2] / "Cargo.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+)"$', workspace, re.MULTILINE)
    assert found is not None
    assert importlib.metadata.version("autorep-client") == found[1]


def test_every_public_name_is_listed_and_every_listed_one_is_there() -> None:
    public = {it for it in vars(autorep) if not it.startswith("_")}
    modules = {"annotations", "client", "context", "errors", "model", "sweep", "v1"}
    assert public - modules == set(autorep.__all__)


def test_the_examples_of_the_readme_run(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (HERE.parent / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 2
    (tmp_path / "config.yaml").write_text(
        f"current-context: lab\ncontexts: [{{name: lab, coordinator: {lab.url}}}]\n",
        encoding="utf-8",
    )
    (tmp_path / "my-sweep.yaml").write_text(MANIFEST, encoding="utf-8")
    monkeypatch.setenv("AUTOREP_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.chdir(tmp_path)
    lab.start_worker()
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    assert len(typing.cast("pandas.DataFrame", names["front"])) == 3
