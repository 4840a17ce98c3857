"""Single files: digests, atomic replacement, folder sync, paths and errors in words.

Must not know jobs, batches or fal.
"""

from __future__ import annotations

import errno
import os
from enum import Enum, auto
from hashlib import sha256
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Put a text under a name, whole or not at all. Raises `OSError`."""
    target = path.resolve() if path.is_symlink() else path
    if target.exists() and not target.is_file():
        # A device or a pipe is written to; renaming over it would take it away from everybody.
        target.write_text(text, encoding="utf-8")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Extent(Enum):
    """How far a refusal of the disk reaches."""

    #: Nothing at all can be put down any more.
    DISK = auto()
    #: A folder that may not be written to is seldom alone.
    FOLDER = auto()
    #: This name alone: a directory of the same name, a link that leads out.
    NAME = auto()


def extent_of(error: Exception) -> Extent:
    """What else cannot be put down where this could not."""
    match getattr(error, "errno", None):
        case errno.ENOSPC | errno.EDQUOT | errno.EROFS | errno.EIO:
            return Extent.DISK
        case errno.EACCES | errno.EPERM:
            return Extent.FOLDER
        case _:
            return Extent.NAME


def words_of(error: Exception) -> str:
    """What the disk says, for a person."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def shown(path: Path) -> str:
    """A path as a person in the working folder would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1024 * 1024):
            digest.update(block)
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can sync folders."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows cannot open folders; its renames are journalled
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
