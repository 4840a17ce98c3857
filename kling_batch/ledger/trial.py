"""Ledgers of trials on the emulator: found where there is no other, set aside where one begins.

So a trial is neither hidden by a ledger that has nothing in it, nor in the way of a real run. Must
not decide which service a command is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from kling_batch.errors import LedgerError
from kling_batch.ledger.database import RunLock, connect, explained, is_there, log_of
from kling_batch.ledger.queries import attempt_count, service_of
from kling_batch.ledger.reader import Reader
from kling_batch.settings import EMULATED_LEDGER, EMULATOR


def or_trial(ledger: Path) -> Path:
    """The ledger; that of the trial where this one has no attempt, and the trial's is there."""
    if not is_there(EMULATED_LEDGER):
        return ledger
    if not is_there(ledger):
        return EMULATED_LEDGER
    try:
        empty = not _attempts(ledger) and _attempts(EMULATED_LEDGER)
    except LedgerError:
        return ledger  # whoever opens it says what is wrong with it
    return EMULATED_LEDGER if empty else ledger


def _attempts(path: Path) -> int:
    with Reader.open(path) as reader:
        return attempt_count(reader)


def is_trial(ledger: Path) -> bool:
    """Whether a ledger is there that belongs to the emulator."""
    with suppress(LedgerError):
        if is_there(ledger):
            with Reader.open(ledger) as reader:
                return service_of(reader) == EMULATOR
    return False


@contextmanager
def set_aside(ledger: Path) -> Iterator[Path | None]:
    """Give the ledger of a trial another name beside it, so that a real run can have this one.

    Yields that name; None where no trial's ledger is there. Where the run leaves no ledger of its
    own, because it was refused, the trial's gets its name back.

    Raises:
        LedgerError: the trial is running or open in another program, or the folder is not writable.
    """
    kept = _put_aside(ledger) if is_trial(ledger) else None
    try:
        yield kept
    finally:
        if kept is not None:
            _put_back(kept, ledger)


def _put_aside(ledger: Path) -> Path | None:
    marks = ("" if n == 1 else f"-{n}" for n in count(1))
    names = (ledger.with_name(f"{ledger.stem}.{EMULATOR}{m}{ledger.suffix}") for m in marks)
    with _locked(ledger), explained(ledger):
        if not is_trial(ledger):
            return None  # another run was faster
        # Whoever closes a ledger last moves its log into it. One that is left would be taken for
        # the log of the next file of this name.
        connect(ledger, writable=True).close()
        if log_of(ledger).exists():
            raise LedgerError(
                f"{ledger}: another program has this ledger of a trial open, which is to make way "
                "for the real one; close it and run again"
            )
        return ledger.rename(next(name for name in names if not name.exists()))


def _put_back(kept: Path, ledger: Path) -> None:
    with suppress(LedgerError), _locked(ledger), explained(ledger):
        if not ledger.exists():
            kept.rename(ledger)


@contextmanager
def _locked(ledger: Path) -> Iterator[None]:
    """The lock of the ledger, without which no run makes or opens one."""
    lock = RunLock(ledger)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
