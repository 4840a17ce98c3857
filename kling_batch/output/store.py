"""Output store: publishes finished files under their final names, atomically and durably.

Holds the order of writes: bytes synced (`download.py`) → a different file at the final name gets a
second name beside it, committed to the ledger by `superseded` → rename → sidecar synced and renamed
→ folder synced → artifact committed by the caller. So a final name never shows half a file, and a
crash or a power cut at any point loses no file. Must not download, and must not know fal or the
ledger.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import TypeAlias

from kling_batch.core.jobs import JSON
from kling_batch.errors import UsageError
from kling_batch.output.files import digest_of, relative_to, sync_folder, write_synced

Superseded: TypeAlias = Callable[[str, str, str], None]
"""Commits to the ledger that a file has a second name, before it is replaced under its first.

Arguments: both names as the ledger stores them, and the digest of the file.
"""


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
        """The prefix of the stored names of a batch's outputs: empty, or ending in a slash."""
        stored = self.stored(self._roots[batch])
        return "" if stored == "." else f"{stored}/"

    def stored(self, path: Path) -> str:
        """A path as the ledger stores it: relative to the ledger, with forward slashes."""
        return relative_to(path, self._base)

    def located(self, stored: str) -> Path:
        """The reverse of `stored`."""
        return Path(os.path.normpath(self._base / stored))

    def wanted(self, batch: str, relative: str) -> Path:
        """The final path of an output of a batch."""
        return self._roots[batch] / relative

    def prepare(self, batch: str, relative: str) -> Path:
        """The final path of an output, with its folder, checked to lie inside the root.

        Raises:
            UsageError: the folder leads out of the output folder (a symlink, `..`).
        """
        final = self.wanted(batch, relative)
        self.check_name(final)
        self._check_inside(batch, final)  # before a folder is made outside
        if not final.parent.is_dir():
            final.parent.mkdir(parents=True, exist_ok=True)
            self._check_inside(batch, final)
        return final

    def can_be_named(self, batch: str, relative: str) -> bool:
        """Whether this system's file names can hold the name of an output."""
        try:
            self.check_name(self.wanted(batch, relative))
        except UsageError:
            return False
        return True

    def check_name(self, path: Path) -> None:
        """Raise `UsageError` for a name that this system's file names cannot hold."""
        try:
            os.fsencode(path)
        except UnicodeEncodeError as error:
            encoding = sys.getfilesystemencoding()
            raise UsageError(
                f"{path}: `{error.object[error.start : error.end]}` cannot be part of a file name "
                f"here (encoding {encoding}); set PYTHONUTF8=1 or LC_ALL=C.UTF-8, or choose "
                "another id"
            ) from None

    def check_inside(self, batch: str, relative: str) -> None:
        """Raise `UsageError` where the folder of an output leads out of the output folder."""
        self._check_inside(batch, self.wanted(batch, relative))

    def _check_inside(self, batch: str, final: Path) -> None:
        # Strings: a path object for each part of each name is what 100,000 outputs would wait for.
        root = os.path.realpath(self._roots[batch])
        folder = os.path.realpath(final.parent)
        if folder != root and not folder.startswith(os.path.join(root, "")):  # noqa: PTH118
            raise UsageError(
                f"{final}: leads out of the output folder {root}; nothing written; remove the link "
                f"in it, or give the folder behind it as --output"
            )

    def temporary(self, final: Path, token: str, index: int) -> Path:
        """The temporary path of a download: hidden in the final folder, the same after a crash."""
        return final.parent / f".{token}-{index}.part"

    # -- publishing ----------------------------------------------------------------------------

    def publish(
        self,
        temporary: Path,
        final: Path,
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
        return self._put(temporary, final, record)

    def publish_copy(
        self,
        source: Path,
        final: Path,
        *,
        token: str,
        sha256: str,
        record: JSON,
        superseded: Superseded,
    ) -> str:
        """Publish the same artifact under one more name, by hard link where the disk can."""
        self._set_aside(final, sha256, superseded)
        temporary = self.temporary(final, token, 0)
        temporary.unlink(missing_ok=True)
        _second_name(source, temporary)
        return self._put(temporary, final, record)

    def _put(self, temporary: Path, final: Path, record: JSON | None) -> str:
        self._rename(temporary, final)
        if record is not None:
            self.write_sidecar(final, record, temporary)
        sync_folder(final.parent)
        return self.stored(final)

    def _set_aside(self, final: Path, incoming: str, superseded: Superseded) -> None:
        """Keep the file at `final` under a second name, unless it has the incoming content."""
        if not final.exists() or (final.is_file() and not final.stat().st_size):
            return  # nothing is lost with an empty file
        if (present := digest_of(final)) == incoming:
            return
        kept = self.back_up(final)
        if kept is not None:
            sync_folder(final.parent)  # the ledger is about to say that it has this name
            superseded(self.stored(final), self.stored(kept), present)

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
        if _digest_in(sidecar_of(final)) == digest:
            _second_name(sidecar_of(final), sidecar_of(kept))
        return kept

    def _rename(self, temporary: Path, final: Path) -> None:
        temporary.replace(final)
        # Where both are hard links to one file, a rename does nothing and leaves both.
        temporary.unlink(missing_ok=True)

    def write_sidecar(self, final: Path, record: JSON, temporary: Path) -> None:
        """Write the record of a file beside it, as `NAME.json`, atomically.

        `temporary`: that of the file; a name like it is used again after a crash, whatever the
        file is called by then.
        """
        target = sidecar_of(final)
        if target.exists() and not _is_sidecar(target):
            self.back_up(target)
        half = temporary.with_suffix(".json.part")
        half.unlink(missing_ok=True)
        if (before := _record(target)).get("sha256") == record.get("sha256"):
            record = {**record, _RENDITIONS: noted} if (noted := _noted(before)) else record
        _write_record(record, half, target)

    # -- renditions ----------------------------------------------------------------------------

    def publish_rendition(self, source: Path, target: Path) -> None:
        """Give a rendition one more name, by hard link where the disk can; it appears whole."""
        half = target.with_name(f".{target.name}.link.part")
        half.unlink(missing_ok=True)
        _second_name(source, half)
        self._rename(half, target)
        sync_folder(target.parent)

    def note_rendition(self, final: Path, sha256: str, name: str, record: JSON) -> None:
        """Add to the sidecar of a file what a rendition of it is; nothing where there is none."""
        target = sidecar_of(final)
        known = _record(target)
        if known.get("sha256") == sha256:
            known[_RENDITIONS] = {**_noted(known), name: record}
            _write_record(known, target.with_name(f".{target.name}.part"), target)

    def noted_rendition(self, final: Path, sha256: str, name: str) -> Mapping[str, JSON]:
        """What the sidecar of a file with this digest says of a rendition; empty: nothing."""
        known = _record(sidecar_of(final))
        noted = _noted(known).get(name) if known.get("sha256") == sha256 else None
        return noted if isinstance(noted, Mapping) else {}


#: Key of a sidecar under which renditions of its file are.
_RENDITIONS = "renditions"


def _noted(record: Mapping[str, JSON]) -> Mapping[str, JSON]:
    noted = record.get(_RENDITIONS)
    return noted if isinstance(noted, Mapping) else {}


def _write_record(record: JSON, half: Path, target: Path) -> None:
    text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
    write_synced(half, text.encode())
    half.replace(target)


def sidecar_of(final: Path) -> Path:
    """`clip.mp4` → `clip.mp4.json`."""
    return final.with_name(f"{final.name}.json")


def _is_sidecar(path: Path) -> bool:
    """Whether this program wrote the file; a person's own may have the same name."""
    return {"schema_version", "key"} <= _record(path).keys()


def _digest_in(sidecar: Path) -> JSON:
    """The digest of the file that a sidecar is about; None where it is none."""
    return _record(sidecar).get("sha256")


def _record(path: Path) -> dict[str, JSON]:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


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
