"""Files that a person names to be written (`--junit`, `--save`…): none replaces what is needed.

That is the ledger, what a command reads, and the files that the ledger knows. Every command that
writes a named file asks here before it sends anything. Must not write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kling_batch.core.jobs import Batch, local_files
from kling_batch.errors import LedgerError, UsageError
from kling_batch.ledger.database import is_there
from kling_batch.ledger.queries import stored_names
from kling_batch.ledger.reader import Reader
from kling_batch.output.files import behind_links, same_file
from kling_batch.output.store import OutputStore, sidecar_of
from kling_batch.settings import LEDGER_NAME
from kling_batch.shown_location import shown

#: How every SQLite database begins.
_SQLITE = b"SQLite format 3\0"
#: What belongs to a ledger beside its file.
_BESIDE = ("-wal", "-shm", ".lock")


class NamedFiles:
    """What the named files of a command may not be.

    Args:
        ledger: of the command; need not be there yet.
        batches: the loaded manifests.
        read: further files that the command reads.
    """

    def __init__(
        self, ledger: Path, batches: Sequence[Batch] = (), read: Iterable[Path] = ()
    ) -> None:
        self._ledger = ledger
        self._read = [*read, *map(Path, dict.fromkeys(_read_for(batches)))]

    def check(self, files: Mapping[str, Path | None]) -> None:
        """Refuse the files, by the option that names each.

        Raises:
            UsageError: one would replace what is needed, or two are the same.
        """
        known: dict[str, Path] = {}
        for option, file in files.items():
            if file is None:
                continue
            if reason := self.refusal(file):
                raise UsageError(
                    f"{option} {shown(file)}: {reason}, and would be overwritten; "
                    "nothing was sent or written. Name another file"
                )
            for other, earlier in known.items():
                if _is_plain(file) and same_file(file, earlier):
                    raise UsageError(f"{other} and {option} are the same file, {shown(file)}")
            known[option] = file

    def refusal(self, file: Path) -> str:
        """What the file is that must stay; empty where it may be written."""
        own = (self._ledger, *(_beside(self._ledger, end) for end in _BESIDE))
        if any(same_file(file, each) for each in own):
            return "is the ledger, or a part of it"
        if _is_database(file):
            return f"is a database, perhaps the {LEDGER_NAME} of another run"
        if any(same_file(file, each) for each in self._read):
            return "is read by this command"
        return self._known(file)

    def _known(self, file: Path) -> str:
        # An unreadable ledger, or one of an older version, is for the command itself to explain.
        with suppress(LedgerError):
            if is_there(self._ledger) and not self._ledger.is_dir():
                return self._paid(file)
        return ""

    def _paid(self, file: Path) -> str:
        store = OutputStore({}, self._ledger.parent)
        names = {file.name, behind_links(file).name}  # it may be a link of another name
        names |= {name.removesuffix(".json") for name in names}
        with Reader.open(self._ledger) as reader:
            for stored in stored_names(reader, names):
                at = store.located(stored)
                if isinstance(at, Path) and same_file(file, at):
                    return "is a file that was paid for"
                if isinstance(at, Path) and same_file(file, sidecar_of(at)):
                    return f"is the record of {at.name}, which was paid for"
        return ""


def must_be_no_ledger(option: str, file: Path) -> None:
    """Refuse a ledger where a database of another kind is kept.

    Raises:
        UsageError: the file is a ledger.
    """
    if _is_database(file):
        with suppress(LedgerError):
            Reader.open(file).close()
            raise UsageError(f"{option} {shown(file)}: is a ledger; name another file")


def _is_plain(file: Path) -> bool:
    """No device or pipe, which several may write to."""
    return file.is_file() or not file.exists()


def _read_for(batches: Sequence[Batch]) -> Iterator[str]:
    for batch in batches:
        yield from batch.files
        for job in batch.jobs:
            yield from (file.path for file in local_files(job.arguments))


def _beside(ledger: Path, end: str) -> Path:
    resolved = behind_links(ledger)
    return resolved.with_name(f"{resolved.name}{end}")


def _is_database(file: Path) -> bool:
    """Whether its content is SQLite's; a device or a pipe is not read."""
    with suppress(OSError):
        if file.is_file():
            with file.open("rb") as opened:
                return opened.read(len(_SQLITE)) == _SQLITE
    return False
