"""Objects in a store, by fsspec: S3, Google Cloud Storage, Azure, SFTP, memory.

The second implementation of `FileStore`. What was put is compared with what the store has, by size
and checksum. Credentials are the store's own: nothing here reads, passes on or shows any. Must not
delete, must not download renders, and must not know fal or the ledger.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import md5, sha256
from itertools import count
from pathlib import Path
from typing import Any

from kling_batch.core.locations import ObjectAddress
from kling_batch.output.file_store import (
    is_record,
    record_in,
    sidecar_of,
    sidecar_text,
    with_renditions,
)
from kling_batch.output.files import digest_of
from kling_batch.output.filetype import content_type_of
from kling_batch.output.store_errors import StoreError, missing_driver, store_error

#: Bytes of a part, and parts of a file that are sent at once: 8 files hold at most 256 MiB.
PART, PARALLEL_PARTS = 8 * 1024**2, 4
#: Bytes read at once where an object is read back.
_BLOCK = 1024**2
#: What drivers raise where the content of an object is not that of the store's own checksum.
_CHECKSUM_ERRORS = ("FlexibleChecksumError", "ChecksumError", "DataCorruption")
#: Small objects that are read at once.
_AT_ONCE = 256

_S3, _GCS = ("s3", "s3a"), ("gs", "gcs")
#: Stores in which a put is whole or not at all, and folders are only names.
_ATOMIC = (*_S3, *_GCS, "az", "abfs", "abfss", "adl", "memory")
#: Stores whose listings a driver would keep, though others change them.
_LISTED = (*_S3, *_GCS, "az", "abfs", "abfss")


class ObjectStore:
    """The objects of every store whose address is given."""

    def size(self, at: ObjectAddress) -> int | None:
        """The size of an object; None where there is none."""
        with _in_words(at):
            try:
                info = _file_system(at).info(_path(at))
            except FileNotFoundError:
                return None
            return int(info["size"]) if info["type"] == "file" else None

    def digest(self, at: ObjectAddress) -> str:
        """The SHA-256 of its content.

        As it was recorded with the object, where the store's own checksum of what it has is that of
        what was put; else by reading all of it.
        """
        with _in_words(at):
            fs, path = _file_system(at), _path(at)
            return _recorded(fs, at, path) or _read_back(fs, path)

    def read(self, at: ObjectAddress) -> bytes:
        """Its content."""
        with _in_words(at, missing=True):
            return bytes(_file_system(at).cat_file(_path(at)))

    def listed(self, folder: ObjectAddress) -> dict[str, int | None]:
        """The names in a folder with their sizes; empty where the folder is."""
        with _in_words(folder):
            fs = _file_system(folder)
            try:
                found = fs.ls(_path(folder), detail=True)
            except FileNotFoundError:
                if folder.scheme in _LISTED:
                    fs.info(_path(folder.root))  # no bucket is something else than an empty one
                return {}
            return {
                str(entry["name"]).rpartition("/")[2]: int(entry["size"])
                for entry in found
                if entry["type"] == "file"
            }

    def fetch(self, at: ObjectAddress, target: Path) -> None:
        """Copy an object into a local file."""
        with _in_words(at, missing=True):
            _file_system(at).get_file(_path(at), str(target))

    def signed(self, at: ObjectAddress, seconds: int) -> str | None:
        """An address for browsers that ends after so long; None where the store has none."""
        with _in_words(at):
            try:
                return str(_file_system(at).sign(_path(at), expiration=seconds))
            except NotImplementedError:
                return None

    # -- publishing ----------------------------------------------------------------------------

    def differing(self, final: ObjectAddress, incoming: str) -> str | None:
        """The digest of an object at `final` that has other content."""
        if not self.size(final):
            return None  # nothing is lost with an empty object
        present = self.digest(final)
        return None if present == incoming or self._damaged(final, incoming) else present

    def _damaged(self, at: ObjectAddress, incoming: str) -> bool:
        """Whether it was put here as this content and arrived as something else: nobody's file."""
        with _in_words(at):
            return _record_of(_file_system(at), at, _path(at)).get("sha256") == incoming

    def put(self, temporary: Path, final: ObjectAddress, sha256: str) -> None:
        """Upload a complete local file, and compare what the store has then; the file stays.

        Raises:
            StoreError: the store does not have it, or something else.
        """
        size = temporary.stat().st_size
        sums = _sums(temporary)
        there = self.size(final) == size
        with _in_words(final):
            fs, path = _file_system(final), _path(final)
            if there and _has(fs, final, sums, sha256):
                return  # an earlier run ended after it
            arrived = final
            if final.scheme not in _ATOMIC:
                arrived = _hidden(final)
                fs.makedirs(_path(final.parent), exist_ok=True)
            fs.put_file(str(temporary), _path(arrived), **_put_options(final, sha256, sums))
            found = fs.info(_path(arrived))["size"]
            if found != size:
                raise StoreError(f"the store has {found} of {size} bytes", final, passing=True)
            if not _has(fs, arrived, sums, sha256):
                message = "the store has other content than it was given"
                raise StoreError(message, final, passing=True)
            if arrived != final:
                fs.mv(_path(arrived), path)

    def copy(self, source: ObjectAddress, final: ObjectAddress) -> bool:
        """Let the store itself copy an object; False: it is another store's."""
        if source.root != final.root:
            return False
        self._copy(source, final)
        return True

    def _copy(self, source: ObjectAddress, target: ObjectAddress) -> None:
        with _in_words(target):
            fs = _file_system(source)
            if target.scheme not in _ATOMIC:
                fs.makedirs(_path(target.parent), exist_ok=True)
            try:
                fs.cp_file(_path(source), _path(target))
            except NotImplementedError:
                _copied_through(fs, _path(source), target)
            wanted, there = fs.info(_path(source))["size"], fs.info(_path(target))["size"]
            if wanted != there:
                raise StoreError(f"{there} of {wanted} bytes were copied", target, passing=True)

    def back_up(self, final: ObjectAddress) -> ObjectAddress | None:
        """Copy the object at `final` to a second name beside it; None where there is none."""
        if self.size(final) is None:
            return None
        digest = self.digest(final)
        digest = digest or "unreadable"
        marks = (digest[:8] if n == 1 else f"{digest[:8]}-{n}" for n in count(1))
        names = (final.with_name(f"{final.stem}.{mark}{final.suffix}") for mark in marks)
        kept = next(n for n in names if self.size(n) is None or self.digest(n) == digest)
        self._copy(final, kept)
        # A changed object is not what the sidecar is about.
        if self._record(sidecar_of(final)).get("sha256") == digest:
            self._copy(sidecar_of(final), sidecar_of(kept))
        return kept

    def write_sidecar(self, final: ObjectAddress, record: dict[str, Any], temporary: Path) -> None:  # noqa: ARG002 - of the folder
        """Put the record of an object beside it; a person's own object of that name is kept."""
        target = sidecar_of(final)
        known = self._record(target)
        if not is_record(known):
            self.back_up(target)
        self.write(target, sidecar_text(with_renditions(record, known)))

    def write(self, at: ObjectAddress, data: bytes) -> None:
        """Put a small object, whole or not at all."""
        with _in_words(at):
            fs = _file_system(at)
            if at.scheme in _ATOMIC:
                fs.pipe_file(_path(at), data, **_content_type(at))
            else:
                fs.makedirs(_path(at.parent), exist_ok=True)
                fs.pipe_file(_path(_hidden(at)), data)
                fs.mv(_path(_hidden(at)), _path(at))

    def _record(self, sidecar: ObjectAddress) -> dict[str, Any]:
        try:
            return record_in(self.read(sidecar))
        except FileNotFoundError:
            return {}

    def settle(self, final: ObjectAddress) -> None:
        """Nothing: a store answers when it has what it was given."""


