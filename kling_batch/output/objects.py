"""Objects in a store: S3, Google Cloud Storage, Azure, SFTP, memory.

The second implementation of `FileStore`. What was put is compared with what the store has, by size
and checksum. What differs between kinds of stores is in `drivers.py`. Names are exact: what takes
several of them in fsspec (`cat`, `copy`, `get`, `mv`, `put`, `rm`) takes `*`, `?` and `[` for
patterns, and is not used. Must not delete, must not download renders, and must not know fal or the
ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from kling_batch.core.locations import ObjectAddress
from kling_batch.output import drivers
from kling_batch.output.drivers import file_system, path_of
from kling_batch.output.file_store import (
    is_record,
    record_in,
    sidecar_of,
    sidecar_text,
    with_renditions,
)
from kling_batch.output.files import digest_of
from kling_batch.output.store_errors import StoreError, store_error

#: Bytes read at once where an object is read back.
_BLOCK = 1024**2
#: What drivers raise where the content of an object is not that of the store's own checksum.
_CHECKSUM_ERRORS = ("FlexibleChecksumError", "ChecksumError", "DataCorruption")
#: Small objects that are read at once.
_AT_ONCE = 256


class ObjectStore:
    """The objects of every store whose address is given."""

    def size(self, at: ObjectAddress) -> int | None:
        """The size of an object; None where there is none."""
        with _in_words(at):
            found = _info(at)
            return None if found is None else int(found["size"])

    def digest(self, at: ObjectAddress) -> str:
        """The SHA-256 of its content.

        As it was recorded with the object, where the store's own checksum of what it has is that of
        what was put; else by reading all of it.
        """
        with _in_words(at):
            fs, path = file_system(at), path_of(at)
            return _recorded(fs, at, path) or _read_back(fs, path)

    def read(self, at: ObjectAddress) -> bytes:
        """Its content."""
        with _in_words(at, missing=True):
            return bytes(file_system(at).cat_file(path_of(at)))

    def listed(self, folder: ObjectAddress) -> dict[str, int | None]:
        """The names in a folder with their sizes; empty where the folder is."""
        with _in_words(folder):
            fs = file_system(folder)
            try:
                found = fs.ls(path_of(folder), detail=True)
            except FileNotFoundError:
                if drivers.has_buckets(folder):
                    fs.info(path_of(folder.root))  # no bucket is something else than an empty one
                return {}
            return {
                str(entry["name"]).rpartition("/")[2]: int(entry["size"])
                for entry in found
                if entry["type"] == "file"
            }

    def fetch(self, at: ObjectAddress, target: Path) -> None:
        """Copy an object into a local file."""
        with _in_words(at, missing=True):
            file_system(at).get_file(path_of(at), str(target))

    def signed(self, at: ObjectAddress, seconds: int) -> str | None:
        """An address for browsers that ends after so long; None where the store has none."""
        with _in_words(at):
            try:
                return str(file_system(at).sign(path_of(at), expiration=seconds))
            except (NotImplementedError, AttributeError, ValueError):
                # The store has none; or Google, Azure: these credentials have no key to sign with.
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
            return drivers.record_of(file_system(at), at).get("sha256") == incoming

    def put(self, temporary: Path, final: ObjectAddress, sha256: str) -> None:
        """Upload a complete local file, and compare what the store has then; the file stays.

        Raises:
            StoreError: the store does not have it, or something else.
        """
        size, checksum = temporary.stat().st_size, drivers.checksum(final, temporary)
        with _in_words(final):
            fs, path = file_system(final), path_of(final)
            before = _info(final)
            if before and before["size"] == size and _has(final, before, checksum, sha256):
                return  # an earlier run ended after it
            arrived = final
            if not drivers.is_atomic(final):
                arrived = _hidden(final)
                drivers.make_folder(fs, path_of(final.parent))
            options = drivers.put_options(final, sha256, checksum)
            fs.put_file(str(temporary), path_of(arrived), **options)
            found = fs.info(path_of(arrived))
            if found["size"] != size:
                raise StoreError(
                    f"the store has {found['size']} of {size} bytes", final, passing=True
                )
            if not _has(arrived, found, checksum, sha256):
                message = "the store has other content than it was given"
                raise StoreError(message, final, passing=True)
            if arrived != final:
                drivers.rename(fs, path_of(arrived), path)

    def copy(self, source: ObjectAddress, final: ObjectAddress) -> bool:
        """Let the store itself copy an object; False: it is another store's."""
        if source.root != final.root:
            return False
        self._copy(source, final)
        return True

    def _copy(self, source: ObjectAddress, target: ObjectAddress) -> None:
        with _in_words(target):
            fs = file_system(source)
            if not drivers.is_atomic(target):
                drivers.make_folder(fs, path_of(target.parent))
            try:
                fs.cp_file(path_of(source), path_of(target))
            except NotImplementedError:
                _copied_through(fs, path_of(source), target)
            wanted, there = fs.info(path_of(source))["size"], fs.info(path_of(target))["size"]
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
            fs = file_system(at)
            if drivers.is_atomic(at):
                fs.pipe_file(path_of(at), data, **drivers.content_type(at))
            else:
                drivers.make_folder(fs, path_of(at.parent))
                fs.pipe_file(path_of(_hidden(at)), data)
                drivers.rename(fs, path_of(_hidden(at)), path_of(at))

    def _record(self, sidecar: ObjectAddress) -> dict[str, Any]:
        try:
            return record_in(self.read(sidecar))
        except FileNotFoundError:
            return {}

    def settle(self, final: ObjectAddress) -> None:
        """Nothing: a store answers when it has what it was given."""


