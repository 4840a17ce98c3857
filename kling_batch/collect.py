"""Every problem of a load in one pile: sorted by place, none twice, a flood cut short.

Must not decide what is a problem.
"""

from __future__ import annotations

from collections import Counter

from kling_batch.errors import ManifestError, Place, Problem
from kling_batch.parameters import Complaint

#: A wrong column of 100,000 rows is one mistake; a person reads the first few of it.
_MOST_ALIKE = 50


class Collector:
    """Errors and warnings as they are found."""

    def __init__(self) -> None:
        self.warnings: list[Problem] = []
        self._errors: list[Problem] = []
        self._seen: set[Problem] = set()
        self._alike: Counter[tuple[str, str, str]] = Counter()
        self._last: dict[tuple[str, str, str], Problem] = {}

    def __bool__(self) -> bool:
        """Whether there is any error."""
        return bool(self._errors)

    def error(self, place: Place, message: str, code: str = "invalid", hint: str = "") -> None:
        """Note what forbids the batch."""
        self.add(Problem(place, message, code, hint))

    def add(self, problem: Problem) -> None:
        """Note an error that is put into words already; the same one twice is one."""
        if problem in self._seen:
            return
        kind = _kind(problem)
        self._alike[kind] += 1
        if self._alike[kind] <= _MOST_ALIKE:
            self._errors.append(problem)
            self._seen.add(problem)
        self._last[kind] = problem

    def warn(self, place: Place, message: str, code: str, hint: str = "") -> None:
        """Note what is doubtful but allowed."""
        problem = Problem(place, message, code, hint)
        kind = ("warning", *_kind(problem)[1:])
        self._alike[kind] += 1
        if self._alike[kind] <= _MOST_ALIKE:
            self.warnings.append(problem)

    def complain(self, place: Place, complaint: Complaint) -> None:
        """Note a complaint of the catalogue."""
        self.error(place, complaint.message, complaint.code, complaint.hint)

    def problems(self) -> tuple[Problem, ...]:
        """All errors by place; each flood ends with how many more there are."""
        more = []
        for kind, count in self._alike.items():
            if kind[0] != "warning" and count > _MOST_ALIKE:
                last = self._last[kind]
                left = f"and {count - _MOST_ALIKE:,} more like this; the last: {last.message}"
                more.append(Problem(last.place, left, last.code, last.hint))
        return tuple(sorted([*self._errors, *more], key=by_place))

    def check(self) -> None:
        """Raise everything that was found, if anything was."""
        if self._errors:
            raise ManifestError(self.problems())


def by_place(problem: Problem) -> tuple[str, int, int, str]:
    """Sort key: file, line, column."""
    place = problem.place
    return place.file, place.line, place.column, place.cell


def _kind(problem: Problem) -> tuple[str, str, str]:
    return problem.place.file, problem.place.cell, problem.code
