"""Entries to jobs: ids and takes, the request each one makes, its key and where its files land.

A job that needs another one's output is left without its key; `graph.py` adds it. Everything wrong
goes to the collector, and the next job is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import NamedTuple, TypeVar

from kling_batch.catalog.parameters import UNRESOLVED
from kling_batch.core.diagnostics import Complaint, FieldError, nearest
from kling_batch.core.jobs import JSON, Arguments, Job, JobKey, job_key
from kling_batch.errors import Place
from kling_batch.manifest import fields
from kling_batch.manifest.entry import Entry, Given
from kling_batch.manifest.paths import PathTemplate, folded, is_plain_id, problem_of_id
from kling_batch.manifest.request import Request, Requests

MOST_JOBS = 1_000_000

T = TypeVar("T")


class Origin(NamedTuple):
    """Who to complain to about a job."""

    entry: Entry
    line: int


@dataclass(slots=True)
class Expansion:
    """The jobs of a manifest as they are found."""

    batch: str
    path: PathTemplate
    requests: Requests
    jobs: list[Job] = field(default_factory=list)
    #: Where in `jobs` those are whose keys hang on other jobs.
    waiting: dict[int, Origin] = field(default_factory=dict)
    #: Requests that have an error, but also references that are still to be looked at.
    broken: list[tuple[Request, Origin]] = field(default_factory=list)
    #: Every id, also of jobs that have an error, with its place.
    ids: dict[str, Place] = field(default_factory=dict)
    _paths: dict[str, Job] = field(default_factory=dict)

    def add(self, entry: Entry, base: Mapping[str, JSON]) -> None:
        """Make every job of an entry."""
        for given in entry.give(base):
            if len(self.jobs) >= MOST_JOBS:
                message = f"more than {MOST_JOBS:,} jobs; make several manifests of them"
                entry.complain(Complaint((), message, "too-large"))
                return
            self._add_job(entry, given)

    def _add_job(self, entry: Entry, given: Given) -> None:
        scope, values, defaults, line, form = given
        place = entry.home(line)
        job_id = self._id(entry, values.pop("id", None), place, line)
        takes = (_read(fields.takes, "takes", values, entry, line) if "takes" in values else 1) or 1
        tags = (_read(fields.tags, "tags", values, entry, line) if "tags" in values else ()) or ()
        request, findings = self.requests.build(values, defaults, form)
        for doubt in findings.doubts:
            entry.warn(doubt, line)
        for complaint in findings.errors:
            entry.complain(complaint, line)
        if request is not None and request.waiting and findings.errors:
            self.broken.append((request, Origin(entry, line)))
        if request is None or job_id is None or findings.errors:
            return
        endpoint = request.endpoint
        mode, tier = (endpoint.mode, endpoint.tier) if endpoint else ("", "")
        for take in range(1, takes + 1):
            key = UNRESOLVED
            if not request.waiting:
                made = key_of(request.endpoint_id, request.arguments, take, entry, line)
                if made is None:
                    return
                key = made
            path, problem = self.path.fill(
                batch=self.batch, mode=mode, tier=tier, job=job_id, take=take, scope=scope
            )
            if problem:
                hint = "change `path:` or the id"
                entry.complain(Complaint((), problem, "unsafe-path", hint), line)
            job = Job(
                key=key,
                endpoint=request.endpoint_id,
                arguments=request.arguments,
                take=take,
                id=job_id,
                batch=self.batch,
                mode=mode,
                tier=tier,
                path=path,
                estimate=request.estimate.micro,
                estimate_note=request.estimate.note,
                place=place,
                tags=tags,
                entry=entry.index,
            )
            self._claim_path(job, entry, line)
            if request.waiting:
                self.waiting[len(self.jobs)] = Origin(entry, line)
            self.jobs.append(job)

    def _id(self, entry: Entry, value: JSON, place: Place, line: int) -> str | None:
        if value is None:
            hint = "give the job a name: `id: hero-clip`, with a column in it for rows"
            entry.complain(Complaint((), "`id` is missing", "missing", hint), line)
            return None
        job_id = value if is_plain_id(value) else self._odd_id(entry, value, line)
        if job_id is None:
            return None
        first = self.ids.setdefault(job_id, place)
        if first is not place:
            self._complain_twice(entry, job_id, first, line)
            return None
        return job_id

    @staticmethod
    def _odd_id(entry: Entry, value: JSON, line: int) -> str | None:
        try:
            job_id = fields.text(value)
        except FieldError as error:
            entry.complain(Complaint(("id",), f"`id` {error}", "wrong-type"), line)
            return None
        why = problem_of_id(job_id)
        if why:
            hint = "use letters, digits, - and _"
            entry.complain(Complaint(("id",), f"{why}: `{job_id[:60]}`", "wrong-id", hint), line)
        return None if why else job_id

    @staticmethod
    def _complain_twice(entry: Entry, job_id: str, first: Place, line: int) -> None:
        if "id" in entry.own and (entry.table or len(entry.combinations) > 1):
            names = ", ".join(sorted(entry.columns)[:8])
            hint = f'put a variable into the id, as in "{job_id}-{{{{ … }}}}" ({names})'
        elif entry.table:
            hint = "give each row another id"
        else:
            hint = "give it another id, or write `takes: 2` for another rendering"
        complaint = Complaint(
            ("id",), f"the id `{job_id}` is taken by {first}", "duplicate-id", hint
        )
        entry.complain(complaint, line)

    def _claim_path(self, job: Job, entry: Entry, line: int) -> None:
        """Two jobs never share a file, not even on a disk that does not tell capitals apart."""
        path = folded(job.path)
        first = self._paths.setdefault(path, job)
        for n in range(2, outputs_of(job) + 1):
            if first is not job:
                break
            further = path.replace("{output}", f"-{n}{{output}}")
            first = self._paths.setdefault(further, job)
        if first is not job:
            shown = path.format(output="", ext="")
            message = f"`{job.label}` would land in the same file as `{first.label}`: {shown}"
            hint = "change `path:` or the id; capitals do not count"
            entry.complain(Complaint((), message, "path-collision", hint), line)


def outputs_of(job: Job) -> int:
    """How many files a job makes at most."""
    if "num_images" not in job.arguments or not job.mode:
        return 1
    if job.arguments.get("result_type") == "series":
        return int(job.arguments.get("series_amount", 9))
    return int(job.arguments["num_images"])


def key_of(
    endpoint: str, arguments: Arguments, take: int, entry: Entry, line: int
) -> JobKey | None:
    """The key of a take of a job, or None after a complaint."""
    try:
        return job_key(endpoint, arguments, take)
    # Lone surrogates, infinite numbers: nothing that fal could be sent.
    except (ValueError, TypeError, RecursionError) as error:
        entry.complain(Complaint((), f"cannot be sent as JSON: {error}", "not-json"), line)
        return None


def _read(
    read: Callable[[JSON], T], name: str, values: dict[str, JSON], entry: Entry, line: int
) -> T | None:
    value = values.pop(name, None)
    if value is None:
        return None
    try:
        return read(value)
    except FieldError as error:
        entry.complain(Complaint((name,), f"`{name}`: {error}", "wrong-value"), line)
        return None


MOST_COMBINATIONS = 1_000_000

Combination = dict[str, JSON]


def combinations(
    matrix: Mapping[str, JSON], rendered: Mapping[str, JSON]
) -> tuple[list[Combination], list[Complaint]]:
    """All combinations in order, and complaints; `rendered` has the values, templates filled in.

    A later `include` may overwrite what an earlier one added, never what the lists say.
    """
    lists = {name: rendered[name] for name in matrix if name not in ("include", "exclude")}
    complaints = _unknown_names(lists, matrix.get("exclude", ()))
    count = prod(len(values) for values in lists.values())
    if count > MOST_COMBINATIONS:
        message = f"{count:,} combinations; at most {MOST_COMBINATIONS:,}"
        return [], [Complaint((), message, "too-large", "put them into a table")]
    kept = [
        combination
        for values in product(*lists.values())
        if not _excluded(combination := dict(zip(lists, values, strict=True)), rendered)
    ]
    if not lists:
        kept = []
    result = _included(kept, lists, rendered.get("include", ()))
    if not result and not complaints:
        complaints.append(Complaint(("exclude",), "leaves no combination at all", "empty"))
    return result, complaints


def _excluded(combination: Combination, rendered: Mapping[str, JSON]) -> bool:
    return any(
        all(name in combination and combination[name] == value for name, value in entry.items())
        for entry in rendered.get("exclude", ())
    )


def _included(
    kept: list[Combination], lists: Mapping[str, JSON], include: Sequence[Mapping[str, JSON]]
) -> list[Combination]:
    extended = [dict(combination) for combination in kept]
    alone: list[Combination] = []
    for entry in include:
        fits = [
            n
            for n, combination in enumerate(kept)
            if all(combination[name] == value for name, value in entry.items() if name in lists)
        ]
        for n in fits:
            extended[n] |= entry
        if not fits:
            alone.append(dict(entry))
    return extended + alone


def _unknown_names(
    lists: Mapping[str, JSON], exclude: Sequence[Mapping[str, JSON]]
) -> list[Complaint]:
    return [
        Complaint(
            ("exclude", n, name),
            f"`exclude` names `{name}`, which the matrix does not have",
            "unknown-key",
            nearest(name, lists),
        )
        for n, entry in enumerate(exclude)
        for name in entry
        if name not in lists
    ]
