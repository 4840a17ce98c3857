"""Output store of a run: names of outputs, and the order in which files get them.

Holds the order of writes: bytes synced (`download.py`) → a different file at the final name gets a
second name beside it, committed to the ledger by `superseded` → the file gets its name, whole →
sidecar → names durable → artifact committed by the caller. So a final name never shows half a
file, and a crash or a power cut at any point loses no file. `folder.py` does each step on this
machine, `objects.py` in a store. Must not download, and must not know fal or the ledger.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from kling_batch.core.jobs import JSON
from kling_batch.core.locations import Location, ObjectAddress, is_address
from kling_batch.core.outcomes import Fetched
from kling_batch.errors import UsageError
from kling_batch.output import spool
from kling_batch.output.file_store import FileStore, record_of, sidecar_of
from kling_batch.output.files import is_below, relative_to, sync_file
from kling_batch.output.folder import LocalFolder

__all__ = [
    "OutputStore",
    "Superseded",
    "copied",
    "fetch",
    "put",
    "sidecar_of",
    "signed",
    "store_for",
    "write_object",
]

Superseded: TypeAlias = Callable[[str, str, str], None]
"""Commits to the ledger that a file has a second name, before it is replaced under its first.

Arguments: both names as the ledger stores them, and the digest of the file.
"""

_FOLDER = LocalFolder()


def store_for(at: Location) -> FileStore[Any]:
    """The store of a location."""
    if isinstance(at, Path):
        return _FOLDER
    # Without an object store, nothing of one is loaded.
    from kling_batch.output.objects import ObjectStore  # noqa: PLC0415

    return ObjectStore()


def put(source: Path, target: Location, sha256: str) -> None:
    """Give a complete, synced local file its name in a folder or a store, whole or not at all.

    Of a folder, `source` lies in it and is moved; of a store, it is compared with what arrived, and
    stays. Needs neither ledger nor key. Raises `OSError`.
    """
    store = store_for(target)
    store.put(source, target, sha256)
    store.settle(target)


def fetch(source: ObjectAddress, target: Path, sha256: str | None = None) -> None:
    """Copy an object into a synced local file, and check its content. Raises `OSError`."""
    from kling_batch.output.objects import local_copy  # noqa: PLC0415

    local_copy(source, target, sha256)
    sync_file(target)


def signed(at: ObjectAddress, seconds: int) -> str | None:
    """A link that opens an object for so long; None where the store has none.

    Raises `OSError`.
    """
    from kling_batch.output.objects import ObjectStore  # noqa: PLC0415

    return ObjectStore().signed(at, seconds)


def write_object(at: ObjectAddress, data: bytes) -> None:
    """Put a small object, in place of what has the name. Raises `OSError`."""
    from kling_batch.output.objects import ObjectStore  # noqa: PLC0415

    ObjectStore().write(at, data)


def copied(source: ObjectAddress, final: ObjectAddress) -> bool:
    """Let a store copy an object itself; False: they are in different ones. Raises `OSError`."""
    from kling_batch.output.objects import ObjectStore  # noqa: PLC0415

    return ObjectStore().copy(source, final)


class OutputStore:
    """The output folders of a run, and the names in them as the ledger stores them.

    Args:
        roots: the output folder of each batch, on this machine or in a store.
        base: the folder that the ledger's paths are relative to.
        spool: where downloads wait that a store is to have; default: beside the ledger.
    """

    def __init__(
        self, roots: Mapping[str, Location], base: Path, spool: Path | None = None
    ) -> None:
        """Nothing is created yet."""
        self._roots = roots
        self._base = base
        self._spool = spool or base / ".spool"

    def prefix(self, batch: str) -> str:
        """The prefix of the stored names of a batch's outputs: empty, or ending in a slash."""
        stored = self.stored(self._roots[batch])
        return "" if stored == "." else f"{stored}/"

    def stored(self, at: Location) -> str:
        """A location as the ledger stores it: relative to the ledger, or the address."""
        return str(at) if isinstance(at, ObjectAddress) else relative_to(at, self._base)

    def located(self, stored: str) -> Location:
        """The reverse of `stored`."""
        if is_address(stored):
            return ObjectAddress(stored)
        return Path(os.path.normpath(self._base / stored))

    def is_remote(self, batch: str) -> bool:
        """Whether a batch's outputs go to an object store."""
        return isinstance(self._roots[batch], ObjectAddress)

    def wanted(self, batch: str, relative: str) -> Location:
        """The final location of an output of a batch."""
        return self._roots[batch] / relative

    def prepare(self, batch: str, relative: str) -> Location:
        """The final location of an output, with its folder, checked to lie inside the root.

        Raises:
            UsageError: the folder leads out of the output folder (a symlink, `..`).
        """
        final = self.wanted(batch, relative)
        if isinstance(final, ObjectAddress):
            self._spool.mkdir(parents=True, exist_ok=True)
            return final
        self.check_name(final)
        folder = final.parent
        self._check_inside(batch, folder)  # before a folder is made outside
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            self._check_inside(batch, folder)
        return final

    def can_be_named(self, batch: str, relative: str) -> bool:
        """Whether this system's file names can hold the name of an output."""
        try:
            self.check_name(self.wanted(batch, relative))
        except UsageError:
            return False
        return True

    def make_folder(self, final: Location) -> None:
        """Make the folder of a name that the ledger has."""
        folder = self._spool if isinstance(final, ObjectAddress) else final.parent
        folder.mkdir(parents=True, exist_ok=True)

    def check_name(self, path: Location) -> None:
        """Raise `UsageError` for a name that this system's file names cannot hold."""
        if isinstance(path, ObjectAddress):
            return  # a store's names are not this system's
        if (text := str(path)).isascii():
            return
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            encoding = sys.getfilesystemencoding()
            raise UsageError(
                f"{path}: `{error.object[error.start : error.end]}` cannot be part of a file name "
                f"here (encoding {encoding}); set PYTHONUTF8=1 or LC_ALL=C.UTF-8, or choose "
                "another id"
            ) from None

    def check_inside(self, batch: str, relative: str) -> None:
        """Raise `UsageError` where the folder of an output leads out of the output folder."""
        final = self.wanted(batch, relative)
        if isinstance(final, Path):  # a store has no links
            self._check_inside(batch, final.parent)

    def _check_inside(self, batch: str, of_output: Path) -> None:
        # Strings: a path object for each part of each name is what 100,000 outputs would wait for.
        root, folder = str(self._roots[batch]), str(of_output)
        if is_below(folder, root):
            return
        root, folder = os.path.realpath(root), os.path.realpath(folder)
        if folder != root and not folder.startswith(os.path.join(root, "")):  # noqa: PTH118
            raise UsageError(
                f"{of_output}: leads out of the output folder {root}; nothing written; remove the "
                f"link in it, or give the folder behind it as --output"
            )

    def temporary(self, final: Location, token: str, index: int) -> Path:
        """The temporary path of a download, the same after a crash.

        Hidden in the final folder, or in the spool of what a store is to have.
        """
        folder = self._spool if isinstance(final, ObjectAddress) else final.parent
        return folder / f".{token}-{index}.part"

    def spooled(self, temporary: Path) -> Fetched | None:
        """The complete download of an earlier run, to be put into a store; None: there is none."""
        return spool.complete(temporary)

    def downloaded(self, fetched: Fetched, attempt: int) -> None:
        """Remember that a download is complete, which is still to be put into a store."""
        spool.note(fetched, attempt)

    def recorded(self, stored: str, fetched: Fetched) -> None:
        """Remove the local copy of what the store has and the ledger names."""
        if is_address(stored):
            spool.drop(Path(fetched.temporary))

    # -- looking -------------------------------------------------------------------------------

    def size(self, at: Location) -> int | None:
        """The size of a file; None where there is none."""
        return store_for(at).size(at)

    def digest(self, at: Location) -> str:
        """The SHA-256 of a file's content."""
        return store_for(at).digest(at)

    def read(self, at: Location) -> bytes:
        """The content of a small file."""
        return store_for(at).read(at)

    def sizes(self, folder: Location) -> dict[str, int | None]:
        """The names in a folder, with their sizes where the listing says them."""
        return store_for(folder).listed(folder)

    def names(self, folder: Location, *, suffix: str) -> list[str]:
        """The names in a folder that end so, in order; none where this machine cannot list it."""
        try:
            found = self.sizes(folder)
        except OSError:
            if isinstance(folder, ObjectAddress):
                raise
            return []
        return sorted(name for name in found if name.endswith(suffix))

    def small_files(
        self, folder: Location, names: Iterable[str], *, most: int
    ) -> Iterator[tuple[str, bytes]]:
        """The files of a folder with their content; hidden, large and unreadable ones left out."""
        wanted = [name for name in names if not name.startswith(".")]
        if isinstance(folder, ObjectAddress):
            from kling_batch.output.objects import small_objects  # noqa: PLC0415

            yield from small_objects(folder, wanted, most)
            return
        for name in wanted:
            path = folder / name
            with suppress(OSError):
                # To open a pipe would wait for whoever writes into it.
                if path.is_file() and path.stat().st_size <= most:
                    yield name, path.read_bytes()

    def intact(self, at: Location, size: int, sha256: str) -> bool:
        """Whether a file is there, with the content that was paid for."""
        return self.size(at) == size and self.digest(at) == sha256

    def sidecar(self, at: Location, sha256: str) -> dict[str, Any]:
        """What the sidecar beside a file says of it; empty where it says nothing of this content.

        Raises `OSError` where there is one that cannot be read.
        """
        return record_of(store_for(at), at, sha256)

    # -- publishing ----------------------------------------------------------------------------

    def publish(
        self,
        temporary: Path,
        final: Location,
        *,
        sha256: str,
        record: JSON | None,
        superseded: Superseded,
    ) -> str:
        """Give a complete, synced temporary file its final name; the name as the ledger stores it.

        A file at `final` with other content keeps a second name beside it. Without a `record`
        no sidecar is written. The caller commits the artifact at once. Nobody else may publish
        under the same name meanwhile.
        """
        self._set_aside(final, sha256, superseded)
        return self._put(temporary, final, sha256, record)

    def publish_copy(
        self,
        source: Location,
        final: Location,
        *,
        token: str,
        sha256: str,
        record: JSON,
        superseded: Superseded,
    ) -> str:
        """Publish the same artifact under one more name, also from one store into another."""
        self._set_aside(final, sha256, superseded)
        temporary = self.temporary(final, token, 0)
        if isinstance(source, Path) and isinstance(final, Path):
            _FOLDER.second_name(source, temporary)
        elif isinstance(source, ObjectAddress):
            if isinstance(final, ObjectAddress) and copied(source, final):
                return self._named(final, record, temporary)
            fetch(source, temporary, sha256)
        elif source != temporary:
            shutil.copyfile(source, temporary)
        stored = self._put(temporary, final, sha256, record)
        if isinstance(final, ObjectAddress):
            spool.drop(temporary)
        return stored

    def _put(self, temporary: Path, final: Location, sha256: str, record: JSON | None) -> str:
        self._rename(temporary, final, sha256)
        return self._named(final, record, temporary)

    def _rename(self, temporary: Path, final: Location, sha256: str) -> None:
        store_for(final).put(temporary, final, sha256)

    def _named(self, final: Location, record: JSON | None, temporary: Path) -> str:
        if record is not None:
            self.write_sidecar(final, record, temporary)
        store_for(final).settle(final)
        return self.stored(final)

    def _set_aside(self, final: Location, incoming: str, superseded: Superseded) -> None:
        """Keep the file at `final` under a second name, unless it has the incoming content."""
        present = store_for(final).differing(final, incoming)
        if present is None:
            return
        kept = self.back_up(final)
        if kept is not None:
            store_for(final).settle(final)  # the ledger is about to say that it has this name
            superseded(self.stored(final), self.stored(kept), present)

    def back_up(self, final: Location) -> Location | None:
        """Give the file at `final` a second name beside it; None where there is none."""
        return store_for(final).back_up(final)

    def write_sidecar(self, final: Location, record: JSON, temporary: Path) -> None:
        """Write the record of a file beside it, as `NAME.json`, atomically.

        `temporary`: that of the file; a name like it is used again after a crash, whatever the
        file is called by then.
        """
        store_for(final).write_sidecar(final, record, temporary)

    @property
    def scratch(self) -> Path:
        """The folder for renditions that a store is to have, and for what they are made of."""
        return self._spool / "renditions"
