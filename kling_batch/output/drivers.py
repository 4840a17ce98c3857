"""Drivers of stores: file systems of fsspec, and what each kind of store needs to be told.

All that differs between S3, Google Cloud Storage, Azure, SFTP and others is here. Credentials are
the store's own: nothing here reads, passes on or shows any. Must not put or read objects.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, partial, wraps
from hashlib import file_digest, md5
from pathlib import Path
from threading import local
from typing import Any
from weakref import finalize

from kling_batch.core.locations import ObjectAddress
from kling_batch.output.filetype import content_type_of
from kling_batch.output.store_errors import EXTRAS, is_unknown, missing_driver, unusable_driver

#: Bytes of a part, and parts of a file that are sent at once: 8 files hold at most 256 MiB.
PART, PARALLEL_PARTS = 8 * 1024**2, 4
#: Seconds in which an SSH server has to answer; without an end, a run would wait for ever.
_ANSWER = 30.0

_S3, _GCS, _SFTP = ("s3", "s3a"), ("gs", "gcs"), ("sftp", "ssh")
_AZURE = ("az", "abfs", "abfss")
#: Stores in which a put is whole or not at all, and folders are only names.
_ATOMIC = (*_S3, *_GCS, *_AZURE, "adl", "memory")
#: Loggers of drivers: what is said there is raised, too, and would go through a run's display.
_LOGGERS = ("adlfs", "azure", "botocore", "fsspec", "gcsfs", "google", "paramiko", "s3fs")
#: Stores whose listings a driver would keep, though others change them.
_LISTED = (*_S3, *_GCS, *_AZURE)


def is_atomic(at: ObjectAddress) -> bool:
    """Whether a name in this store appears with its whole content, and needs no folder."""
    return at.scheme in _ATOMIC


def has_buckets(at: ObjectAddress) -> bool:
    """Whether the root is a bucket, which can be missing where a folder cannot."""
    return at.scheme in _LISTED


def file_system(at: ObjectAddress) -> Any:
    """The file system of a bucket or server.

    Raises:
        StoreError: its driver is not installed, or an address does not tell it enough.
    """
    root = at.root.url
    try:
        if at.scheme in _ATOMIC:
            return _shared(root)
        if root not in _connections.opened:
            _connections.opened[root] = _connected(root, at.scheme)
        return _connections.opened[root]
    except ImportError as error:
        raise missing_driver(at, error) from error
    except (TypeError, AttributeError, ValueError) as error:
        if at.scheme in EXTRAS or is_unknown(error):
            raise
        raise unusable_driver(at) from error


def path_of(at: ObjectAddress) -> str:
    """The name of an object inside its file system."""
    return str(file_system(at)._strip_protocol(at.url))  # noqa: SLF001 - fsspec's own interface


def give_up(at: ObjectAddress) -> None:
    """Connect anew the next time: after a failure, the connection may be dead."""
    _connections.opened.pop(at.root.url, None)


def make_folder(fs: Any, folder: str) -> None:
    """Make a folder of a server, which another thread may be making, too."""
    try:
        fs.makedirs(folder, exist_ok=True)
    except OSError:
        if not fs.isdir(folder):
            raise


def rename(fs: Any, source: str, target: str) -> None:
    """Give an object another name; one that is there is replaced.

    Drivers without a rename of their own have fsspec's, which takes names for patterns.
    """
    from fsspec import AbstractFileSystem  # noqa: PLC0415 - only where an output is in a store

    if type(fs).mv is not AbstractFileSystem.mv:
        fs.mv(source, target)
        return
    fs.cp_file(source, target)
    fs.rm_file(source)


def read_ahead(file: Any) -> None:
    """Ask for the whole of a file that is read in order; over SFTP each block waits otherwise.

    The thread that asks ends in silence when the connection does: who reads meets that, too.
    """
    if not hasattr(file, "prefetch"):
        return
    ask = file._prefetch_thread  # noqa: SLF001 - paramiko would print its traceback

    @wraps(ask)
    def asking(*blocks: Any) -> None:
        with suppress(Exception):
            ask(*blocks)

    file._prefetch_thread = asking  # noqa: SLF001
    file.prefetch()


def _opened(root: str, **options: Any) -> Any:
    from fsspec.core import url_to_fs  # noqa: PLC0415 - only where an output is in a store

    for name in _LOGGERS:
        logging.getLogger(name).addHandler(_SILENT)
    return url_to_fs(root, **options)[0]


_SILENT = logging.NullHandler()


@cache
def _shared(root: str) -> Any:
    """A file system that several threads can use."""
    return _opened(root, **({} if root.startswith("memory:") else {"use_listings_cache": False}))


class _Connections(local):
    """File systems of stores that are asked over one connection: each thread has its own.

    Two threads that read answers from the same connection would take each other's.
    """

    def __init__(self) -> None:
        self.opened: dict[str, Any] = {}


_connections = _Connections()


def _connected(root: str, scheme: str) -> Any:
    if scheme not in _SFTP:
        return _opened(root, skip_instance_cache=True)
    waits = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), _ANSWER)
    fs = _opened(root, skip_instance_cache=True, host_key_policy=_known_hosts(), **waits)
    fs.ftp.get_channel().settimeout(_ANSWER)
    # Its own thread would go on when the one that connected has ended.
    finalize(fs, fs.client.close).atexit = False
    return fs


def _known_hosts() -> Any:
    """The rule that refuses a server which the user's `ssh` would not know."""
    from paramiko import HostKeys, MissingHostKeyPolicy  # noqa: PLC0415 - an extra

    class KnownHosts(MissingHostKeyPolicy):  # type: ignore[misc]
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:  # noqa: ARG002
            known = HostKeys()
            for file in (Path.home() / ".ssh/known_hosts", Path("/etc/ssh/ssh_known_hosts")):
                with suppress(OSError):
                    known.load(str(file))
            if not known.check(hostname, key):
                raise PermissionError(f"{hostname} with this key is not in known_hosts")

    return KnownHosts()


