"""Comparison of jobs with the inputs of listed requests: everything in them but their URLs. Pure.

Both sides are brought into one form first: what fal fills in for what is left out, and one spelling
for each value. Must not take two inputs for equal that fal may render differently: where the
catalogue sends another default than fal's, only fal's counts for what was left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from kling_batch.catalog.registry import by_id, examine
from kling_batch.core.jobs import JSON, Job, LocalFile, OutputOf, canonical_json
from kling_batch.core.outcomes import Listed
from kling_batch.engine.matching import comparable

_HOLE = "\0url"

Reference: TypeAlias = LocalFile | OutputOf


class Pool:
    """Listed requests of one endpoint that nobody owns, by everything in them but their URLs."""

    def __init__(self, endpoint: str, listed: Sequence[Listed]) -> None:
        """Index the requests, in their order."""
        self._endpoint = endpoint
        self._payloads = {each.request_id: _filled_in(endpoint, each.payload) for each in listed}
        self._by_outline: dict[str, list[Listed]] = {}
        for each in listed:
            self._by_outline.setdefault(self._outline_of(each), []).append(each)

    def payload_of(self, listed: Listed) -> JSON:
        """Its payload with fal's defaults filled in."""
        return self._payloads[listed.request_id]

    def arguments_of(self, job: Job) -> JSON:
        """The arguments of a job in the same form.

        Those of a mode of the catalogue have it already, and a raw job has them as written.
        """
        if job.mode or not self._by_outline:
            return job.arguments
        return _filled_in(self._endpoint, job.arguments)

    def candidates(self, arguments: JSON) -> tuple[Listed, ...]:
        """Requests that differ from such arguments at most in their URLs, in their order."""
        if not self._by_outline:
            return ()
        return tuple(self._by_outline.get(comparable(_outline(arguments)), ()))

    def take(self, listed: Listed) -> None:
        """It belongs to a job from now on."""
        self._by_outline[self._outline_of(listed)].remove(listed)

    def _outline_of(self, listed: Listed) -> str:
        return comparable(_outline(self._payloads[listed.request_id]))


def _filled_in(endpoint_id: str, payload: JSON) -> JSON:
    """An input as fal takes it: its defaults for what is left out, spellings unified.

    A name that other endpoints have for a parameter is none of this one's: fal leaves it out.
    """
    endpoint = by_id(endpoint_id)
    if endpoint is None:
        return payload
    given = {name: value for name, value in payload.items() if value is not None}
    known = {name: value for name, value in given.items() if name in endpoint.by_name}
    found, problems = examine(endpoint, known)
    if not problems.errors:  # what the catalogue cannot read is compared as it stands
        given |= {name: found[name] for name in known if name in found}
    defaults = dict(endpoint.as_fal_fills_it.defaults)
    if "multi_prompt" in known:
        defaults.pop("duration", None)  # which of the two fal follows then is not published
    return {**defaults, **given}


def _outline(value: JSON) -> JSON:
    """The same with a placeholder for everything that may be an address of a file."""
    if isinstance(value, LocalFile | OutputOf) or _is_address(value):
        return _HOLE
    if isinstance(value, Mapping):
        return {name: _outline(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_outline(item) for item in value]
    return value


def _is_address(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://", "data:"))


def url_pairs(ours: JSON, theirs: JSON) -> list[tuple[Reference, str]] | None:
    """Our references with the URLs in their places; None where anything else differs."""
    if isinstance(ours, LocalFile | OutputOf):
        return [(ours, theirs)] if isinstance(theirs, str) else None
    if isinstance(ours, Mapping):
        names = [name for name, value in ours.items() if value is not None]
        nested = [(ours[name], theirs.get(name)) for name in names]
    elif isinstance(ours, list | tuple):
        nested = list(zip(ours, theirs, strict=True))
    else:
        # A newly signed URL is the same input.
        same = not _is_address(ours) or canonical_json(ours) == canonical_json(theirs)
        return [] if same else None
    pairs: list[tuple[Reference, str]] = []
    for mine, other in nested:
        inner = url_pairs(mine, other)
        if inner is None:
            return None
        pairs += inner
    return pairs
