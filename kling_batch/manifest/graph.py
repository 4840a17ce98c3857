"""Jobs that need other jobs: references checked, keys and prices added, parents put first.

A child's key is made of its parents' keys, so it is known before anything is rendered. Must not
read files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from kling_batch.catalog import registry as catalog
from kling_batch.catalog.parameters import Parameter
from kling_batch.catalog.registry import Endpoint
from kling_batch.core.diagnostics import nearest
from kling_batch.core.jobs import JSON, Arguments, Job, OutputOf, leaves, parents
from kling_batch.errors import ArgumentPath, Place
from kling_batch.manifest.entry import Origin
from kling_batch.manifest.expand import Expansion, key_of, outputs_of

_Name = tuple[str, int]
#: 5 s of video are 121 frames: a clip is about a frame longer than it was ordered.
_FRAME = 0.05
_MOST_SUGGESTIONS = 50


def resolve(expansion: Expansion) -> tuple[Job, ...]:
    """Every job with its key, parents first and otherwise in the manifest's order.

    A job about which there is a complaint is left out.
    """
    if not expansion.waiting and not expansion.broken:
        return tuple(expansion.jobs)
    graph = _Graph(expansion.jobs, expansion.waiting, expansion.ids)
    jobs = graph.jobs()
    for request, origin in expansion.broken:
        # It has a complaint already; its references may deserve another one.
        _Filled(graph, origin).arguments(request.endpoint, request.arguments)
    return jobs


class _Graph:
    def __init__(
        self, jobs: Sequence[Job], waiting: Mapping[int, Origin], ids: Mapping[str, Place]
    ) -> None:
        self._jobs = {(job.id, job.take): job for job in jobs}
        self._origins = {(jobs[n].id, jobs[n].take): origin for n, origin in waiting.items()}
        self._takes: dict[str, int] = {}
        for job in jobs:
            self._takes[job.id] = max(job.take, self._takes.get(job.id, 0))
        self._ids = ids
        self._suggestions: dict[str, str] = {}
        #: In the order in which they were finished: parents first. None is a job that failed.
        self._done: dict[_Name, Job | None] = {}

    def jobs(self) -> tuple[Job, ...]:
        """All that can be had."""
        for name in self._jobs:
            self._finish(name)
        return tuple(job for job in self._done.values() if job is not None)

    def _finish(self, name: _Name) -> None:
        """Finish a job after its parents; without recursion, since chains may be long."""
        path: dict[_Name, Iterator[_Name]] = {}
        if name not in self._done:
            path[name] = self._parents_of(name)
        while path:
            child = next(reversed(path))
            parent = next((each for each in path[child] if each not in self._done), None)
            if parent is None:
                self._done[child] = self._complete(child)
                del path[child]
            elif parent in path:
                self._complain_circle([*path], parent)
                path.clear()
            else:
                path[parent] = self._parents_of(parent)

    def _parents_of(self, name: _Name) -> Iterator[_Name]:
        if name not in self._origins:
            return iter(())
        needs = [(need.job_id, need.take) for need in parents(self._jobs[name].arguments)]
        return iter([need for need in needs if need in self._jobs])

    def _complain_circle(self, path: list[_Name], parent: _Name) -> None:
        circle = path[path.index(parent) :]
        chain = " → ".join(job_id for job_id, _ in [*circle, parent])
        for name in path:
            self._done[name] = None
        job = self._jobs[parent]
        following = circle[1][0] if len(circle) > 1 else parent[0]
        where = (_name_of(job.arguments, following),) if job.mode else ()
        self._origins[parent].error(where, f"jobs need each other in a circle: {chain}", "circle")

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
        source = filled.source
        if endpoint is None or source is None or "duration" in endpoint.by_name:
            return priced
        price = catalog.estimate(endpoint, arguments, source)
        note = "as long as its source, about"
        return priced._replace(estimate=price.micro, estimate_note=note)

    def parent(self, need: OutputOf) -> Job | tuple[str, str] | None:
        """The job that makes an output, or why there is none and a hint.

        None where that job has a complaint of its own.
        """
        name = (need.job_id, need.take)
        if name in self._jobs:
            return self._done.get(name)
        if takes := self._takes.get(need.job_id):
            number = "one take" if takes == 1 else f"{takes} takes"
            return f"`{need.job_id}` has {number}; there is no take {need.take}", ""
        if need.job_id in self._ids:
            return None
        return f"there is no job `{need.job_id}`", self._suggestion(need.job_id)

    def _suggestion(self, job_id: str) -> str:
        if job_id not in self._suggestions and len(self._suggestions) < _MOST_SUGGESTIONS:
            # Comparing with all of 100,000 ids takes a second.
            alike = islice((each for each in self._ids if each[:1] == job_id[:1]), 2000)
            self._suggestions[job_id] = nearest(job_id, alike)
        return self._suggestions.get(job_id) or "a job that its `when:` leaves out does not count"


class _Filled:
    """Puts the parents' keys into the references of one job."""

    def __init__(self, graph: _Graph, origin: Origin) -> None:
        self.failed = False
        #: Seconds of the source clip, as far as a parent tells.
        self.source: float | None = None
        self._graph = graph
        self._origin = origin

    def arguments(self, endpoint: Endpoint | None, written: Arguments) -> dict[str, JSON]:
        """All of a request's arguments; what the catalogue does not know is looked through too."""
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
        if made is not None and parameter.media not in ("", made.output):
            wanted = f"`{parameter.name}` wants {parameter.media}"
            message = f"{wanted}, but `{parent.id}` makes {made.output}"
            self._complain(path, message, "wrong-output")
        if made is not None and path == ("video_url",) and "duration" in parent.arguments:
            self.source = int(parent.arguments["duration"]) + _FRAME
        return replace(value, key=parent.key)

    def walk(self, value: JSON, path: ArgumentPath) -> JSON:
        """Any part of a raw input."""
        if isinstance(value, Mapping):
            return {name: self.walk(each, (*path, name)) for name, each in value.items()}
        if isinstance(value, list):
            return [self.walk(each, (*path, n)) for n, each in enumerate(value)]
        if isinstance(value, OutputOf) and not value.key:
            parent = self._parent(value, path)
            return value if parent is None else replace(value, key=parent.key)
        return value

    def _parent(self, need: OutputOf, path: ArgumentPath) -> Job | None:
        parent = self._graph.parent(need)
        if isinstance(parent, Job):
            most = outputs_of(parent)
            if need.index < most:
                return parent
            files = "one file" if most == 1 else f"{most} files"
            message = f"`{parent.id}` makes {files}; there is no output {need.index + 1}"
            self._complain(path, message, "unknown-output")
        elif parent is None:
            self.failed = True
        else:
            message, hint = parent
            self._complain(path, message, "unknown-job", hint)
        return None

    def _complain(self, path: ArgumentPath, message: str, code: str, hint: str = "") -> None:
        self.failed = True
        self._origin.error(path, message, code, hint)


def _name_of(arguments: Arguments, job_id: str) -> str:
    """The argument that needs a job."""
    for name, value in arguments.items():
        if any(isinstance(leaf, OutputOf) and leaf.job_id == job_id for leaf in leaves(value)):
            return name
    return ""
