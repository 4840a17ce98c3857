"""Giving finished files their names: atomic, durable, never over somebody else's file.

Order: bytes synced (download.py) → what lies there is linked aside → rename → folder synced →
sidecar → the ledger's commit by the caller. A final name therefore never shows half a file, and a
crash at any line leaves both files. Must not download or know fal.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from kling_batch.core.jobs import JSON
from kling_batch.errors import UsageError
from kling_batch.output.files import digest_of, sync_folder


class OutputStore:
    """The output folders of a run, and the names in them as the ledger stores them.

    Args:
        roots: the output folder of each batch.
        base: the folder that the ledger's paths are relative to.
    """

    def __init__(self, roots: Mapping[str, Path], base: Path) -> None:
        """Nothing is created yet."""
        self._roots = roots
        self._base = base

    def prefix(self, batch: str) -> str:
        """What stored names of a batch's outputs begin with: empty, or with a slash at its end."""
        stored = self.stored(self._roots[batch])
        return "" if stored == "." else f"{stored}/"

    def stored(self, path: Path) -> str:
        """A path as the ledger has it: relative to the ledger, forward slashes."""
        return Path(os.path.relpath(path, self._base)).as_posix()

    def located(self, stored: str) -> Path:
        """The reverse of `stored`."""
        return Path(os.path.normpath(self._base / stored))

    def wanted(self, batch: str, relative: str) -> Path:
        """Where an output of a batch belongs."""
        return self._roots[batch] / relative

    def prepare(self, batch: str, relative: str) -> Path:
        """The final path of an output, its folder made, proved to lie inside the root.

        Raises:
            UsageError: the folder leads out of the output folder (a symlink, `..`).
        """
        final = self.wanted(batch, relative)
        self._inside(batch, final)  # before a folder is made where none belongs
        final.parent.mkdir(parents=True, exist_ok=True)
        self._inside(batch, final)
        return final

    def _inside(self, batch: str, final: Path) -> None:
        root = self._roots[batch].resolve()
        if not final.parent.resolve().is_relative_to(root):
            raise UsageError(f"{final}: leads out of the output folder {root}; nothing written")

    def temporary(self, final: Path, token: str, index: int) -> Path:
        """Where a download grows: in the final folder, hidden, the same after a crash."""
        return final.parent / f".{token}-{index}.part"

    def back_up(self, final: Path) -> Path | None:
        """Give what lies at `final` a second name beside it; None where nothing does.

        The first name stays until the rename replaces it, so that no crash loses the file.
        """
        if not final.exists():
            return None
        digest = digest_of(final)
        marks = (digest[:8] if n == 1 else f"{digest[:8]}-{n}" for n in count(1))
        names = (final.with_name(f"{final.stem}.{mark}{final.suffix}") for mark in marks)
        # Somebody may have changed what was kept under the first of these names before.
        kept = next(name for name in names if not name.exists() or digest_of(name) == digest)
        _second_name(final, kept)
        if sidecar_of(final).is_file():
            _second_name(sidecar_of(final), sidecar_of(kept))
        return kept

    def shelve(self, temporary: Path, final: Path) -> None:
        """Rename a synced temporary file over `final` and sync the folder."""
        temporary.replace(final)
        # Where both are names of one file already, a rename does nothing and leaves them both.
        temporary.unlink(missing_ok=True)
        sync_folder(final.parent)

    def copy(self, source: Path, final: Path, token: str) -> None:
        """The same artifact under one more name, by link where the disk can."""
        temporary = self.temporary(final, token, 0)
        temporary.unlink(missing_ok=True)
        _second_name(source, temporary)
        self.shelve(temporary, final)

    def write_sidecar(self, final: Path, record: JSON) -> None:
        """The story of a file beside it, as `NAME.json`, replaced atomically."""
        target = sidecar_of(final)
        if target.exists() and not _is_sidecar(target):
            self.back_up(target)
        temporary = target.with_name(f".{target.name}.part")
        temporary.unlink(missing_ok=True)
        text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)


def sidecar_of(final: Path) -> Path:
    """`clip.mp4` → `clip.mp4.json`."""
    return final.with_name(f"{final.name}.json")


def _is_sidecar(path: Path) -> bool:
    """Whether this program wrote it, or somebody else has a file of that name."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and {"schema_version", "key"} <= record.keys()


def _second_name(source: Path, target: Path) -> None:
    """A hard link, or a synced copy on a disk without them."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (
            errno.EPERM,
            errno.EOPNOTSUPP,
            errno.EXDEV,
            errno.EMLINK,
            errno.ENOSYS,
        ):
            raise
        temporary = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
