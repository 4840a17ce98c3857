"""Bringing local inputs to fal by fal-client's own upload. Free of charge, so it may be retried.

Must not know jobs or the ledger: one upload per content is `submission.py`'s business.
"""

from __future__ import annotations

import logging
from pathlib import Path

import fal_client.client
import httpx
from fal_client import AsyncClient

from kling_batch.bench import UploadError


class FalUploader:
    """Uploads through fal-client, which knows the four ways fal takes files.

    Args:
        key: None where fal-client finds the credentials itself.
        gateway: the emulator's address; None for fal.
    """

    def __init__(self, *, key: str | None = None, gateway: str | None = None) -> None:
        """No connection is made yet."""
        # Its retry warnings would break into the live table; failures come back as `UploadError`.
        logging.getLogger("fal_client").setLevel(logging.ERROR)
        self._client = AsyncClient(key=key)
        if gateway is not None:
            # fal-client has no setting for its storage hosts (facts §8.3): plain constants.
            fal_client.client.REST_URL = f"{gateway}/rest.fal.ai"
            fal_client.client.CDN_URL = f"{gateway}/v3.fal.media"

    async def upload(self, path: Path, content_type: str) -> str:
        """The file's URL at fal. Raises `UploadError` in words; nothing was paid."""
        try:
            data = path.read_bytes()
            # The name travels in a header, and headers are ASCII.
            name = path.name.encode("ascii", "replace").decode().replace("?", "_")
            url = await self._client.upload(data, content_type, file_name=name)
        except OSError as error:
            raise UploadError(f"{path}: {error.strerror or error}") from error
        except httpx.LocalProtocolError:
            # h11 quotes the header that it does not like, and that is the key.
            raise UploadError(
                f"{path.name} could not be uploaded: the fal key holds characters that no key has "
                "(a line end?); check FAL_KEY"
            ) from None
        except (httpx.HTTPError, fal_client.FalClientError, KeyError, ValueError) as error:
            raise UploadError(
                f"{path.name} could not be uploaded: {type(error).__name__}: {error}"
            ) from error
        return str(url)