# -- drivers -----------------------------------------------------------------------------------


@cache
def _opened(scheme: str, root: str) -> Any:
    """The file system of a bucket or server; opened once, and used by several threads."""
    from fsspec.core import url_to_fs  # noqa: PLC0415 - only where an output is in a store

    options = {"use_listings_cache": False} if scheme in _LISTED else {}
    return url_to_fs(root, **options)[0]


def _file_system(at: ObjectAddress) -> Any:
    try:
        return _opened(at.scheme, at.root.url)
    except ImportError as error:
        raise missing_driver(at, error) from error


def _path(at: ObjectAddress) -> str:
    """The name of an object inside its file system."""
    return str(_file_system(at)._strip_protocol(at.url))  # noqa: SLF001 - fsspec's own interface


def _hidden(at: ObjectAddress) -> ObjectAddress:
    """The name of what is still being written, in stores where a name appears at once."""
    return at.with_name(f".{at.name}.part")


@contextmanager
def _in_words(at: ObjectAddress, *, missing: bool = False) -> Iterator[None]:
    """Raise what a driver raises as a `StoreError`; `missing`: a missing object as it is."""
    try:
        yield
    except StoreError:
        raise
    except FileNotFoundError as error:
        if missing:
            raise
        raise store_error(error, at) from error
    except Exception as error:
        raise store_error(error, at) from error


