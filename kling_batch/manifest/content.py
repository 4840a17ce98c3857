"""Content of local inputs, recognised by its bytes, and whether a file was cut short.

The suffix of a name is only a claim. Must not decode media: `inputs.py` does where structure alone
cannot tell.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple


class Content(NamedTuple):
    """What a file is: its name for people, and its content type."""

    name: str
    content_type: str


#: Bytes that `recognise` and `misfit` need.
HEAD = 512

_JPEG = Content("JPEG", "image/jpeg")
_PNG = Content("PNG", "image/png")
_WEBP = Content("WebP", "image/webp")
_GIF = Content("GIF", "image/gif")
_AVIF = Content("AVIF", "image/avif")
_HEIC = Content("HEIC", "image/heic")
_MP4 = Content("MP4", "video/mp4")
_MOV = Content("QuickTime", "video/quicktime")
_M4A = Content("MPEG-4 audio", "audio/mp4")
_WAV = Content("WAV", "audio/wav")
_MP3 = Content("MP3", "audio/mpeg")
_AVI = Content("AVI", "video/x-msvideo")

_MAGIC: tuple[tuple[int, bytes, Content], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", _PNG),
    (0, b"\xff\xd8\xff", _JPEG),
    (0, b"GIF8", _GIF),
    (8, b"WEBP", _WEBP),
    (8, b"WAVE", _WAV),
    (8, b"AVI ", _AVI),
    (0, b"\x1aE\xdf\xa3", Content("WebM or Matroska", "video/webm")),
    (0, b"ID3", _MP3),
    (0, b"OggS", Content("Ogg", "audio/ogg")),
    (0, b"\xff\xf1", Content("AAC", "audio/aac")),
    (0, b"\xff\xf9", Content("AAC", "audio/aac")),
    (0, b"\xff\xfb", _MP3),
    (0, b"\xff\xfa", _MP3),
    (0, b"\xff\xf3", _MP3),
    (0, b"\xff\xf2", _MP3),
    (0, b"fLaC", Content("FLAC", "audio/flac")),
    (0, b"BM", Content("BMP", "image/bmp")),
    (0, b"II*\0", Content("TIFF", "image/tiff")),
    (0, b"MM\0*", Content("TIFF", "image/tiff")),
    (0, b"8BPS", Content("a Photoshop file", "image/vnd.adobe.photoshop")),
    (0, b"%PDF", Content("PDF", "application/pdf")),
    (0, b"PK\x03\x04", Content("a ZIP archive", "application/zip")),
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
#: Boxes of an MP4 at its top level; anything else there was appended by somebody.
_BOXES = frozenset(
    (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"sidx", b"styp")
) | {b"meta", b"uuid", b"udta", b"pnot", b"emsg", b"prft"}


#: Lengths of a WAV file whose end was not known when its header was written.
_OPEN_LENGTHS = (0xFFFFFFFF, 0x7FFFFFFF)


def recognise(head: bytes) -> Content | None:
    """The content that the first bytes show, or None."""
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    found = (content for at, magic, content in _MAGIC if head[at : at + len(magic)] == magic)
    return next(found, None)


def _by_brand(head: bytes) -> Content:
    """The content of an ISO base media file, by its brands."""
    (length,) = struct.unpack(">I", head[:4])
    box = head[8 : max(12, min(length, len(head)))]
    brands = {box[n : n + 4] for n in range(0, len(box), 4)}
    if brands & _AVIF_BRANDS:
        return _AVIF
    if brands & _HEIC_BRANDS and not head[8:12].startswith((b"isom", b"mp4", b"qt")):
        return _HEIC
    if head[8:11] == b"M4A":
        return _M4A
    return _MOV if head[8:10] == b"qt" else _MP4


def misfit(head: bytes) -> tuple[str, str] | None:
    """Why a file is something put in the place of media, and what to do; None for other files."""
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a Git LFS pointer, not the file itself", "fetch the files: git lfs pull"
    if head.startswith((b"/annex/objects/", b"../.git/annex/objects/", b".git/annex/objects/")):
        return "is a git-annex pointer, not the file itself", "fetch the files: git annex get"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page, not the file itself", "download the file again"
    return None


def ends_as_it_should(file: BinaryIO, content: Content) -> bool:
    """Whether the end of the format is where the file ends; True where that is not known."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 64))
    tail = file.read(64)
    if content is _PNG:
        return b"IEND\xaeB`\x82" in tail
    if content is _JPEG:
        return tail.rstrip(b"\0").endswith(b"\xff\xd9")
    if content is _GIF:
        return tail.rstrip(b"\0").endswith(b";")
    if content in (_WEBP, _WAV, _AVI):
        file.seek(4)
        length = int.from_bytes(file.read(4).ljust(4, b"\xff"), "little")
        # Who writes a sound while it is made leaves its length open.
        return length + 8 <= size or (content is _WAV and length in _OPEN_LENGTHS)
    if content in (_AVIF, _MP4, _MOV, _M4A):
        return not _box_runs_out(file, size)
    return True


def _box_runs_out(file: BinaryIO, size: int) -> bool:
    """Whether a top-level box says that it goes on after the end of the file."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        if name not in _BOXES:
            return False
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8).ljust(8, b"\xff"))
        if length < 8:
            return False  # 0: to the end of the file
        position += length
    return position > size
