"""An uploader that tells of every upload: name, bytes, address, seconds.

fal-client makes the requests of an upload itself, so that `wire.logged` does not see them. Must not
change what is sent or answered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio

from kling_batch.core.outcomes import UploadError
from kling_batch.core.text import clean
from kling_batch.engine.context import Uploader
from kling_batch.wire.logged import public


class LoggedUploads:
    """Tells `log` one line an upload."""

    def __init__(self, uploader: Uploader, log: Callable[[str], None]) -> None:
        """`uploader` sends."""
        self._uploader, self._log = uploader, log

    async def upload(self, path: Path, data: bytes, content_type: str) -> str:
        """See `Uploader.upload`."""
        began = anyio.current_time()
        what = f"upload of {path.name}, {len(data)} bytes"
        try:
            url = await self._uploader.upload(path, data, content_type)
        except UploadError as error:
            seconds = anyio.current_time() - began
            self._log(clean(f"{what}: failed after {seconds:.3f} s: {error}"))
            raise
        self._log(clean(f"{what}: {public(url)} in {anyio.current_time() - began:.3f} s"))
        return url
