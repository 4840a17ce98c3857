"""`review:` of a manifest: the values of a job become those of its draft and of its final.

The draft is a job of its own, `id~draft`; the final keeps the id, so that other jobs' `{job: id}`
mean the final. Must not build requests or know verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from kling_batch.catalog.parameters import from_json
from kling_batch.core.diagnostics import Collector
from kling_batch.core.jobs import JSON, draft_id
from kling_batch.errors import Problem
from kling_batch.manifest.entry import Given
from kling_batch.manifest.request import Request

DRAFT, FINAL = "draft", "final"


class Stage(NamedTuple):
    """One of the two jobs that a reviewed job is."""

    given: Given
    #: `draft` or `final`; empty for a final without a draft.
    name: str
    #: The names of the values that `review:` sets for it.
    own: frozenset[str]

    def id_of(self, job_id: str) -> str:
        """The id of this stage's job."""
        return draft_id(job_id) if self.name == DRAFT else job_id

    def draft_of(self, job_id: str) -> str:
        """The id of the drafts of this stage's job; empty where it needs none."""
        return draft_id(job_id) if self.name == FINAL else ""

    def placed(self, problems: Collector) -> Collector:
        """The problems of its request, under the paths where the values were written."""
        if not problems.errors and not problems.warnings:
            return problems
        found = Collector()
        found.errors = [self._placed(problem) for problem in problems.errors]
        found.warnings = [self._placed(problem) for problem in problems.warnings]
        return found

    def _placed(self, problem: Problem) -> Problem:
        if not problem.path or problem.path[0] not in self.own:
            return problem
        return replace(problem, path=("review", self.name, *problem.path))


def stages(given: Given) -> list[Stage]:
    """The draft and the final of a job with `review:`."""
    review = given.review or {}
    return [_stage(given, name, review.get(name) or {}) for name in (DRAFT, FINAL)]


def _stage(given: Given, name: str, overlay: Mapping[str, JSON]) -> Stage:
    values = {**given.values, **overlay}
    shared_params = from_json(given.values.get("params"), "{")  # a cell is text
    own_params = overlay.get("params")
    if isinstance(shared_params, Mapping) and isinstance(own_params, Mapping):
        values["params"] = {**shared_params, **own_params}
    # What the top of the manifest says applies to modes that have it, as `defaults:` do.
    shared = frozenset(overlay) if "review" in given.defaults else frozenset[str]()
    defaults = given.defaults - overlay.keys() | shared
    form = (name, given.form)
    return Stage(
        given._replace(values=values, defaults=defaults, form=form), name, frozenset(overlay)
    )


def same_render(first: Request | None, second: Request | None) -> bool:
    """Whether two requests are one paid thing."""
    if first is None or second is None:
        return False
    return (first.endpoint_id, first.arguments) == (second.endpoint_id, second.arguments)
