"""Dependencies between jobs: references checked, keys and prices added, parents put first.

A child's key is made from its parents' keys, so it is known before anything is rendered. Must not
read files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from itertools import islice

from kling_batch.catalog import registry as catalog
from kling_batch.catalog.parameter import Parameter, media_taken
from kling_batch.catalog.registry import Endpoint
from kling_batch.core.diagnostics import nearest
from kling_batch.core.jobs import (
    JSON,
    PICKED,
    Arguments,
    Job,
    LocalFile,
    OutputOf,
    leaves,
    parents,
    unpicked_key,
)
from kling_batch.errors import ArgumentPath, Problem
from kling_batch.manifest.entry import Origin
from kling_batch.manifest.expand import Expansion, key_of
from kling_batch.manifest.file_names import outputs_of
from kling_batch.manifest.media import seconds_of

_Name = tuple[str, int]
#: 5 s of video are 121 frames: a clip is about a frame longer than it was ordered.
_FRAME = 0.05
_AS_LONG = "as long as its source, about"
_MOST_SUGGESTIONS = 50
#: Each further circle costs another sort of the jobs that are left.
_MOST_CIRCLES = 20


def resolve(expansion: Expansion) -> tuple[Job, ...]:
    """Every job with its key, parents first and otherwise in the manifest's order.

    A job with an error is left out.
    """
    if not expansion.waiting and not expansion.broken:
        return tuple(expansion.jobs)
    graph = _Graph(expansion)
    jobs = graph.jobs()
    for request, origin in expansion.broken:
        # It is left out anyway, but an unknown reference in it is reported too.
        _Filled(graph, origin).arguments(request.endpoint, request.arguments)
    return jobs


class _Graph:
    def __init__(self, expansion: Expansion) -> None:
        jobs, waiting = expansion.jobs, expansion.waiting
        self._jobs = {(job.id, job.take): job for job in jobs}
        self._position = {name: n for n, name in enumerate(self._jobs)}
        self._origins = {(jobs[n].id, jobs[n].take): origin for n, origin in waiting.items()}
        self._takes: dict[str, int] = {}
        for job in jobs:
            self._takes[job.id] = max(job.take, self._takes.get(job.id, 0))
        self._ids = expansion.ids
        self._expansion = expansion
        self._suggestions: dict[str, str] = {}
        #: In the order in which they were completed: parents first. None is a job with an error.
        self._done: dict[_Name, Job | None] = {}

    def jobs(self) -> tuple[Job, ...]:
        """All jobs without an error."""
        needs = {name: self._needs(name) for name in self._jobs}
        sorter = TopologicalSorter(needs)
        try:
            sorter.prepare()
        except CycleError as error:
            self._report_circles(needs, error.args[1])
        # Of the jobs whose parents are done, the first of the manifest comes first. Jobs in a
        # circle, and those behind one, never become ready.
        ready: list[tuple[int, _Name]] = []
        while sorter.is_active():
            for name in sorter.get_ready():
                heappush(ready, (self._position[name], name))
            _, name = heappop(ready)
            self._done[name] = self._complete(name)
            sorter.done(name)
        return tuple(job for job in self._done.values() if job is not None)

    def _needs(self, name: _Name) -> list[_Name]:
        if name not in self._origins:
            return []
        needs = [
            each for need in parents(self._jobs[name].arguments) for each in self._takes_of(need)
        ]
        return [need for need in needs if need in self._jobs]

    def _takes_of(self, need: OutputOf) -> list[_Name]:
        """The take that a reference names; of a picked one, every take that may be it."""
        if need.take != PICKED:
            return [(need.job_id, need.take)]
        return [(need.job_id, take + 1) for take in range(self._takes.get(need.job_id, 0))]

    def _report_circles(self, needs: Mapping[_Name, list[_Name]], circle: list[_Name]) -> None:
        """Report this circle and the others, each without the jobs of those before it."""
        left = dict(needs)
        for _ in range(_MOST_CIRCLES):
            self._report_circle(circle)
            for name in circle:
                left.pop(name, None)
            left = {name: [each for each in left[name] if each in left] for name in left}
            try:
                TopologicalSorter(left).prepare()
            except CycleError as error:
                circle = error.args[1]
            else:
                return

    def _report_circle(self, circle: list[_Name]) -> None:
        # `graphlib` puts a parent before its child, and repeats the first at the end.
        members = circle[:0:-1]
        first = min(range(len(members)), key=lambda n: self._position[members[n]])
        members = [*members[first:], *members[:first]]
        chain = " → ".join(job_id for job_id, _ in [*members, members[0]])
        job = self._jobs[members[0]]
        following = members[1 % len(members)][0]
        where = (_name_of(job.arguments, following),) if job.mode else ()
        message = f"jobs need each other in a circle: {chain}"
        self._origins[members[0]].error(where, message, "circle")

    def _complete(self, name: _Name) -> Job | None:
        job = self._jobs[name]
        if name not in self._origins:
            return job
        origin = self._origins[name]
        filled = _Filled(self, origin)
        endpoint = catalog.by_id(job.endpoint) if job.mode else None
        arguments = filled.arguments(endpoint, job.arguments)
        if filled.failed:
            return None
        key = key_of(job.endpoint, arguments, job.take, origin)
        if key is None:
            return None
        priced = job._replace(arguments=arguments, key=key)
        if endpoint is None or not filled.parents_clips:
            return priced
        price = catalog.estimate(endpoint, arguments, filled.seconds(endpoint, arguments))
        if price == (job.estimate, job.estimate_note):
            return priced
        about = "its clips counted, about" if "duration" in arguments else _AS_LONG
        note = f"{about}; {price.note}" if price.note else about
        return priced._replace(estimate=price.micro, estimate_note=note)

    def parent(self, need: OutputOf) -> Job | tuple[str, str] | None:
        """The job that makes an output, or why there is none and a hint.

        None where that job has an error of its own.
        """
        # All takes are the same request: the first one tells what a picked one makes.
        name = (need.job_id, need.take if need.take != PICKED else 1)
        if name in self._jobs:
            return self._done.get(name)
        if takes := self._takes.get(need.job_id):
            number = "one take" if takes == 1 else f"{takes} takes"
            return f"`{need.job_id}` has {number}; there is no take {need.take}", ""
        if need.job_id in self._ids or need.job_id in self._expansion.failed:
            return None
        if self._expansion.unnamed:
            return None  # it may be one of those jobs
        return f"there is no job `{need.job_id}`", self._suggestion(need.job_id)

    def _suggestion(self, job_id: str) -> str:
        if job_id not in self._suggestions and len(self._suggestions) < _MOST_SUGGESTIONS:
            # Comparing with all of 100,000 ids takes a second.
            alike = islice((each for each in self._ids if each[:1] == job_id[:1]), 2000)
            self._suggestions[job_id] = nearest(job_id, alike)
        return self._suggestions.get(job_id) or "a job that its `when:` leaves out does not count"


class _Filled:
    """Replacement of the references of one job by references with the parents' keys."""

    def __init__(self, graph: _Graph, origin: Origin) -> None:
        self.failed = False
        #: Seconds of the clips that parents make, by the path of the argument.
        self.parents_clips: dict[ArgumentPath, float] = {}
        self._graph = graph
        self._origin = origin

    def arguments(self, endpoint: Endpoint | None, written: Arguments) -> dict[str, JSON]:
        """The arguments of a request; those that the catalogue does not have are searched too."""
        if endpoint is None:
            return {name: self.walk(each, ("input", name)) for name, each in written.items()}
        result = catalog.replace_urls(endpoint, written, self.visit)
        for name in result.keys() - endpoint.by_name.keys():
            result[name] = self.walk(result[name], ("params", name))
        return result

    def visit(self, parameter: Parameter, value: JSON, path: ArgumentPath) -> JSON:
        """A URL of a catalogued endpoint."""
        if not isinstance(value, OutputOf) or value.key:
            return value
        parent = self._parent(value, path)
        if parent is None:
            return value
        made = catalog.by_id(parent.endpoint)
        if made is None and parameter.kind != "url":
            message = f"`{parameter.name}` wants {parameter.media}, which only a known mode makes"
            self._error(path, message, "wrong-output")
        elif made is not None and not media_taken(parameter.media, made.output):
            wanted = f"`{parameter.name}` wants {parameter.media}"
            message = f"{wanted}, but `{parent.id}` makes {made.output}"
            self._error(path, message, "wrong-output")
        if made is not None and (ordered := _length_of(parent, made)) is not None:
            self.parents_clips[path] = ordered + _FRAME
        return _to(value, parent)

    def seconds(self, endpoint: Endpoint, arguments: Arguments) -> dict[ArgumentPath, float]:
        """The lengths of all input clips, local ones included, as far as they are known."""
        known = dict(self.parents_clips)

        def visit(_parameter: Parameter, value: JSON, path: ArgumentPath) -> JSON:
            if isinstance(value, LocalFile) and (found := seconds_of(value)) is not None:
                known[path] = found
            return value

        catalog.replace_urls(endpoint, arguments, visit)
        return known

    def walk(self, value: JSON, path: ArgumentPath) -> JSON:
        """Any part of a raw input."""
        if isinstance(value, Mapping):
            return {name: self.walk(each, (*path, name)) for name, each in value.items()}
        if isinstance(value, list):
            return [self.walk(each, (*path, n)) for n, each in enumerate(value)]
        if isinstance(value, OutputOf) and not value.key:
            parent = self._parent(value, path)
            return value if parent is None else _to(value, parent)
        return value

    def _parent(self, need: OutputOf, path: ArgumentPath) -> Job | None:
        parent = self._graph.parent(need)
        if isinstance(parent, Job):
            most = outputs_of(parent)
            if need.index < most:
                return parent
            files = "one file" if most == 1 else f"{most} files"
            message = f"`{parent.id}` makes {files}; there is no output {need.index + 1}"
            self._error(path, message, "unknown-output")
        elif parent is None:
            self.failed = True
        else:
            message, hint = parent
            self._error(path, message, "unknown-job", hint)
        return None

    def _error(self, path: ArgumentPath, message: str, code: str, hint: str = "") -> None:
        self.failed = True
        self._origin.error(path, message, code, hint)


def _length_of(parent: Job, made: Endpoint) -> int | None:
    """Seconds of the clip that a job makes, as far as its arguments tell."""
    if "duration" not in made.by_name:
        return None
    if not parent.mode and isinstance(catalog.estimate_as_written(made, parent.arguments), Problem):
        return None  # sent as it is written, and nobody knows what fal makes of it
    return catalog.ordered_seconds(parent.arguments)


def _to(need: OutputOf, parent: Job) -> OutputOf:
    """The reference with its parent's key, or with what stands for one until a take is picked."""
    unpicked = need.take == PICKED
    return replace(need, key=unpicked_key(parent.batch, parent.id) if unpicked else parent.key)


def _name_of(arguments: Arguments, job_id: str) -> str:
    """The argument that needs a job."""
    for name, value in arguments.items():
        if any(isinstance(leaf, OutputOf) and leaf.job_id == job_id for leaf in leaves(value)):
            return name
    return ""
