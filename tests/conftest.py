"""Fixtures that every part of the suite shares; no test touches a key or the network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fal_client.client
import hypothesis  # noqa: F401 - before anything that makes its warnings errors
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))  # benchmarks

from support.process import (
    compiled_modules_are_kept,
    default_signals_in_children,
)


def pytest_configure() -> None:
    default_signals_in_children()
    compiled_modules_are_kept()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no proxy, no setting of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith(("FAL_", "KLING_BATCH_", "GITHUB_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _storage_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on an emulator in this process leaves fal-client's storage hosts as they were."""
    for name in ("REST_URL", "CDN_URL"):
        monkeypatch.setattr(fal_client.client, name, getattr(fal_client.client, name))


@pytest.fixture
def empty_workspace(tmp_path: Path) -> Iterator[Any]:
    """A workspace without a manifest."""
    from support.cli import workspace_in

    with workspace_in(tmp_path, "m.yaml") as place:
        yield place


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Any]:
    """A workspace with a manifest of two jobs."""
    from support.cli import MANIFEST, workspace_in

    with workspace_in(tmp_path, "workspace.yaml") as place:
        place.put(MANIFEST)
        yield place
