"""Problems found in a manifest: place, message, hint; collected, sorted, a flood cut short.

Must not decide what is a problem. Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from kling_batch.errors import ManifestError, Place, Problem

ArgumentPath = tuple[str | int, ...]


class Complaint(NamedTuple):
    """One thing wrong with the argument at `path`, as `errors.Problem` will say it."""

    path: ArgumentPath
    message: str
    code: str
    hint: str = ""


class Findings:
    """Errors, which forbid the job, and doubts, which only warn."""

    __slots__ = ("doubts", "errors")

    def __init__(self) -> None:
        self.errors: list[Complaint] = []
        self.doubts: list[Complaint] = []

    def error(self, path: ArgumentPath, message: str, code: str, hint: str = "") -> None:
        """Forbid."""
        self.errors.append(Complaint(path, message, code, hint))

    def doubt(self, path: ArgumentPath, message: str, code: str, hint: str = "") -> None:
        """Warn."""
        self.doubts.append(Complaint(path, message, code, hint))


def nearest(word: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`did you mean …?`, or nothing."""
    close = get_close_matches(str(word)[:100], list(known), n=1, cutoff=cutoff)
    return f"did you mean `{close[0]}`?" if close else ""


def show(value: object) -> str:
    """A value as a message quotes it: short, and about as it was written."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text if len(text) <= 60 else text[:57] + "…"
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text


#: A wrong column of 100,000 rows is one mistake; a person reads the first few of it.
_MOST_ALIKE = 50

_Kind = tuple[str, str, str]


class Collector:
    """Errors and warnings as they are found."""

    def __init__(self) -> None:
        self._errors = _Pile()
        self._warnings = _Pile()

    def __bool__(self) -> bool:
        """Whether there is any error."""
        return bool(self._errors.kept)

    def error(self, place: Place, message: str, code: str = "invalid", hint: str = "") -> None:
        """Note what forbids the batch."""
        self._errors.add(Problem(place, message, code, hint))

    def warn(self, place: Place, message: str, code: str, hint: str = "") -> None:
        """Note what is doubtful but allowed."""
        self._warnings.add(Problem(place, message, code, hint))

    def add(self, problem: Problem) -> None:
        """Note an error that is put into words already."""
        self._errors.add(problem)

    def complain(self, place: Place, complaint: Complaint) -> None:
        """Note a complaint of the catalogue."""
        self.error(place, complaint.message, complaint.code, complaint.hint)

    def check(self) -> None:
        """Raise everything that was found, if anything was."""
        if self:
            raise ManifestError(self._errors.sorted())

    def warnings(self) -> tuple[Problem, ...]:
        """Every doubt, by place."""
        return self._warnings.sorted()


class _Pile:
    def __init__(self) -> None:
        #: As an ordered set.
        self.kept: dict[Problem, None] = {}
        self._counts: Counter[_Kind] = Counter()
        self._last: dict[_Kind, Problem] = {}

    def add(self, problem: Problem) -> None:
        if problem in self.kept:
            return
        kind = (problem.place.file, problem.place.cell, problem.code)
        self._counts[kind] += 1
        self._last[kind] = problem
        if self._counts[kind] <= _MOST_ALIKE:
            self.kept[problem] = None

    def sorted(self) -> tuple[Problem, ...]:
        """All by place; each flood ends with how many more there are."""
        more = []
        for kind, count in self._counts.items():
            if count > _MOST_ALIKE:
                last = self._last[kind]
                message = f"and {count - _MOST_ALIKE:,} more like this; the last: {last.message}"
                more.append(Problem(last.place, message, last.code, last.hint))
        return tuple(sorted([*self.kept, *more], key=by_place))


def by_place(problem: Problem) -> tuple[str, int, int, str]:
    """Sort key: file, line, column."""
    place = problem.place
    return place.file, place.line, place.column, place.cell


class FieldError(ValueError):
    """A sentence about a value, to follow the name of its key."""
