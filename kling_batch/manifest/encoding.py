"""Encodings that are no UTF-8, recognised by the first bytes of a file. Pure."""

from __future__ import annotations

_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def wide_encoding(head: bytes) -> str:
    """`UTF-16` or `UTF-32`, with or without a byte order mark; empty for anything else.

    Without a mark every second byte of such text is mostly zero, which UTF-8 could decode.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    odd, even = head[1::2], head[::2]
    for half in (odd, even):
        if half and half.count(0) * 4 >= len(half) * 3:
            both = min(odd.count(0), even.count(0))
            return "UTF-32" if both * 3 >= len(half) else "UTF-16"
    return ""
