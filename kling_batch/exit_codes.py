"""Exit codes of every command, and what each means.

A module of its own, because `--help` prints them and imports nothing else. Must not import anything
of this package.
"""

from __future__ import annotations

from enum import IntEnum


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
