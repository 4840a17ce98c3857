"""The fal key: as it is sent, and redacted from everything that is shown.

Proxies and debug pages echo headers, so whatever comes from outside is redacted before it is
kept. Must not store or print the key.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

from kling_batch.errors import AuthError
from kling_batch.fal.addresses import check_hosts
from kling_batch.fal.key_file import read_key_file, unread_key_file

#: Sent to an emulator instead of a key; too short to be redacted as a secret.
DUMMY_AUTHORIZATION = "Key none"

_INSTEAD = "(the key)"


def secrets_of(authorization: str) -> tuple[str, ...]:
    """Secret parts of an `Authorization` header: the key, and its second half."""
    _, _, key = authorization.partition(" ")
    return tuple(part for part in (key, key.rpartition(":")[2]) if len(part) > 7)


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with each secret replaced."""
    for secret in secrets:
        text = text.replace(secret, _INSTEAD)
    return text


def redact_bytes(data: bytes, secrets: Iterable[str]) -> bytes:
    """The body with each secret replaced, before it is decoded."""
    for secret in secrets:
        data = data.replace(secret.encode(), _INSTEAD.encode())
    return data


def authorization() -> str:
    """The `Authorization` header value: from `.env` here, or as fal's own client finds it.

    Raises:
        AuthError: no key anywhere, or one that cannot be sent.
        UsageError: the environment names a host to send it to that can be none.
    """
    check_hosts(os.environ)
    # Heavy, and most commands need no key.
    import httpx  # noqa: PLC0415
    from fal_client.auth import (  # noqa: PLC0415
        MissingCredentialsError,
        fetch_auth_credentials,
    )

    read_key_file()
    try:
        header = str(fetch_auth_credentials().header_value)
    except MissingCredentialsError:
        if reason := unread_key_file():
            raise AuthError(f"no fal key: {reason}") from None
        raise AuthError(
            "no fal key: set FAL_KEY (from the fal dashboard), or put FAL_KEY=… into a .env file "
            "here; to try without one, add --emulator"
        ) from None
    except httpx.HTTPError as error:
        raise AuthError(f"the fal login could not be refreshed ({type(error).__name__})") from None
    scheme, _, key = header.strip().partition(" ")
    key = _typed(key)
    if not key:
        raise AuthError("the fal key is empty; set FAL_KEY to the key from the fal dashboard")
    header = f"{scheme} {key}"
    if not header.isascii() or not header.isprintable():
        raise AuthError("the fal key holds characters that no key has; check FAL_KEY")
    return header


#: Quotes around a pasted key, straight and curly.
_QUOTES = "\"'`\u2018\u2019\u201c\u201d"


#: What a key is copied with from a shell, a `.env` file or a header.
_COPIED = re.compile(r"(?:export\s+)?FAL_KEY\s*=\s*|Key\s+")


def _typed(key: str) -> str:
    """A pasted key alone: without what surrounds it where it was copied, or is invisible."""
    visible = "".join(char for char in key if unicodedata.category(char) != "Cf").strip()
    copied = _COPIED.match(visible)
    parts = visible[copied.end() if copied else 0 :].strip(_QUOTES).split(":")
    return ":".join(part.strip().strip(_QUOTES).strip() for part in parts)
