"""Expansion of entries to jobs: ids, takes, requests, keys and output paths; matrix combinations.

A job that needs another one's output is left without its key; `graph.py` adds it. A job with an
error is reported and left out, and the next one is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import TypeVar
from unicodedata import normalize

from kling_batch.catalog.parameters import UNRESOLVED
from kling_batch.core.diagnostics import Collector, InvalidValue, nearest, show
from kling_batch.core.jobs import (
    DRAFT_SUFFIX,
    JSON,
    Arguments,
    Job,
    JobKey,
    draft_id,
    is_draft_id,
    job_key,
)
from kling_batch.core.recipes import Media, Recipe
from kling_batch.errors import ArgumentPath, Place
from kling_batch.manifest import fields
from kling_batch.manifest.entry import UNSAID, Given, Origin
from kling_batch.manifest.file_names import FileNames
from kling_batch.manifest.paths import PathTemplate, Which, is_plain_id, problem_of_id
from kling_batch.manifest.request import NOT_JSON, Request, Requests
from kling_batch.manifest.review import Stage, same_render, stages

MOST_JOBS = 1_000_000

T = TypeVar("T")


@dataclass(slots=True)
class Expansion:
    """The jobs of a manifest so far."""

    batch: str
    path: PathTemplate
    requests: Requests
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    #: Indexes in `jobs` of those whose keys depend on other jobs.
    waiting: dict[int, Origin] = field(default_factory=dict)
    #: Requests that have an error, but also references that are still to be checked.
    broken: list[tuple[Request, Origin]] = field(default_factory=list)
    #: Every id, also of jobs that have an error, with its place.
    ids: dict[str, Place] = field(default_factory=dict)
    #: Ids of jobs whose templates have an error, and whether some job's id is not known at all.
    failed: set[str] = field(default_factory=set)
    unnamed: bool = False
    #: Ids outside ASCII as they were first written.
    _written: dict[str, JSON] = field(default_factory=dict)
    #: The names that the jobs' files will have.
    files: FileNames = field(default_factory=FileNames)

    def add(self, entries: Iterable[Given]) -> None:
        """Make the jobs of these values."""
        for given in entries:
            if len(self.jobs) >= MOST_JOBS:
                message = f"more than {MOST_JOBS:,} jobs; make several manifests of them"
                given.origin._replace(line=0).error((), message, "too-large")
                return
            self._add_jobs(given)

    def _add_jobs(self, given: Given) -> None:
        plain = is_plain_id(given.id)
        job_id = self._id(given, plain)
        takes = 1 if given.takes is None else _read(fields.takes, "takes", given.takes, given) or 1
        tags = () if given.tags is None else _read(fields.tags, "tags", given.tags, given) or ()
        if not given.review:
            request = self._request(given)
            if request is not None and job_id is not None:
                self._add_takes(given, request, job_id, takes, tags, plain=plain)
            return
        if job_id is not None:
            self.ids[draft_id(job_id)] = given.place
        for stage, request in self._reviewed(given):
            if request is not None and job_id is not None:
                name, draft = stage.id_of(job_id), stage.draft_of(job_id)
                own = plain and name == job_id
                self._add_takes(stage.given, request, name, takes, tags, plain=own, draft=draft)

    def _request(self, given: Given, stage: Stage | None = None) -> Request | None:
        """The request of a job or of its draft or final; None after an error."""
        request, problems = self.requests.build(given.values, given.defaults, given.form)
        if problems.errors or problems.warnings:
            given.origin.report(stage.placed(problems) if stage else problems)
        if request is not None and request.waiting and problems.errors:
            self.broken.append((request, given.origin))
        return None if problems.errors else request

    def _reviewed(self, given: Given) -> list[tuple[Stage, Request | None]]:
        """Draft and final; the final alone where the top's `review:` makes no difference to it."""
        draft, final = ((each, self._request(each.given, each)) for each in stages(given))
        if not same_render(draft[1], final[1]):
            return [draft, final]
        if "review" not in given.defaults:
            message = "draft and final are the same render, so there would be nothing to decide"
            hint = "let them differ, as in {draft: {tier: standard}, final: {tier: pro}}"
            given.origin.error(("review",), message, "same-render", hint)
        return [(final[0]._replace(name=""), final[1])]

    def _add_takes(
        self,
        given: Given,
        request: Request,
        job_id: str,
        takes: int,
        tags: tuple[str, ...],
        *,
        plain: bool,
        draft: str = "",
    ) -> None:
        endpoint_id, endpoint, arguments, (estimate, note), waiting, _ = request
        model, mode, tier = (
            (endpoint.model, endpoint.mode, endpoint.tier) if endpoint else ("", "", "")
        )
        renditions = None if given.renditions is UNSAID else self._renditions(given, mode)
        for take in range(1, takes + 1):
            key = UNRESOLVED if waiting else _key(request, take, given)
            if key is None:
                return
            which = (self.batch, model, mode, tier, take)
            path = self._path(given, which, job_id, plain=plain)
            if path is None:
                continue
            # In the order of the fields: naming sixteen of them takes five times as long.
            job = Job(
                key,
                endpoint_id,
                arguments,
                take,
                job_id,
                self.batch,
                mode,
                tier,
                path,
                estimate,
                note,
                given.place,
                tags,
                given.entry.index,
                draft,
                renditions,
            )
            self._claim_path(job, given)
            if waiting:
                self.waiting[len(self.jobs)] = given.origin
            self.jobs.append(job)

    def _path(self, given: Given, which: Which, job_id: str, *, plain: bool) -> str | None:
        """The path of a job; None after an error."""
        if plain and (path := self.path.of_plain_id(which, job_id)) is not None:
            return path
        batch, model, mode, tier, take = which
        try:
            return self.path.fill(
                batch=batch,
                model=model,
                mode=mode,
                tier=tier,
                job=job_id,
                take=take,
                scope=given.scope,
            )
        except InvalidValue as error:
            given.origin.error((), error.message, "unsafe-path", "change `path:` or the id")
            return None

    def _renditions(self, given: Given, mode: str) -> tuple[str, ...]:
        """The recipes that a job names, checked."""
        names = _read(fields.rendition_names, "renditions", given.renditions, given) or ()
        # Renders of an endpoint that the catalogue does not know may be anything.
        media = Media.IMAGE if mode.endswith("-to-image") else Media.VIDEO
        for name in names:
            recipe = self.recipes.get(name)
            if recipe is None:
                message = f"there is no rendition `{name}`"
                hint = nearest(name, self.recipes) or "declare it under `renditions:` at the top"
                given.origin.error(("renditions",), message, "unknown-rendition", hint)
            elif mode and not recipe.takes(media):
                message = f"the rendition `{name}` cannot be made of the {media} that {mode} gives"
                given.origin.error(("renditions",), message, "wrong-rendition")
        return names

    def _id(self, given: Given, plain: bool) -> str | None:
        value, place = given.id, given.place
        if value is None:
            hint = "give the job a name: `id: hero-clip`, with a column in it for rows"
            given.origin.error((), "`id` is missing", "missing", hint)
            return None
        job_id: str | None = value if plain else _unusual_id(value, given)
        if job_id is None:
            return None
        if not plain and is_draft_id(job_id):
            message = f"`{DRAFT_SUFFIX}` ends the ids of drafts, which `review:` makes"
            given.origin.error(("id",), message, "wrong-id", "give it another id")
            return None
        first = self.ids.setdefault(job_id, place)
        if not plain and not job_id.isascii() and self._written.setdefault(job_id, value) != value:
            message = f"`{job_id}` would land in the same file as the job of {first}"
            hint = "it is the same id, in another Unicode form; give it another one"
            given.origin.error((), message, "path-collision", hint)
            return None
        if first is not place:
            hint = given.entry.hint_for_duplicate(job_id)
            given.origin.error(
                ("id",), f"the id `{job_id}` is taken by {first}", "duplicate-id", hint
            )
            return None
        return job_id

    def _claim_path(self, job: Job, given: Given) -> None:
        """Two jobs never share a file, not even on a disk that ignores case."""
        if message := self.files.claim(job):
            hint = "change `path:` or the id; capitals do not count"
            given.origin.error((), message, "path-collision", hint)


