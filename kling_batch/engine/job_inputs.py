"""Inputs of a job as URLs that fal can read: uploads, and outputs of other jobs.

Free of charge, so failures are tried again. Must not submit.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import anyio

from kling_batch.core.jobs import Job, LocalFile, OutputOf, local_files, parents
from kling_batch.core.lifecycle import State
from kling_batch.core.locations import Location, ObjectAddress, is_address
from kling_batch.core.outcomes import FailureKind, UploadError
from kling_batch.core.quantities import parse_time
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.engine.values import documents, makes_value, value_of
from kling_batch.output.store import store_for
from kling_batch.output.store_errors import StoreError

#: Tries at one upload: about two minutes.
UPLOAD_TRIES = 10

#: fal keeps files for a week at least (docs/fal-api.md#file-retention); after this an input is
#: uploaded again.
UPLOAD_LASTS = timedelta(days=3)
#: A parent's output is passed on by fal's own URL while that is young.
OUTPUT_LASTS = timedelta(hours=24)


class JobInputs:
    """Prepares the inputs of jobs; one a run, so that jobs share uploads."""

    def __init__(self, context: RunContext) -> None:
        """Nothing is uploaded yet."""
        self._context = context
        self._uploading: dict[str, anyio.Lock] = {}

    async def urls(self, job: Job) -> dict[object, str]:
        """The URL of each input that is a local file or another job's output.

        Raises:
            UploadError: an input cannot be prepared.
        """
        urls: dict[object, str] = {}
        for file in local_files(job.arguments):
            urls[file] = await self._uploaded(file)
        for parent in parents(job.arguments):
            urls[parent] = await self._output_url(parent)
        return urls

    async def _uploaded(self, file: LocalFile) -> str:
        """The URL of a local file, uploaded once per content however many jobs use it."""
        context = self._context
        async with self._uploading.setdefault(file.sha256, anyio.Lock()):
            known = context.ledger.upload(file.sha256)
            if known and context.now() - known[1] < UPLOAD_LASTS:
                return known[0]
            if is_address(file.path):
                data = await context.worker.run(_content, file)
            else:
                data = _content(file)
            url = await self._upload(file, data)
            context.ledger.remember_upload(file, url)
            return url

    async def _upload(self, file: LocalFile, data: bytes) -> str:
        """Upload the same bytes until it succeeds, whatever becomes of the file meanwhile."""
        path, refusals = Path(file.path), 0
        for n in range(1, UPLOAD_TRIES + 1):
            try:
                return await self._context.uploader.upload(path, data, file.content_type)
            except UploadError as error:
                # One refusal of the key or the account among good answers is no proof.
                refusals += error.failure.kind is not FailureKind.INPUT
                again = error.passing or refusals == 1
                if not again or n == UPLOAD_TRIES or self._context.submit_stop.is_set:
                    raise
            with self._context.submit_stop.cuts_short():
                await anyio.sleep(pacing.READ.delay(n, self._context.rng))
        raise AssertionError("the loop returns")

    async def _output_url(self, parent: OutputOf) -> str:
        """Another job's output: by fal's own URL while it is young, else uploaded; or its value."""
        context = self._context
        attempts = [a for a in context.ledger.attempts_of(parent.key) if a.state is State.SUCCEEDED]
        files = context.ledger.files_of(attempts[-1].id) if attempts else []
        mine = [f for f in files if f.index == parent.index]
        if attempts and (name := makes_value(attempts[-1].endpoint)):
            endpoint, answer = attempts[-1].endpoint, attempts[-1].output
            saved = ((context.store.located(f.path), f.sha256) for f in mine)
            answers = await context.worker.run(lambda: [answer, *documents(saved)])
            if value := value_of(endpoint, answers):
                return value
            raise UploadError(f"the answer of {parent.job_id} has no `{name}`")
        if not mine:
            raise UploadError(f"{parent.job_id} has no output {parent.index + 1}")
        file = mine[0]
        made = attempts[-1].rendered_at
        young = made and context.now() - parse_time(made) < OUTPUT_LASTS
        if young and file.url and file.url.startswith("https://"):
            return file.url
        for candidate in mine:
            at = context.store.located(candidate.path)
            if await self._is_here(at):
                local = LocalFile(
                    path=str(at),
                    sha256=file.sha256,
                    size=file.size,
                    content_type=file.content_type,
                )
                return await self._uploaded(local)
        raise UploadError(f"the file of {parent.job_id} is no longer on the disk")

    async def _is_here(self, at: Location) -> bool:
        try:
            return await self._context.worker.run(self._context.store.size, at) is not None
        except StoreError as error:
            raise UploadError(f"{at}: {error.strerror}") from error


def _content(file: LocalFile) -> bytes:
    """The bytes that the job's key was made of.

    Raises `UploadError` where they are no longer there. The file is read once: what is compared is
    what is uploaded, so that an edit in between cannot buy other content under this key.
    """
    at: Location = ObjectAddress(file.path) if is_address(file.path) else Path(file.path)
    try:
        data = store_for(at).read(at)
    except OSError as error:
        raise UploadError(f"{file.path}: {error.strerror or error}") from error
    if sha256(data).hexdigest() != file.sha256:
        raise UploadError(f"{file.path} has changed since it was read; run again")
    return data
