"""Operations on single files: digest, atomic replacement, folder sync, paths and error texts.

Must not know jobs, batches or fal.
"""

from __future__ import annotations

import errno
import os
from enum import Enum, auto
from hashlib import file_digest
from io import BufferedIOBase, FileIO
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import NamedTuple

#: Bytes left free on the disk: the ledger must still be able to record what happened.
SPARE = 64 * 1024**2


def replace_file(path: Path, text: str) -> None:
    """Write a text file atomically. Raises `OSError`."""
    target = behind_links(path) if path.is_symlink() else path
    if target.exists() and not target.is_file():
        # A device or a pipe is written to; a rename would replace it for everybody.
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


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file, or would, were they there."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there yet
        return behind_links(one) == behind_links(other)


def behind_links(path: Path) -> Path:
    """Where a path leads through links; as it is where they go in a circle."""
    return Path(os.path.realpath(path))


class Extent(Enum):
    """What else cannot be written where one file could not."""

    #: Nothing at all: the disk is full, broken or read-only.
    DISK = auto()
    #: The folder, and probably others: no permission.
    FOLDER = auto()
    #: Nothing else: a directory of the same name, a link that leads out.
    NAME = auto()


def extent_of(error: Exception) -> Extent:
    """What else cannot be written after this error."""
    match getattr(error, "errno", None):
        case errno.ENOSPC | errno.EDQUOT | errno.EROFS | errno.EIO:
            return Extent.DISK
        case errno.EACCES | errno.EPERM:
            return Extent.FOLDER
        case _:
            return Extent.NAME


def describe_error(error: Exception) -> str:
    """The text of an error for a person, with the file where the system names one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path leads into a folder, through links too; not where they go in a circle."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (RuntimeError, OSError):  # a circle, or a name that no system has
        return False


def relative_to(path: Path, folder: Path | str) -> str:
    """A path seen from a folder, with forward slashes; absolute where it is on another drive."""
    text, start = str(path), os.path.join(folder, "")  # noqa: PTH118 - ends in the separator
    if text.startswith(start) and os.pardir not in text:
        return text[len(start) :].replace(os.sep, "/")
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # Windows has no way from one drive to another
        return path.absolute().as_posix()


def is_below(folder: str, root: str) -> bool:
    """Whether a folder is the root or below it, as its text says, with no link on the way."""
    while folder != root:
        parent, name = os.path.split(folder)
        if name in ("", os.pardir) or _is_link(folder):
            return False
        folder = parent
    return True


def _is_link(path: str) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False  # nothing is there
    # Windows has junctions, too.
    return S_ISLNK(status.st_mode) or bool(getattr(status, "st_reparse_tag", 0))


class FileState(NamedTuple):
    """What the system says of a file; another one may be another content, the same is the same."""

    inode: int
    size: int
    modified: int
    #: No program can set it back, as it can the time of the last change of the content.
    changed: int


def state_of(path: Path) -> FileState | None:
    """The state of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def has_content(path: Path, state: FileState | None, sha256: str) -> bool:
    """Whether a file that had this content in this state has it still; read only if in doubt.

    Raises `OSError`.
    """
    now = state_of(path)
    if now is None or state is None:
        return False
    return now == state or digest_of(path) == sha256


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal.

    `manifest/inputs.py`, a sibling package, calls `hashlib.file_digest` itself.
    """
    mode = path.stat().st_mode
    if not (S_ISREG(mode) or S_ISDIR(mode)):
        # To open a pipe would wait for whoever writes into it.
        raise OSError(errno.EINVAL, "is no file, but a pipe or a device", str(path))
    with path.open("rb") as file:
        return digest_of_open(file)


def digest_of_open(file: BufferedIOBase) -> str:
    """The same of an open file, from its first byte whatever the position."""
    file.seek(0)
    return file_digest(file, "sha256").hexdigest()


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file, in place of what has the name, and make its content durable."""
    try:
        new = path.open("xb", buffering=0)
    except FileExistsError:
        path.unlink()  # it may be a link, which must not be written through
        new = path.open("xb", buffering=0)
    with new as file:
        write_all(file, data)
        os.fsync(file.fileno())


def write_all(file: FileIO, data: bytes | memoryview) -> None:
    """Write all of it to a file without a buffer, of which the system may take a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


#: What network and foreign file systems answer who cannot sync a folder.
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS})


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can sync folders."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows cannot open folders; its renames are journalled
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)