# -- steps -------------------------------------------------------------------------------------


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
        drivers.give_up(at)
        raise store_error(error, at) from error


def _recorded(fs: Any, at: ObjectAddress, path: str) -> str:
    """The digest that was recorded when the object was put; empty where it has changed since."""
    known = drivers.record_of(fs, at)
    if not known:
        return ""
    unchanged = drivers.sum_of(fs.info(path)) in str(known.get("sums", "")).split()
    return str(known.get("sha256", "")) if unchanged else ""


def _read_back(fs: Any, path: str) -> str:
    """The digest of what the store has; empty where it is not what the store was given."""
    found = sha256()
    try:
        with fs.open(path, "rb", block_size=8 * _BLOCK, cache_type="none") as file:
            drivers.read_ahead(file)
            while block := file.read(8 * _BLOCK):
                found.update(block)
    except Exception as error:
        if type(error).__name__ in _CHECKSUM_ERRORS:
            return ""
        raise
    return found.hexdigest()


def _copied_through(fs: Any, source: str, target: ObjectAddress) -> None:
    """Copy what the store cannot copy itself, by way of this machine."""
    hidden = path_of(_hidden(target))
    with fs.open(source, "rb") as content, fs.open(hidden, "wb") as copy:
        drivers.read_ahead(content)
        while block := content.read(_BLOCK):
            copy.write(block)
    drivers.rename(fs, hidden, path_of(target))


def _info(at: ObjectAddress) -> Mapping[str, Any] | None:
    """What the store says of an object; None where there is none."""
    try:
        found: Mapping[str, Any] = file_system(at).info(path_of(at))
    except FileNotFoundError:
        return None
    return found if found["type"] == "file" else None


def _has(at: ObjectAddress, info: Mapping[str, Any], checksum: str, digest: str) -> bool:
    """Whether the store has this content, by its own checksum of it, else by its bytes.

    Of what is encrypted with a customer's key, and in stores without checksums, the bytes tell.
    """
    return drivers.sum_of(info) == checksum or _read_back(file_system(at), path_of(at)) == digest


def small_objects(
    folder: ObjectAddress, names: Iterable[str], most: int
) -> Iterator[tuple[str, bytes]]:
    """The objects of a folder with their content, many at a time; larger ones are left out."""
    sizes = ObjectStore().listed(folder)
    wanted = [name for name in names if (sizes.get(name) or 0) <= most]
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        paths = [path_of(folder / name) for name in some]
        with _in_words(folder):
            found = file_system(folder).cat_ranges(paths, None, None, on_error="return")
        for name, data in zip(some, found, strict=True):
            if isinstance(data, bytes):
                yield name, data
            elif not isinstance(data, FileNotFoundError):
                raise store_error(data, folder / name)


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
