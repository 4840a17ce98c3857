"""Exceptions with their exit codes, and `Problem`, an error or warning about a manifest.

Outcomes of single jobs are values (`core/outcomes.py`); an exception here means that the command
cannot go on. Must not import anything of this package but the codes.

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
from typing import ClassVar, NamedTuple, TypeAlias

from kling_batch.exit_codes import EXIT_MEANINGS, EXIT_PRIORITY, ExitCode

__all__ = [
    "EXIT_MEANINGS",
    "EXIT_PRIORITY",
    "ArgumentPath",
    "AuthError",
    "BudgetError",
    "ExitCode",
    "KlingBatchError",
    "LedgerError",
    "ManifestError",
    "Place",
    "PlanDriftError",
    "Problem",
    "Terminated",
    "UsageError",
    "exit_code_of",
]

ArgumentPath: TypeAlias = tuple[str | int, ...]
"""Names and indexes that lead to a value: `("elements", 0, "video_url")`."""


class KlingBatchError(Exception):
    """Anything we can explain without a traceback."""

    exit_code = ExitCode.SOME_FAILED
    #: Stable name for programs (docs/events.md): add, never rename.
    code: ClassVar[str] = "failed"
    #: What to type next, where the message does not say it.
    hint: ClassVar[str] = ""


class UsageError(KlingBatchError):
    """The command line or its environment asks for something impossible."""

    exit_code = ExitCode.USAGE
    code = "usage"


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
    code = "manifest"
    hint = "kling-batch validate MANIFEST"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class AuthError(KlingBatchError):
    """The key is missing or fal refuses it; no job is marked failed for it."""

    exit_code = ExitCode.AUTH
    code = "key"
    hint = "kling-batch doctor"


class BudgetError(KlingBatchError):
    """The cap, the credits or an account lock forbids another submission."""

    exit_code = ExitCode.BUDGET
    code = "budget"


class LedgerError(KlingBatchError):
    """The ledger is locked by another run, damaged, or newer than the program."""

    exit_code = ExitCode.LEDGER
    code = "ledger"
    hint = "kling-batch doctor"


class PlanDriftError(KlingBatchError):
    """The manifest, the prices or the ledger moved since the plan was made."""

    exit_code = ExitCode.PLAN_DRIFT
    code = "plan_drift"
    hint = "kling-batch plan MANIFEST --save FILE"


class Terminated(KeyboardInterrupt):
    """SIGTERM, outside an event loop: it ends a command as Ctrl-C does, with its own exit code.

    A `KeyboardInterrupt`, because event loops let only that pass at once.
    """


def exit_code_of(error: BaseException) -> ExitCode:
    """Exit code of what ends with this error; what is no `Exception` interrupts it."""
    if isinstance(error, KlingBatchError):
        return error.exit_code
    if isinstance(error, Terminated):
        return ExitCode.TERMINATED
    return ExitCode.SOME_FAILED if isinstance(error, Exception) else ExitCode.INTERRUPTED
