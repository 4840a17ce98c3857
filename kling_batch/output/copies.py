"""Copies of finished files into a folder of a person's: verified, whole, and never over another.

A copy appears under its name at once, with its sidecar; what lies there with other content stays.
Must not know verdicts or the ledger.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.output.files import describe_error, digest_of, sync_folder
from kling_batch.output.store import fetch, sidecar_of, store_for


class Copied(StrEnum):
    """What became of a file."""

    WRITTEN = "written"
    #: It was there already, with the same content.
    PRESENT = "already there"


class CopyError(Exception):
    """Why a file was not copied; nothing was changed."""


class ChangedError(CopyError):
    """The file is no longer what was saved."""


def copy_out(source: Location, target: Path, sha256: str, *, link: bool) -> Copied:
    """Copy a file with its sidecar, or give it a second name.

    Args:
        source: a file of the output folder, or an object of a store.
        target: the name that it gets; its folder is made.
        sha256: what the file must have.
        link: a hard link instead of a copy.

    Raises:
        CopyError: the source is missing or changed, or the target is something else.
    """
    try:
        if isinstance(source, ObjectAddress):
            return _fetched(source, target, sha256, link=link)
        _must_have(source, sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            return _present(target, sha256)
        _second(source, target, link=link)
        _copy_sidecar(source, target, link=link)
        sync_folder(target.parent)
    except OSError as error:
        if link and error.errno in _NO_LINKS:
            raise CopyError("this disk cannot link it to there; leave out --link") from error
        raise CopyError(describe_error(error)) from error
    return Copied.WRITTEN


def _fetched(source: ObjectAddress, target: Path, sha256: str, *, link: bool) -> Copied:
    """The object with its sidecar, checked here before they get their names."""
    if link:
        raise CopyError(f"{source} lies in a store, which cannot be linked; leave out --link")
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        return _present(target, sha256)
    store = store_for(source)
    with TemporaryDirectory(prefix=".kling-batch-", dir=target.parent) as folder:
        copy = Path(folder) / target.name
        try:
            fetch(source, copy, sha256)
        except FileNotFoundError:
            raise CopyError("its object is missing; the next run puts it there again") from None
        _second(copy, target, link=False)
        if store.size(sidecar_of(source)) is not None and not os.path.lexists(sidecar_of(target)):
            sidecar_of(copy).write_bytes(store.read(sidecar_of(source)))
            _copy_sidecar(copy, target, link=False)
    sync_folder(target.parent)
    return Copied.WRITTEN


#: What systems answer where a file cannot have a second name: another disk, or none with links.
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP})


def _must_have(source: Path, sha256: str) -> None:
    try:
        digest = digest_of(source)
    except FileNotFoundError:
        raise CopyError("its file is missing; the next run downloads it again") from None
    if digest != sha256:
        raise ChangedError("its file has changed since it was saved")


def _present(target: Path, sha256: str) -> Copied:
    """Raise where another thing has the name: a person's file is never replaced."""
    if not target.is_file() or digest_of(target) != sha256:
        raise CopyError(f"{target} is something else, which stays; move it, or say --name")
    return Copied.PRESENT


def _second(source: Path, target: Path, *, link: bool) -> None:
    """Give `target` the content, whole or not at all, and never over a file made meanwhile."""
    if link:
        target.hardlink_to(source)
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with source.open("rb") as content, temporary.open("xb") as copy:
            shutil.copyfileobj(content, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        try:
            target.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS or os.path.lexists(target):
                raise
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _copy_sidecar(source: Path, target: Path, *, link: bool) -> None:
    """The record beside it; a file without one is whole all the same."""
    if sidecar_of(source).is_file() and not os.path.lexists(sidecar_of(target)):
        with suppress(FileExistsError):
            _second(sidecar_of(source), sidecar_of(target), link=link)
