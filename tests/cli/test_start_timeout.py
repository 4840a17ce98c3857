"""How long fal may take to begin a request: from flag, environment and manifest to fal."""

from __future__ import annotations

import json

import pytest
from support.cli import MANIFEST, Workspace, run_command
from support.process import environment

LIMITED = MANIFEST.replace("defaults:", "limits: {start_timeout: 10m}\ndefaults:")


def given(workspace: Workspace) -> set[float | None]:
    """The seconds that each accepted request was given to begin."""
    return {
        None if request.start_by is None else round(request.start_by - request.accepted_at)
        for request in workspace.world.books.accepted
    }


def test_the_manifest_says_it_and_the_plan_shows_it(workspace: Workspace) -> None:
    workspace.put(LIMITED)

    told = workspace.invoke("plan", "workspace.yaml")
    workspace.run()

    assert "what fal has not begun after 10 min 00 s is given up, unpaid" in told
    assert json.loads(workspace.plan("--json"))["start_timeout_seconds"] == 600
    assert given(workspace) == {600}


def test_nobody_says_it(workspace: Workspace) -> None:
    assert "given up" not in workspace.invoke("plan", "workspace.yaml")
    workspace.run()

    assert given(workspace) == {None}


def test_the_environment_outranks_the_manifest_and_the_flag_both(workspace: Workspace) -> None:
    workspace.put(LIMITED)
    env = {**environment(), "KLING_BATCH_START_TIMEOUT": "5m"}
    words = ("run", "workspace.yaml", "--emulator-url", workspace.url)

    by_environment = run_command(*words, "--only", "one", cwd=workspace.folder, env=env)
    assert by_environment.returncode == 0, by_environment.stderr
    assert given(workspace) == {300}
    assert "--start-timeout 300s" in workspace.last_command()
    run_command(*words, "--start-timeout", "90s", cwd=workspace.folder, env=env)
    assert given(workspace) == {300, 90}


@pytest.mark.parametrize("length", ["1s", "0", "soon", "2y"])
def test_what_fal_would_not_take_is_refused(workspace: Workspace, length: str) -> None:
    assert "--start-timeout" in workspace.run("--start-timeout", length, code=2)
    workspace.put(LIMITED.replace("10m", length))
    assert "workspace.yaml:2:" in workspace.run(code=2)
    assert workspace.prompts() == []