def _unusual_id(value: JSON, given: Given) -> str | None:
    try:
        job_id = normalize("NFC", fields.text(value))
    except InvalidValue as error:
        given.origin.error(("id",), f"`id` {error}", "wrong-type")
        return None
    if why := problem_of_id(job_id):
        hint = "use letters, digits, - and _"
        given.origin.error(("id",), f"{why}: `{job_id[:60]}`", "wrong-id", hint)
        return None
    return job_id


def key_of(endpoint: str, arguments: Arguments, take: int, origin: Origin) -> JobKey | None:
    """The key of one take of a job, or None after an error."""
    try:
        return job_key(endpoint, arguments, take)
    except NOT_JSON as error:
        origin.error((), f"cannot be sent as JSON: {error}", "not-json")
        return None


def _key(request: Request, take: int, given: Given) -> JobKey | None:
    """As `key_of`, and shorter where a request like this one has been seen."""
    keys = request.keys
    if keys is None or not keys.fits(prompt := request.arguments["prompt"]):
        return key_of(request.endpoint_id, request.arguments, take, given.origin)
    return keys.key(prompt, take)


def _read(read: Callable[[JSON], T], name: str, value: JSON, given: Given) -> T | None:
    try:
        return read(value)
    except InvalidValue as error:
        given.origin.error((name,), f"`{name}`: {error}", "wrong-value")
        return None