def _content_type(at: ObjectAddress) -> dict[str, Any]:
    """How this store is told what kind of file it is, so that browsers show it."""
    kind = content_type_of(at.name)
    if at.scheme in _S3:
        return {"ContentType": kind}
    return {"content_type": kind} if at.scheme in _GCS else {}


def _put_options(at: ObjectAddress, digest: str, sums: tuple[str, ...]) -> dict[str, Any]:
    """Size of the parts, kind and digests, in the words of the driver."""
    record = {"sha256": digest, "sums": " ".join(sums)}
    if at.scheme in _S3:
        parts = {"chunksize": PART, "max_concurrency": PARALLEL_PARTS}
        return {**parts, **_content_type(at), "Metadata": record}
    return {**_content_type(at), "metadata": record} if at.scheme in _GCS else {}


def _recorded(fs: Any, at: ObjectAddress, path: str) -> str:
    """The digest that was recorded when the object was put; empty where it has changed since."""
    known = _record_of(fs, at, path)
    if not known:
        return ""
    unchanged = _sum_of(fs.info(path)) in str(known.get("sums", "")).split()
    return str(known.get("sha256", "")) if unchanged else ""


def _record_of(fs: Any, at: ObjectAddress, path: str) -> Mapping[str, Any]:
    """What was recorded with the object when it was put."""
    if at.scheme in _S3:
        return fs.metadata(path) or {}
    return (fs.info(path).get("metadata") or {}) if at.scheme in _GCS else {}


def _sum_of(info: Mapping[str, Any]) -> str:
    """The store's own checksum of an object; `none` where it has none that is known."""
    if etag := str(info.get("ETag", "")).strip('"'):
        return etag
    if kept := info.get("md5Hash"):
        return b64decode(str(kept)).hex()
    return "none"


def _read_back(fs: Any, path: str) -> str:
    """The digest of what the store has; empty where it is not what the store was given."""
    found = sha256()
    try:
        with fs.open(path, "rb", block_size=8 * _BLOCK, cache_type="none") as file:
            while block := file.read(8 * _BLOCK):
                found.update(block)
    except Exception as error:
        if type(error).__name__ in _CHECKSUM_ERRORS:
            return ""
        raise
    return found.hexdigest()


def _copied_through(fs: Any, source: str, target: ObjectAddress) -> None:
    """Copy what the store cannot copy itself, by way of this machine."""
    hidden = _path(_hidden(target))
    with fs.open(source, "rb") as content, fs.open(hidden, "wb") as copy:
        while block := content.read(_BLOCK):
            copy.write(block)
    fs.mv(hidden, _path(target))


def _has(fs: Any, at: ObjectAddress, sums: tuple[str, ...], digest: str) -> bool:
    """Whether the store has this content, by its own checksum of it, else by its bytes.

    Of what is encrypted with a customer's key, and in stores without checksums, the bytes tell.
    """
    path = _path(at)
    return _sum_of(fs.info(path)) in sums or _read_back(fs, path) == digest


def _sums(source: Path) -> tuple[str, ...]:
    """The checksums that stores have of a file: of a put in one piece, and in parts."""
    whole, parts = md5(usedforsecurity=False), md5(usedforsecurity=False)
    number = 0
    with source.open("rb") as file:
        while block := file.read(PART):
            whole.update(block)
            parts.update(md5(block, usedforsecurity=False).digest())
            number += 1
    return whole.hexdigest(), f"{parts.hexdigest()}-{number}"


def small_objects(
    folder: ObjectAddress, names: Iterable[str], most: int
) -> Iterator[tuple[str, bytes]]:
    """The objects of a folder with their content, many at a time; larger ones are left out."""
    sizes = ObjectStore().listed(folder)
    wanted = [name for name in names if (sizes.get(name) or 0) <= most]
    for start in range(0, len(wanted), _AT_ONCE):
        paths = {_path(folder / name): name for name in wanted[start : start + _AT_ONCE]}
        with _in_words(folder):
            found = _file_system(folder).cat(list(paths), on_error="return")
        for path, data in found.items():
            if isinstance(data, bytes):
                yield paths[path], data
            elif not isinstance(data, FileNotFoundError):
                raise store_error(data, folder / paths[path])


def local_copy(at: ObjectAddress, target: Path, sha256: str | None) -> None:
    """Fetch an object into a local file, and check its content.

    Raises:
        StoreError: it has changed, or cannot be read.
        FileNotFoundError: there is none.
    """
    ObjectStore().fetch(at, target)
    if sha256 is not None and digest_of(target) != sha256:
        target.unlink()
        raise StoreError("its content has changed since it was saved", at)
