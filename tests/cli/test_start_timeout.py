"""How long fal may take to begin a request: from flag, environment and manifest to fal."""

from __future__ import annotations

import json

import pytest
from support.cli import MANIFEST, Desk, invoke
from support.process import environment

LIMITED = MANIFEST.replace("defaults:", "limits: {start_timeout: 10m}\ndefaults:")


def given(desk: Desk) -> set[float | None]:
    """The seconds that each accepted request was given to begin."""
    return {
        None if request.start_by is None else round(request.start_by - request.accepted_at)
        for request in desk.world.books.accepted
    }


def test_the_manifest_says_it_and_the_plan_shows_it(desk: Desk) -> None:
    desk.put(LIMITED)

    told = desk.say("plan", "desk.yaml")
    desk.run()

    assert "what fal has not begun after 10 min 00 s is given up, unpaid" in told
    assert json.loads(desk.plan("--json"))["start_timeout_seconds"] == 600
    assert given(desk) == {600}


def test_nobody_says_it(desk: Desk) -> None:
    assert "given up" not in desk.say("plan", "desk.yaml")
    desk.run()

    assert given(desk) == {None}


def test_the_environment_outranks_the_manifest_and_the_flag_both(desk: Desk) -> None:
    desk.put(LIMITED)
    env = {**environment(), "KLING_BATCH_START_TIMEOUT": "5m"}
    words = ("run", "desk.yaml", "--emulator-url", desk.url)

    by_environment = invoke(*words, "--only", "one", cwd=desk.folder, env=env)
    assert by_environment.returncode == 0, by_environment.stderr
    assert given(desk) == {300}
    assert "--start-timeout 300s" in desk.last_command()
    invoke(*words, "--start-timeout", "90s", cwd=desk.folder, env=env)
    assert given(desk) == {300, 90}


@pytest.mark.parametrize("length", ["1s", "0", "soon", "2y"])
def test_what_fal_would_not_take_is_refused(desk: Desk, length: str) -> None:
    assert "--start-timeout" in desk.run("--start-timeout", length, code=2)
    desk.put(LIMITED.replace("10m", length))
    assert "desk.yaml:2:" in desk.run(code=2)
    assert desk.prompts() == []
