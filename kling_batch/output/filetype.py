"""File type by its first bytes, and truncation by its format's structure; reads open files only.

A truncated clip of the right length, or an HTML page named PNG, must not pass for a paid result.
Must not decode media.
"""

from __future__ import annotations

import os
import struct
from io import FileIO
from mimetypes import guess_type
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple


class Kind(NamedTuple):
    """A recognised format."""

    ext: str
    content_type: str


class FileBytes:
    """Bytes of an open file by their position; the first 4 KB, which show most, are read once."""

    def __init__(self, file: BinaryIO | FileIO) -> None:
        """Reads the head, wherever the file stands."""
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self.head = file.read(_HEAD)

    def at(self, position: int, count: int) -> bytes:
        """So many bytes from a position on; fewer where the file ends before."""
        if position + count <= len(self.head):
            return self.head[position : position + count]
        self._file.seek(position)
        return self._file.read(count)


_HEAD = 4096

_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", Kind(".png", "image/png")),
    (0, b"\xff\xd8\xff", Kind(".jpg", "image/jpeg")),
    (0, b"GIF8", Kind(".gif", "image/gif")),
    (8, b"WEBP", Kind(".webp", "image/webp")),
    (4, b"ftypavif", Kind(".avif", "image/avif")),
    (4, b"ftypqt", Kind(".mov", "video/quicktime")),
    (4, b"ftypM4A", Kind(".m4a", "audio/mp4")),
    (4, b"ftyp", Kind(".mp4", "video/mp4")),
    (0, b"\x1aE\xdf\xa3", Kind(".webm", "video/webm")),
    (8, b"WAVE", Kind(".wav", "audio/wav")),
    (0, b"ID3", Kind(".mp3", "audio/mpeg")),
    *((0, b"\xff" + head, Kind(".mp3", "audio/mpeg")) for head in (b"\xfb", b"\xf3", b"\xf2")),
    (0, b"OggS", Kind(".ogg", "audio/ogg")),
    (0, b"glTF", Kind(".glb", "model/gltf-binary")),
    (0, b"%PDF", Kind(".pdf", "application/pdf")),
    (0, b"PK\x03\x04", Kind(".zip", "application/zip")),
)


def sniff(head: bytes) -> Kind | None:
    """The format that the first bytes show, or None."""
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    return None


def content_type_of(name: str) -> str:
    """The content type that a file name's ending says."""
    ending = PurePosixPath(name).suffix.lower()
    return _UNLISTED.get(ending) or guess_type(name)[0] or "application/octet-stream"


#: Endings that Python 3.11 does not know everywhere.
_UNLISTED = {".webp": "image/webp", ".avif": "image/avif", ".webm": "video/webm"}


def looks_like_page(head: bytes) -> bool:
    """Whether this is an error page or error document instead of a file."""
    start = head.lstrip()[:64].lower()
    return start.startswith((b"<!doctype", b"<html", b"<?xml", b'{"detail"', b'{"error"'))


def whole(content: FileBytes, kind: Kind) -> bool:
    """Whether the file is complete by its format's structure; True where that is unknown."""
    match kind.ext:
        case ".png":
            return b"IEND\xaeB`\x82" in _tail(content)
        case ".jpg":
            return _tail(content).rstrip(b"\0").endswith(b"\xff\xd9")
        case ".webp" | ".wav":
            return int(struct.unpack("<I", content.at(4, 4))[0]) + 8 <= content.size
        case ".mp4" | ".mov" | ".m4a" | ".avif":
            return _boxes_end(content)
        case _:
            return True


def _tail(content: FileBytes) -> bytes:
    start = max(0, content.size - 64)
    return content.at(start, content.size - start)


def _boxes_end(content: FileBytes) -> bool:
    """Walk the top-level boxes: the last one must end where the file ends."""
    position, seen, size = 0, set[bytes](), content.size
    while position + 8 <= size:
        length, name = struct.unpack(">I4s", content.at(position, 8))
        if length == 1:
            (length,) = struct.unpack(">Q", content.at(position + 8, 8).ljust(8, b"\0"))
        elif length == 0:
            length = size - position
        if length < 8:
            return False
        seen.add(name)
        position += length
    # An index without frames is what remains of a clip that was cut between two boxes.
    return position == size and b"mdat" in seen and bool(seen & {b"moov", b"meta", b"moof"})
