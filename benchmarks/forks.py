"""Runs tests once for each mutant, in a fork: they are imported and collected only once.

`python benchmarks/forks.py NAMES RESULTS TESTS…`, in mutmut's folder of mutants, reads names of
mutants, one a line, and appends `NAME<tab>noticed` or `NAME<tab>survived` for each. The first line
is without a name: the code as it is. Must not make mutants.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

#: Seconds after which a mutant counts as noticed: it goes round for ever.
TIMEOUT = 300.0


class Forks:
    """A pytest plugin that takes the place of the loop over the tests."""

    def __init__(self, names: list[str], results: Path) -> None:
        """Nothing has run; `results` gets a line for each name."""
        self._names = names
        self._results = results
        # The process itself is told its mutant: tests of commands clear the environment.
        trampoline = import_module("mutmut.mutation.trampoline")
        self._choose: Callable[[str], None] = trampoline.set_mutant_under_test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests for each mutant; once without any before that."""
        if session.testsfailed:  # they could not be collected
            return True
        for name in ("", *self._names):
            word = "noticed" if self._fails(session, name) else "survived"
            with self._results.open("a", encoding="utf-8") as lines:
                lines.write(f"{name}\t{word}\n")
            if not name and word == "noticed":
                break
        return True

    def _fails(self, session: pytest.Session, name: str) -> bool:
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            os._exit(self._run(session, name))
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status) != 0
            time.sleep(0.01)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return True

    def _run(self, session: pytest.Session, name: str) -> int:
        """In the fork: the tests until one fails; 0 where none does."""
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            if name:  # what fails without a mutant is shown
                os.dup2(silent, 1)
                os.dup2(silent, 2)
            self._choose(name)
            for item, following in zip(session.items, [*session.items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    return 1
        except BaseException:  # noqa: BLE001 - a mutant may break pytest, too
            return 1
        return 0


def main(names: str, results: str, *tests: str) -> int:
    """Exit code of pytest."""
    sys.path.insert(0, ".")
    plugin = Forks(Path(names).read_text(encoding="utf-8").split(), Path(results))
    options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "--rootdir=."]
    return int(pytest.main([*options, *tests], plugins=[plugin]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