MOST_COMBINATIONS = 1_000_000

Combination = dict[str, JSON]


def combinations(
    matrix: Mapping[str, JSON], rendered: Mapping[str, JSON]
) -> tuple[list[Combination], Collector]:
    """All combinations of a matrix in order; `rendered` are its values, templates filled in.

    A later `include` may overwrite what an earlier one added, never a value of the lists.
    """
    lists = {name: rendered[name] for name in matrix if name not in ("include", "exclude")}
    problems = Collector()
    _check_excluded(matrix, rendered, problems)
    count = prod(len(values) for values in lists.values())
    if count > MOST_COMBINATIONS:
        message = f"{count:,} combinations; at most {MOST_COMBINATIONS:,}"
        problems.error((), message, "too-large", "put them into a table")
        return [], problems
    kept = [
        combination
        for values in product(*lists.values())
        if not _excluded(combination := dict(zip(lists, values, strict=True)), rendered)
    ]
    if not lists:
        kept = []
    result = _included(kept, lists, rendered.get("include", ()))
    if not result and not problems.errors:
        problems.error(("exclude",), "leaves no combination at all", "empty")
    return result, problems


def _excluded(combination: Combination, rendered: Mapping[str, JSON]) -> bool:
    return any(
        all(name in combination and _same(combination[name], each) for name, each in entry.items())
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
            if all(_same(combination[name], each) for name, each in entry.items() if name in lists)
        ]
        for n in fits:
            extended[n] |= {name: each for name, each in entry.items() if name not in lists}
        if not fits:
            alone.append(dict(entry))
    return extended + alone


def _same(one: JSON, other: JSON) -> bool:
    """Whether two values of a matrix are the same; a number is the text of its digits."""
    if isinstance(one, str) is isinstance(other, str):
        return _equal(one, other)
    number = other if isinstance(one, str) else one
    whole_or_not = isinstance(number, int | float) and not isinstance(number, bool)
    return whole_or_not and str(one) == str(other)


def _equal(one: JSON, other: JSON) -> bool:
    """Whether two values are equal; to Python 1 is equal to `true`, and 0 to `false`."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _check_excluded(
    matrix: Mapping[str, JSON], rendered: Mapping[str, JSON], problems: Collector
) -> None:
    """Report what leaves out nothing, as nobody writes it on purpose: it would be paid for.

    Where the list or the value is a template, another run may have the value.
    """
    lists = {name for name in matrix if name not in ("include", "exclude")}
    for n, entry in enumerate(matrix.get("exclude", ())):
        for name, value in entry.items():
            where: ArgumentPath = ("exclude", n, name)
            if name not in lists:
                message = f"`exclude` names `{name}`, which the matrix does not have"
                problems.error(where, message, "unknown-key", nearest(name, lists))
                continue
            written, values = matrix[name], rendered[name]
            plain = written == values and rendered["exclude"][n].get(name) == value
            if plain and not any(_same(each, value) for each in values):
                message = f"`exclude` leaves out nothing: no `{name}` is {show(value)}"
                hint = nearest(str(value), map(str, values))
                problems.error(where, message, "unknown-value", hint)
