"""Locations of files: a path on this machine, or the address of an object in a store.

An address has the pure part of what a path has, so that whoever only names files need not know
which of the two it is. Must not open, list or write anything. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

#: An address as people and ledgers write it: `s3://bucket/folder`.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:_-]*://")
#: What a bucket's name has not, and a server's may have; S3 is told its server elsewhere.
_S3, _NO_BUCKET = ("s3", "s3a"), re.compile(r"[:@\s]")


@dataclass(frozen=True, slots=True, order=True)
class ObjectAddress:
    """An object, or a folder of objects, in a store: `s3://bucket/folder/clip.mp4`."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, relative: str) -> ObjectAddress:
        return ObjectAddress(f"{self.url.rstrip('/')}/{relative}") if relative else self

    @property
    def scheme(self) -> str:
        """The part before `://`, such as `s3`."""
        return self.url.partition("://")[0].lower()

    @property
    def root(self) -> ObjectAddress:
        """The bucket, container or server."""
        scheme, _, rest = self.url.partition("://")
        return ObjectAddress(f"{scheme}://{rest.partition('/')[0]}")

    @property
    def parent(self) -> ObjectAddress:
        """The folder that it is in."""
        return ObjectAddress(self.url.rpartition("/")[0])

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The last suffix of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    def with_name(self, name: str) -> ObjectAddress:
        """Another object of the same folder."""
        return self.parent / name


Location: TypeAlias = Path | ObjectAddress
"""Where a file is, or is to be."""


def is_address(text: str) -> bool:
    """Whether a text is the address of an object and not a path."""
    return _ADDRESS.match(text) is not None


def address_of(text: str) -> ObjectAddress:
    """The address of a folder in a store, as a person wrote it.

    Raises:
        ValueError: it cannot be used, and why.
    """
    scheme, _, rest = text.partition("://")
    server, _, _ = rest.partition("/")
    user, at, _ = server.rpartition("@")
    if at and ":" in user:
        raise ValueError(
            "an address holds no password, because it is shown and recorded; give the store its "
            "own credentials (environment, profile, SSH agent)"
        )
    if scheme.lower() in ("http", "https", "file", "local", "ftp", "data"):
        what = (
            "a folder is written as a path"
            if scheme.lower() in ("file", "local")
            else ("files cannot be put there safely")
        )
        raise ValueError(f"`{scheme}://` is no store for outputs: {what}")
    if not server:
        raise ValueError(f"`{text}` names no bucket or server")
    if scheme.lower() == "memory":
        raise ValueError("what is in `memory://` is lost when this program ends")
    if scheme.lower() in _S3 and _NO_BUCKET.search(server) and not server.startswith("arn:"):
        raise ValueError(
            f"`{server}` is no bucket: the address begins with the bucket (`s3://BUCKET/FOLDER`), "
            "and that of the server goes into AWS_ENDPOINT_URL"
        )
    odd = len(scheme) == 1 or ":" in scheme or not rest.isprintable()
    if odd or any(mark in rest for mark in ("?", "#", "::")):
        raise ValueError(f"`{text}` is no plain address of a folder")
    return ObjectAddress(f"{scheme.lower()}://{rest.rstrip('/')}")