# -- kinds and checksums -----------------------------------------------------------------------


def content_type(at: ObjectAddress) -> dict[str, Any]:
    """How this store is told what kind of file it is, so that browsers show it."""
    kind = content_type_of(at.name)
    if at.scheme in _S3:
        return {"ContentType": kind}
    if at.scheme in _AZURE:
        return {"content_settings": {"content_type": kind}}
    return {"content_type": kind} if at.scheme in _GCS else {}


def put_options(at: ObjectAddress, digest: str, checksum: str) -> dict[str, Any]:
    """Size of the parts, kind and digests, in the words of the driver."""
    record = {"sha256": digest, "sums": checksum}
    if at.scheme in _S3:
        parts = {"chunksize": PART, "max_concurrency": PARALLEL_PARTS}
        return {**parts, **content_type(at), "Metadata": record}
    return {**content_type(at), "metadata": record} if at.scheme in _GCS else content_type(at)


def record_of(fs: Any, at: ObjectAddress) -> Mapping[str, Any]:
    """What was recorded with the object when it was put."""
    path = path_of(at)
    if at.scheme in _S3:
        return fs.metadata(path) or {}
    return (fs.info(path).get("metadata") or {}) if at.scheme in _GCS else {}


def checksum(at: ObjectAddress, source: Path) -> str:
    """The checksum that a store makes of a file that is put; empty where none is known.

    Only the one that is to be compared: an MD5 is half of the work of a put. A copy that the store
    makes of an object in parts has another one, and is read to be compared.
    """
    if at.scheme not in (*_S3, *_GCS, *_AZURE):
        return ""
    with source.open("rb") as file:
        if at.scheme not in _S3 or source.stat().st_size < 2 * PART:  # what s3fs puts in one piece
            return file_digest(file, _md5).hexdigest()
        parts = [_md5(part).digest() for part in iter(partial(file.read, PART), b"")]
        return f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"


_md5 = partial(md5, usedforsecurity=False)


def sum_of(info: Mapping[str, Any]) -> str:
    """The store's own checksum of an object; `none` where it has none that is known.

    Never one that this program gave it: that would be no evidence of what arrived.
    """
    if etag := str(info.get("ETag", "")).strip('"'):
        return etag
    if kept := info.get("md5Hash"):
        return b64decode(str(kept)).hex()
    settings = info.get("content_settings") or {}  # Azure's, of what was put in one piece
    return bytes(settings.get("content_md5") or b"").hex() or "none"
