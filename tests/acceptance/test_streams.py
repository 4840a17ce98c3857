"""Standard streams that are closed before the start, or whose reader leaves."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.cli import ONE, Workspace
from support.process import environment

pytestmark = pytest.mark.acceptance


def shell(workspace: Workspace, words: str) -> subprocess.CompletedProcess[str]:
    script = f'"$0" -m kling_batch {words}'
    return subprocess.run(
        ["bash", "-c", script, sys.executable],
        cwd=workspace.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_before_the_start_keep_nothing_from_working(
    workspace: Workspace, closed: str
) -> None:
    done = shell(workspace, f"run workspace.yaml --emulator-url {workspace.url} {closed}")

    assert done.returncode == 0, done.stderr
    assert workspace.pictures() == ["one.png", "two.png"]
    assert "everything fits" in workspace.invoke("verify")


def test_a_reader_that_has_left_is_no_error_of_a_report(workspace: Workspace) -> None:
    workspace.put(ONE + "".join(f"  - {{id: j{n}, prompt: p{n}}}\n" for n in range(40)))
    workspace.run("--rate", "100/s")

    done = shell(workspace, "list | head -1; exit ${PIPESTATUS[0]}")
    gone = shell(workspace, "list >&1 | true; exit ${PIPESTATUS[0]}")

    assert (done.returncode, gone.returncode) == (0, 0), done.stderr + gone.stderr
    assert "Traceback" not in done.stderr + gone.stderr


@pytest.mark.parametrize("words", ["--json >/dev/full", "--log-file /dev/full"])
def test_what_a_full_disk_cuts_off_is_told_and_ends_no_run(
    workspace: Workspace, words: str
) -> None:
    done = shell(workspace, f"run workspace.yaml --emulator-url {workspace.url} {words}")

    assert done.returncode == 0, done.stderr
    name = words.rsplit(maxsplit=1)[-1].lstrip(">") if "log" in words else "standard output"
    assert f"warning: {name} is cut off: No space left on device; the ledger has all" in done.stderr
    assert len(workspace.charges()) == 2
    assert workspace.pictures() == ["one.png", "two.png"]
