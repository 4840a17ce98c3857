"""Files of a local folder: published under their final names, atomically and durably.

A final name never shows half a file, and a crash or a power cut at any point loses no file: bytes
are synced before the rename, names after it. The first implementation of `FileStore`; the other one
is `objects.py`. Must not download, and must not know fal or the ledger.
"""

from __future__ import annotations

import errno
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

from kling_batch.output.file_store import (
    is_record,
    record_in,
    sidecar_of,
    sidecar_text,
    with_renditions,
)
from kling_batch.output.files import digest_of, sync_folder, write_synced


class LocalFolder:
    """Files on the disks of this machine."""

    def size(self, at: Path) -> int | None:
        """The size of a file; None where there is none."""
        return at.stat().st_size if at.is_file() else None

    def digest(self, at: Path) -> str:
        """The SHA-256 of its content."""
        return digest_of(at)

    def read(self, at: Path) -> bytes:
        """Its content."""
        return at.read_bytes()

    def listed(self, folder: Path) -> dict[str, int | None]:
        """The names in a folder; their sizes are asked one by one."""
        return {path.name: None for path in folder.iterdir()}

    # -- publishing ----------------------------------------------------------------------------

    def differing(self, final: Path, incoming: str) -> str | None:
        """The digest of a file at `final` that has other content."""
        if not final.exists() or (final.is_file() and not final.stat().st_size):
            return None  # nothing is lost with an empty file
        present = digest_of(final)
        return None if present == incoming else present

    def put(self, temporary: Path, final: Path, sha256: str) -> None:  # noqa: ARG002 - of stores
        """Give a complete, synced file of the same folder its final name."""
        temporary.replace(final)
        # Where both are hard links to one file, a rename does nothing and leaves both.
        temporary.unlink(missing_ok=True)

    def second_name(self, source: Path, temporary: Path) -> None:
        """Give the same file one more name, by hard link where the disk can."""
        temporary.unlink(missing_ok=True)
        _second_name(source, temporary)

    def settle(self, final: Path) -> None:
        """Make the names in its folder durable."""
        sync_folder(final.parent)

    def back_up(self, final: Path) -> Path | None:
        """Give the file at `final` a second name beside it; None where there is none.

        The first name stays until the rename replaces it, so that no crash loses the file.
        """
        if not final.exists():
            return None
        digest = digest_of(final)
        marks = (digest[:8] if n == 1 else f"{digest[:8]}-{n}" for n in count(1))
        names = (final.with_name(f"{final.stem}.{mark}{final.suffix}") for mark in marks)
        # What was kept under the first of these names before may have been edited since.
        kept = next(name for name in names if not name.exists() or digest_of(name) == digest)
        _second_name(final, kept)
        # A damaged or edited file is not what the sidecar is about.
        if _record(sidecar_of(final)).get("sha256") == digest:
            _second_name(sidecar_of(final), sidecar_of(kept))
        return kept

    def write_sidecar(self, final: Path, record: dict[str, Any], temporary: Path) -> None:
        """Write the record of a file beside it, as `NAME.json`, atomically.

        `temporary`: that of the file; a name like it is used again after a crash, whatever the
        file is called by then.
        """
        target = sidecar_of(final)
        known = _record(target)
        if not is_record(known):
            self.back_up(target)
        half = temporary.with_suffix(".json.part")
        write_synced(half, sidecar_text(with_renditions(record, known)))
        half.replace(target)


def _record(path: Path) -> dict[str, Any]:
    try:
        # To open a pipe would wait for whoever writes into it.
        return record_in(path.read_bytes()) if path.is_file() else {}
    except OSError:
        return {}


#: What systems answer on disks without hard links: FAT and exFAT each in its own way.
_NO_LINKS = frozenset(
    {
        errno.EPERM,
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.EXDEV,
        errno.EMLINK,
        errno.ENOSYS,
        errno.EINVAL,
    }
)


def _second_name(source: Path, target: Path) -> None:
    """A hard link, or a synced copy on a disk without them."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LINKS:
            raise
        temporary = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
