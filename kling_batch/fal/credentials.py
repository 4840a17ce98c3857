"""The key, cut out of what comes back from outside: proxies and debug pages echo headers. Pure.

Must not know where the key comes from or where the words go.
"""

from __future__ import annotations

from collections.abc import Iterable

#: What an emulator is shown. No secret, and too short to be taken for one.
EMULATED = "Key none"

_INSTEAD = "(the key)"


def secrets_of(authorization: str) -> tuple[str, ...]:
    """What of an `Authorization` header must not be told: the key, and its secret half."""
    _, _, key = authorization.partition(" ")
    return tuple(part for part in (key, key.rpartition(":")[2]) if len(part) > 7)


def without(text: str, secrets: Iterable[str]) -> str:
    """The text without any of these."""
    for secret in secrets:
        text = text.replace(secret, _INSTEAD)
    return text


def bytes_without(data: bytes, secrets: Iterable[str]) -> bytes:
    """The same for a body that nobody has decoded yet."""
    for secret in secrets:
        data = data.replace(secret.encode(), _INSTEAD.encode())
    return data
