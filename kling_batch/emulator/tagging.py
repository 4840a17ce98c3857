"""Tags in media files: text that players ignore makes copies of one file distinct. Pure."""

from __future__ import annotations

import struct
import zlib
from uuid import UUID

_COMMENT = UUID("8f1f3e60-7a0c-4f5a-9b7e-3f6b1c2d4e5f").bytes


def tagged(data: bytes, suffix: str, words: str) -> bytes:
    """The file with the text embedded; image and sound are unchanged."""
    return _TAGGERS[suffix](data, words.encode())


def _mp4(data: bytes, words: bytes) -> bytes:
    body = _COMMENT + words
    return data + struct.pack(">I", 8 + len(body)) + b"uuid" + body


def _png(data: bytes, words: bytes) -> bytes:
    chunk = b"tEXtComment\0" + words
    length, check = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    end = len(data) - 12  # before IEND
    return data[:end] + length + chunk + check + data[end:]


def _jpeg(data: bytes, words: bytes) -> bytes:
    words = words[:60_000]
    return data[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(words)) + words + data[2:]


def _webp(data: bytes, words: bytes) -> bytes:
    words += b" " * (len(words) % 2)
    body = data[8:] + b"kbEM" + struct.pack("<I", len(words)) + words
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _mp3(data: bytes, words: bytes) -> bytes:
    """A comment of ID3v1, which is the end of a file."""
    return data + (b"TAG" + b"\0" * 94 + words[:28]).ljust(127, b"\0") + b"\xff"


_TAGGERS = {".mp4": _mp4, ".png": _png, ".jpg": _jpeg, ".webp": _webp, ".mp3": _mp3}
