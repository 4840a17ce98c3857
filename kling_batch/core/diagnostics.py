"""Problems of a manifest: the collector, the exception for one wrong value, wording helpers.

Must not decide what is a problem. Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from kling_batch.core.urls import without_signatures
from kling_batch.errors import ArgumentPath, ManifestError, Place, Problem


class InvalidValue(ValueError):  # noqa: N818 - about the manifest, not about the program
    """A value that cannot be used, raised by whoever reads it; the caller reports it.

    The message often continues a sentence that begins with the name of a key.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        code: str = "wrong-value",
        path: ArgumentPath = (),
        suggestion: str = "",
    ) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code
        #: Where inside the value that was read.
        self.path = path
        #: For an unknown variable, the one that was probably meant, and its own name.
        self.suggestion = suggestion
        self.unknown = ""


class Collector:
    """Errors, which forbid a job or the batch, and warnings, in the order they were found."""

    __slots__ = ("errors", "warnings")

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def __bool__(self) -> bool:
        """Whether there is any problem."""
        return bool(self.errors or self.warnings)

    def error(
        self, where: Place | ArgumentPath, message: str, code: str = "invalid", hint: str = ""
    ) -> None:
        """Add an error at a place, or about an argument whose place is not known yet."""
        self.errors.append(_problem(where, message, code, hint))

    def warn(
        self, where: Place | ArgumentPath, message: str, code: str = "invalid", hint: str = ""
    ) -> None:
        """Add a warning at a place, or about an argument whose place is not known yet."""
        self.warnings.append(_problem(where, message, code, hint))

    def check(self) -> None:
        """Raise `ManifestError` with every error, if there is any."""
        if self.errors:
            raise ManifestError(summary(self.errors))


def _problem(where: Place | ArgumentPath, message: str, code: str, hint: str) -> Problem:
    if isinstance(where, Place):
        return Problem(where, message, code, hint)
    return Problem.about(where, message, code, hint)


def fatal(place: Place, message: str, code: str = "invalid", hint: str = "") -> ManifestError:
    """The exception for a single error after which the file cannot be read any further."""
    return ManifestError((Problem(place, message, code, hint),))


#: A wrong column of 100,000 rows is one mistake: only the first few of many equal problems are
#: listed.
_MOST_ALIKE = 50


def summary(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems without duplicates, by place; of many alike the first, and how many more."""
    kept: list[Problem] = []
    counts: Counter[tuple[str, str, str]] = Counter()
    last: dict[tuple[str, str, str], Problem] = {}
    for problem in dict.fromkeys(problems):
        kind = (problem.place.file, problem.place.cell, problem.code)
        counts[kind] += 1
        last[kind] = problem
        if counts[kind] <= _MOST_ALIKE:
            kept.append(problem)
    for kind, count in counts.items():
        if count > _MOST_ALIKE:
            final = last[kind]
            message = f"and {count - _MOST_ALIKE:,} more like this; the last: {final.message}"
            kept.append(Problem(final.place, message, final.code, final.hint))
    return tuple(sorted(kept, key=by_place))


def by_place(problem: Problem) -> tuple[str, int, int, str]:
    """Sort key: file, line, column."""
    place = problem.place
    return place.file, place.line, place.column, place.cell


def nearest(word: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The hint `did you mean …?`, or nothing where no known word is close."""
    close = get_close_matches(str(word)[:100], list(known), n=1, cutoff=cutoff)
    return f"did you mean `{close[0]}`?" if close else ""


def reason(error: Exception) -> str:
    """What an exception of Python says, as part of a sentence for people."""
    text = str(error).split("\n")[0]
    if "sys.set_int_max_str_digits" in text:  # nothing that an author of a manifest could do
        return "it has a number of too many digits"
    return text or type(error).__name__


def show(value: object) -> str:
    """A value as quoted in a message: shortened, unsigned, and close to how it was written."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = without_signatures(value) if isinstance(value, str) else json.dumps(value, default=str)
    text = text if len(text) <= 60 else text[:57] + "…"
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text
