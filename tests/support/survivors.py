"""Processes that should be gone: which of them still run. Must not end any of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

SECONDS = 10.0
"""The system ends what was killed a moment after it was asked to."""


def survivors(pids: Iterable[int]) -> list[int]:
    """Those that still run after `SECONDS`."""
    left, until = list(pids), time.monotonic() + SECONDS
    while (left := [pid for pid in left if runs(pid)]) and time.monotonic() < until:
        time.sleep(0.01)
    return left


def runs(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
