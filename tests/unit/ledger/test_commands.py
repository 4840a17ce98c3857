"""Next commands name the ledger that they are about, and only where it must be named."""

from __future__ import annotations

from pathlib import Path

import pytest

from kling_batch.ledger.commands import command_on


@pytest.mark.parametrize(
    ("ledger", "named"),
    [
        ("outputs/ledger.db", ""),
        ("outputs-emulator/ledger.db", " --emulator"),
        ("spring/ledger.db", " --ledger spring/ledger.db"),
        ("a folder/ledger.db", " --ledger 'a folder/ledger.db'"),
        ("/mnt/ledger.db", " --ledger /mnt/ledger.db"),
    ],
)
def test_a_command_names_its_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)

    assert str(command_on(Path(ledger), "retry", "hero#2")) == f"kling-batch retry 'hero#2'{named}"
    assert command_on(tmp_path / ledger, "list") == command_on(Path(ledger), "list")
