"""Upload of local inputs by fal-client. Free of charge, so it may be retried.

Must not know jobs or the ledger, nor read the file: the caller has compared these very bytes with
the job's key.
"""

from __future__ import annotations

import logging
from pathlib import Path

import fal_client.client
import httpx
from fal_client import AsyncClient

from kling_batch.core.outcomes import Failure, FailureKind, UploadError
from kling_batch.core.text import with_certificate_hint
from kling_batch.fal.classify import is_lock
from kling_batch.fal.credentials import redact, secrets_of

#: fal-client's addresses of fal's storage, before a run on an emulator replaces them.
_FAL_HOSTS = (fal_client.client.REST_URL, fal_client.client.CDN_URL)


def _hosts_behind(gateway: str) -> tuple[str, str]:
    return f"{gateway}/rest.fal.ai", f"{gateway}/v3.fal.media"


class FalUploader:
    """Uploads through fal-client, to fal's own storage.

    Args:
        auth: the very `Authorization` that the submissions use; a login token fal-client refreshes
            by itself, and no key at all means the emulator's.
        gateway: the emulator's address; None for fal.
    """

    def __init__(self, auth: str = "", *, gateway: str | None = None) -> None:
        """No connection is made yet."""
        self._secrets = secrets_of(auth)
        key = auth.removeprefix("Key ") if auth.startswith("Key ") else None
        # Its retry warnings would break into the live table; failures come back as `UploadError`.
        logging.getLogger("fal_client").setLevel(logging.ERROR)
        self._client = AsyncClient(key=key)
        # fal-client has no setting for its storage hosts: plain constants
        # (docs/fal-api.md#fal-client-environment). They are set for every run, so that a run on
        # fal after one on an emulator, in the same process, uploads to fal again.
        rest, cdn = _FAL_HOSTS if gateway is None else _hosts_behind(gateway)
        fal_client.client.REST_URL, fal_client.client.CDN_URL = rest, cdn

    async def upload(self, path: Path, data: bytes, content_type: str) -> str:
        """The URL of these bytes at fal; `path` only names them.

        Raises `UploadError` with a message; nothing was paid.
        """
        try:
            name = _file_name(path, content_type)
            # One way only: fal-client's other ways fall back to another host, and send the key
            # there.
            url = await self._client.upload(
                data, content_type, file_name=name, repository="fal_v3", fallback_repository=[]
            )
        except httpx.LocalProtocolError:
            # h11 quotes the header that it does not like, and that is the key.
            raise UploadError(
                f"{path.name} could not be uploaded: the fal key holds characters that no key has "
                "(a line end?); check FAL_KEY"
            ) from None
        # fal-client indexes fal's answers unseen: one that is no object raises nearly anything.
        except Exception as error:  # noqa: BLE001 - and the cause may quote the key
            message = redact(_message(error), self._secrets)
            text = f"{path.name} could not be uploaded: {message}"
            raise UploadError(
                text, passing=_passing(error), failure=_failure(error, message)
            ) from None
        if not (isinstance(url, str) and url.startswith("https://") and url.isprintable()):
            # It would go into a paid request, and be remembered for the next ones.
            raise UploadError(f"{path.name} could not be uploaded: fal gave no address for it")
        return url


#: The suffixes of a content type, the usual one first.
_SUFFIXES = {
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "image/webp": (".webp",),
    "image/gif": (".gif",),
    "image/avif": (".avif",),
    "video/mp4": (".mp4", ".m4v"),
    "video/quicktime": (".mov",),
    "video/webm": (".webm",),
    "audio/mpeg": (".mp3",),
    "audio/wav": (".wav",),
}


def _file_name(path: Path, content_type: str) -> str:
    """The name at fal: in ASCII, as it travels in a header, and with the suffix of its content."""
    suffixes = _SUFFIXES.get(content_type, ())
    name = path.name
    if suffixes and path.suffix.lower() not in suffixes:
        name = path.stem + suffixes[0]
    return name.encode("ascii", "replace").decode().replace("?", "_")


def _message(error: Exception) -> str:
    """The error in one line: of fal's answer only its own sentence, never a page or an echo."""
    if isinstance(error, fal_client.client.FalClientHTTPError):
        message = error.message if error.message != error.response.text else None
        return _status(error.status_code, message)
    if isinstance(error, httpx.HTTPStatusError):
        try:
            message = error.response.json()["detail"]
        except (ValueError, KeyError, TypeError, RecursionError):
            message = None
        return _status(error.response.status_code, message)
    if isinstance(error, httpx.HTTPError):
        text = " ".join(str(error).split())[:200]
        text = with_certificate_hint(text)
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"fal's answer makes no sense ({type(error).__name__})"


def _status(code: int, message: object) -> str:
    """An HTTP status with fal's own sentence, where it has one."""
    text = " ".join(message.split())[:200] if isinstance(message, str) else ""
    return f"HTTP {code}" + (f": {text}" if text else "")


def _code(error: Exception) -> int:
    if isinstance(error, fal_client.client.FalClientHTTPError):
        return int(error.status_code)
    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0


def _passing(error: Exception) -> bool:
    """Whether another try may work: network errors, and temporary errors of the server."""
    code = _code(error)
    return (
        code in (408, 425, 429) or code >= 500 or (not code and isinstance(error, httpx.HTTPError))
    )


def _failure(error: Exception, message: str) -> Failure | None:
    """A refused key or a locked account, but not a key that only lacks upload permission."""
    code = _code(error)
    if message == _status(code, None):
        return None  # without a sentence of fal's: a page of a proxy or firewall
    if code == 402 or is_lock(code, message):
        return Failure(kind=FailureKind.LOCKED, message=message, status=code)
    return Failure(kind=FailureKind.AUTH, message=message, status=code) if code == 401 else None
