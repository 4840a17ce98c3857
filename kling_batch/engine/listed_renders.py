"""Search of fal's request list for renders that are paid for, and that no attempt of ours owns.

Whoever has another ledger, or none, finds here what was bought before, free of charge
(docs/fal-api.md#request-list). A request fits a job by the rules of the job key: equal input once
fal's defaults are filled in, local files by their content, other jobs' outputs by theirs. Must not
submit, and must not read or write the ledger once the search runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import anyio

from kling_batch.core.jobs import (
    JSON,
    Job,
    JobKey,
    LocalFile,
    OutputOf,
    local_files,
    parents,
    substitute,
)
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Fetched, Listed, ListForbidden, Listing, RemoteFile
from kling_batch.core.quantities import format_time, parse_foreign_time, parse_time
from kling_batch.core.recovery import Recovery
from kling_batch.core.urls import host_of
from kling_batch.engine.context import Queue
from kling_batch.engine.listed_inputs import Pool, Reference, url_pairs
from kling_batch.engine.matching import SKEW, UnconfirmedSubmission, match
from kling_batch.engine.values import documents, value_of
from kling_batch.fal.responses import files_in, first_detail
from kling_batch.ledger.reader import Reader
from kling_batch.output.download import Fetcher

#: Reads of a list that fails, and seconds between them: a run must begin in the end.
LIST_TRIES = 3
LIST_PAUSE = 0.5
CUT_OFF = (
    "fal's request list was read only in part; "
    "what another ledger has paid for may not have been found"
)
#: Where fal keeps uploads and outputs; nothing is downloaded from elsewhere to be compared.
FILE_HOST = "fal.media"


class Output(NamedTuple):
    """An output of a job that has one already: its URL at fal and its digest, where known."""

    url: str
    sha256: str = ""


@dataclass(slots=True, kw_only=True)
class Known:
    """What the ledger knows about the jobs that are looked for; read before the search."""

    #: Request ids that attempts own.
    claimed: set[str] = field(default_factory=set)
    in_doubt: list[UnconfirmedSubmission] = field(default_factory=list)
    #: Digest of a local file → the URL of fal's copy.
    uploads: dict[str, str] = field(default_factory=dict)
    outputs: dict[JobKey, tuple[Output, ...]] = field(default_factory=dict)
    #: What jobs without a file have answered, as other jobs take it.
    values: dict[JobKey, str] = field(default_factory=dict)

    @classmethod
    def of(cls, reader: Reader | None, jobs: Sequence[Job]) -> Known:
        """Read it for these jobs; nothing, where there is no ledger."""
        if reader is None:
            return cls()
        files = {file.sha256 for job in jobs for file in local_files(job.arguments)}
        needed = {parent.key for job in jobs for parent in parents(job.arguments)}
        uploads = {sha256: reader.upload(sha256) for sha256 in files}
        return cls(
            claimed=reader.request_ids(),
            in_doubt=[
                UnconfirmedSubmission(a.id, a.endpoint, a.payload, parse_time(a.intended_at))
                for a in reader.attempts_in(State.SUBMITTING, State.IN_DOUBT)
            ],
            uploads={sha256: known[0] for sha256, known in uploads.items() if known},
            outputs={key: tuple(_saved(reader, key)) for key in needed},
            values=dict(_answered(reader, needed)),
        )

    def add(self, job: Job, found: Recovery) -> None:
        """One more render, with its outputs as far as they are known."""
        self.claimed.add(found.request_id)
        saved = documents((file.path, file.sha256) for file in found.files)
        if value := value_of(job.endpoint, (found.output, *saved)):
            self.values[job.key] = value
        if found.files:
            self.outputs[job.key] = tuple(Output(file.url, file.sha256) for file in found.files)
        else:
            self.outputs[job.key] = tuple(Output(file.url) for file in files_in(found.output))


def _answered(reader: Reader, keys: Iterable[JobKey]) -> Iterator[tuple[JobKey, str]]:
    """The values that jobs have given for an answer, in place of files."""
    for key in keys:
        for attempt in reader.attempts_of(key):
            if attempt.state is State.SUCCEEDED and (
                value := value_of(attempt.endpoint, [attempt.output])
            ):
                yield key, value


def _saved(reader: Reader, key: JobKey) -> list[Output]:
    """The outputs of a job that has succeeded."""
    for attempt in reader.attempts_of(key):
        if attempt.state is State.SUCCEEDED:
            files = {file.index: file for file in reader.files_of(attempt.id)}
            return [Output(file.url or "", file.sha256) for _, file in sorted(files.items())]
    return []


@dataclass(slots=True)
class Search:
    """What was found, by job, and what people should know about the search."""

    found: dict[JobKey, Recovery] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


class ListedRenders:
    """One search, before the first payment of a run: one listing per endpoint.

    Args:
        queue: fal's list.
        fetcher: downloads inputs to compare them.
        known: what the ledger knows.
        scratch: an empty folder for those downloads.
        now: the wall clock.
    """

    def __init__(
        self,
        queue: Queue,
        fetcher: Fetcher,
        known: Known,
        scratch: Path,
        now: Callable[[], datetime],
    ) -> None:
        """Nothing is asked yet."""
        self._queue, self._fetcher, self._known = queue, fetcher, known
        self._scratch, self._now = scratch, now
        self._digests: dict[str, str | None] = {}
        #: What was found until now.
        self.search = Search()

    async def find(self, wanted: Sequence[Job], reuse: Mapping[str, float]) -> Search:
        """Find a request for each job, parents before children; each serves one job.

        Args:
            wanted: jobs that would be paid for.
            reuse: by batch, how many seconds back a request may have been sent.
        """
        longest: dict[str, float] = {}
        for job in wanted:
            longest[job.endpoint] = max(reuse[job.batch], longest.get(job.endpoint, 0.0))
        pools: dict[str, Pool | None] = {}
        for job in wanted:
            if job.endpoint not in pools:
                if None in pools.values():
                    continue  # said; what one list refuses, the others refuse as well
                since = self._now() - timedelta(seconds=longest[job.endpoint])
                pools[job.endpoint] = await self._pool(job.endpoint, since)
            if (pool := pools[job.endpoint]) is not None:
                await self._claim(job, pool, self._now() - timedelta(seconds=reuse[job.batch]))
        return self.search

    async def _pool(self, endpoint: str, since: datetime) -> Pool | None:
        """What of an endpoint's list can be collected; None where it cannot be had."""
        listing = await self._listed(endpoint, since)
        if listing is None:
            return None
        if not listing.complete:
            self._say(CUT_OFF)
        return Pool(endpoint, self._usable(endpoint, listing))

    async def _listed(self, endpoint: str, since: datetime) -> Listing | None:
        """The list, or None where it cannot be had, which is said once."""
        reason = ""
        for n in range(LIST_TRIES):
            if n:
                await anyio.sleep(LIST_PAUSE)
            outcome = await self._queue.listing(endpoint, since=format_time(since - SKEW))
            if isinstance(outcome, Listing):
                return outcome
            refused = isinstance(outcome, ListForbidden)
            reason = outcome.reason if refused else f"fal's list cannot be read: {outcome.reason}"
        self._say(f"{reason}; what another ledger has paid for is not looked for there")
        return None

    def _say(self, notice: str) -> None:
        """Once, whatever number of lists it is about."""
        if notice not in self.search.notices:
            self.search.notices.append(notice)

    def _usable(self, endpoint: str, listing: Listing) -> list[Listed]:
        """The requests that can be collected and that nobody owns, oldest first.

        Those that have ended without output come last: fal's queue may have it.
        """
        ended = [item for item in listing.items if item.status_code is not None]
        if ended and all(item.payload is None for item in listing.items):
            self._say(
                "fal stores no payloads for this key, so what was paid for is not found there"
            )
        owned = self._known.claimed | self._in_doubt(endpoint, listing)
        usable = [
            item
            for item in listing.items
            if item.request_id not in owned and isinstance(item.payload, Mapping) and _good(item)
        ]
        return sorted(usable, key=lambda i: (_is_empty(i), i.sent_at, i.request_id))

    def _in_doubt(self, endpoint: str, listing: Listing) -> set[str]:
        """Requests that belong to submissions in doubt, which look for them first."""
        submissions = [each for each in self._known.in_doubt if each.endpoint == endpoint]
        if not submissions:
            return set()
        matches = match(submissions, listing.items, claimed=self._known.claimed)
        return set(matches.found.values())

    # -- one job -------------------------------------------------------------------------------

    async def _claim(self, job: Job, pool: Pool, oldest: datetime) -> None:
        job = self._with_values(job)
        arguments = pool.arguments_of(job)
        for candidate in pool.candidates(arguments):
            sent = parse_foreign_time(candidate.sent_at)
            if sent is not None and sent < oldest:
                continue
            pairs = url_pairs(arguments, pool.payload_of(candidate))
            if pairs is not None and await self._same_inputs(pairs):
                pool.take(candidate)
                since = format_time(sent) if sent is not None else ""
                found = Recovery(
                    request_id=candidate.request_id,
                    since=since,
                    estimate=job.estimate,
                    payload=candidate.payload,
                    output=candidate.output,
                    listed=True,
                )
                self.search.found[job.key] = found
                self._known.add(job, found)
                return

    def _with_values(self, job: Job) -> Job:
        """The job with what others have answered in the places where they are named."""
        values = self._known.values
        others = (*parents(job.arguments), *local_files(job.arguments))
        if not any(isinstance(each, OutputOf) and each.key in values for each in others):
            return job
        whole: dict[object, JSON] = {
            each: values.get(each.key, each) if isinstance(each, OutputOf) else each
            for each in others
        }
        return job._replace(arguments=substitute(job.arguments, whole))

    async def _same_inputs(self, pairs: Sequence[tuple[Reference, str]]) -> bool:
        for reference, url in pairs:
            if isinstance(reference, LocalFile):
                same = await self._is_upload_of(reference, url)
            else:
                same = await self._is_output(reference, url)
            if not same:
                return False
        return True

    async def _is_upload_of(self, file: LocalFile, url: str) -> bool:
        known = self._known.uploads.get(file.sha256)
        return known == url or await self._digest(url) == file.sha256

    async def _is_output(self, parent: OutputOf, url: str) -> bool:
        outputs = self._known.outputs.get(parent.key, ())
        if parent.index >= len(outputs):
            return False  # the parent is yet to be rendered, so nothing can have been made of it
        output = outputs[parent.index]
        if url == output.url:
            return True
        digest = output.sha256 or await self._digest(output.url)
        return digest is not None and await self._digest(url) == digest

    async def _digest(self, url: str) -> str | None:
        """The digest of what lies at a URL of fal's storage; None where it cannot be told."""
        host = host_of(url)
        if host != FILE_HOST and not host.endswith(f".{FILE_HOST}"):
            return None
        if url not in self._digests:
            temporary = self._scratch / str(len(self._digests))
            fetched = await self._fetcher.fetch(RemoteFile(url=url), temporary)
            self._digests[url] = fetched.sha256 if isinstance(fetched, Fetched) else None
            temporary.unlink(missing_ok=True)
        return self._digests[url]


def _good(item: Listed) -> bool:
    """Whether the request may still give files: it renders, or it has ended well.

    Output that is not listed may be in fal's queue, and is paid for.
    """
    if item.status_code is None:
        return True
    return item.status_code < 400 and not first_detail(item.output)


def _is_empty(item: Listed) -> bool:
    return item.status_code is not None and item.output is None
