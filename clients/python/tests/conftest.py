"""What tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Give a coordinator that serves and has no worker."""
    with Lab(tmp_path) as lab:
        lab.start()
        yield lab
