"""Exceptions with their exit codes, and `Problem`, an error or warning about a manifest.

Outcomes of single jobs are values (`core/outcomes.py`); an exception here means that the command
cannot go on. Must not import anything of this package.

    KlingBatchError            1   anything explained without a traceback
    ├── UsageError             2   the command line asks for something impossible
    ├── ManifestError          2   every problem of the manifest, each with its place
    ├── AuthError              3   the key is missing or refused
    ├── BudgetError            4   the cap, the credits or an account lock stops the run
    ├── LedgerError            7   locked, damaged, or newer than the program
    └── PlanDriftError         8   the plan handed in no longer fits
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

ArgumentPath: TypeAlias = tuple[str | int, ...]
"""Names and indexes that lead to a value: `("elements", 0, "video_url")`."""


class ExitCode(IntEnum):
    """The exit codes of every command; the table of README.md is generated from this."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    AUTH = 3
    BUDGET = 4
    IN_DOUBT = 5
    STILL_RUNNING = 6
    LEDGER = 7
    PLAN_DRIFT = 8
    INTERRUPTED = 130
    TERMINATED = 143


#: What each code means, as the help text and the documents say it.
EXIT_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "all done, or nothing to do",
    ExitCode.SOME_FAILED: "finished, some jobs failed",
    ExitCode.USAGE: "usage or manifest error",
    ExitCode.AUTH: "key missing or refused",
    ExitCode.BUDGET: "stopped by budget, credits or account lock",
    ExitCode.IN_DOUBT: "some submissions are in doubt: a person must look",
    ExitCode.STILL_RUNNING: "still running remotely (--timeout, --detach)",
    ExitCode.LEDGER: "ledger locked by another run, damaged, or newer than the program",
    ExitCode.PLAN_DRIFT: "the plan handed in no longer fits",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.TERMINATED: "terminated (SIGTERM)",
}

#: Where several codes hold, the one that needs a person most comes first
#: (docs/exit-codes.md#priority).
EXIT_PRIORITY: tuple[ExitCode, ...] = (
    ExitCode.AUTH,
    ExitCode.BUDGET,
    ExitCode.LEDGER,
    ExitCode.PLAN_DRIFT,
    ExitCode.IN_DOUBT,
    ExitCode.STILL_RUNNING,
    ExitCode.SOME_FAILED,
)


class KlingBatchError(Exception):
    """Anything we can explain without a traceback."""

    exit_code = ExitCode.SOME_FAILED


class UsageError(KlingBatchError):
    """The command line or its environment asks for something impossible."""

    exit_code = ExitCode.USAGE


class Place(NamedTuple):
    """A position in a file; lines and columns count from 1, 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0
    #: For a cell of a table, the name of its column: `products.csv:17: column title`.
    cell: str = ""

    def __str__(self) -> str:
        if self.cell:
            return f"{self.file}:{self.line}: column {self.cell}"
        if self.line and self.column:
            return f"{self.file}:{self.line}:{self.column}"
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One error or warning about a manifest.

    Code that does not know where the manifest says something names the value by its `path`
    (`Problem.about`); the caller that knows adds the place (`at`).
    """

    place: Place
    message: str
    #: Stable identifier for machines (`unknown-parameter`, `wrong-value`, …).
    code: str = "invalid"
    #: What to type instead, where it is known.
    hint: str = ""
    #: The value within a job's arguments, while the place is not known.
    path: ArgumentPath = ()

    @classmethod
    def about(cls, path: ArgumentPath, message: str, code: str, hint: str = "") -> Problem:
        """A problem of the value at `path`, its place still unknown."""
        return cls(Place(""), message, code, hint, path)

    def at(self, place: Place) -> Problem:
        """The same problem, reported at a place."""
        return Problem(place, self.message, self.code, self.hint)

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ManifestError(KlingBatchError):
    """Every problem of a manifest at once; nothing was sent and nothing was paid."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class AuthError(KlingBatchError):
    """The key is missing or fal refuses it; no job is marked failed for it."""

    exit_code = ExitCode.AUTH


class BudgetError(KlingBatchError):
    """The cap, the credits or an account lock forbids another submission."""

    exit_code = ExitCode.BUDGET


class LedgerError(KlingBatchError):
    """The ledger is locked by another run, damaged, or newer than the program."""

    exit_code = ExitCode.LEDGER


class PlanDriftError(KlingBatchError):
    """The manifest, the prices or the ledger moved since the plan was made."""

    exit_code = ExitCode.PLAN_DRIFT
