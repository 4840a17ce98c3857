"""Standard streams that are closed before the start, or whose reader leaves."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.cli import ONE, Desk
from support.process import environment

pytestmark = pytest.mark.acceptance


def shell(desk: Desk, words: str) -> subprocess.CompletedProcess[str]:
    script = f'"$0" -m kling_batch {words}'
    return subprocess.run(
        ["bash", "-c", script, sys.executable],
        cwd=desk.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_before_the_start_keep_nothing_from_working(
    desk: Desk, closed: str
) -> None:
    done = shell(desk, f"run desk.yaml --emulator-url {desk.url} {closed}")

    assert done.returncode == 0, done.stderr
    assert desk.pictures() == ["one.png", "two.png"]
    assert "everything fits" in desk.say("verify")


def test_a_reader_that_has_left_is_no_error_of_a_report(desk: Desk) -> None:
    desk.put(ONE + "".join(f"  - {{id: j{n}, prompt: p{n}}}\n" for n in range(40)))
    desk.run("--rate", "100/s")

    done = shell(desk, "list | head -1; exit ${PIPESTATUS[0]}")
    gone = shell(desk, "list >&1 | true; exit ${PIPESTATUS[0]}")

    assert (done.returncode, gone.returncode) == (0, 0), done.stderr + gone.stderr
    assert "Traceback" not in done.stderr + gone.stderr
