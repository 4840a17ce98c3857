"""Each command once as the installed program; what it does in detail is tested in `tests/cli`."""

from __future__ import annotations

import click
import pytest
from support.books import paid_once
from support.cli import Workspace
from support.process import free_port, run, start, wait_for

from kling_batch.cli.main import cli
from kling_batch.emulator import Fault

#: Exit code and command; what is under way, failed or done is what the later ones need.
STEPS = (
    (0, "init new.yaml"),
    (0, "validate workspace.yaml"),
    (0, "schema"),
    (0, "catalog"),
    (0, "completion bash"),
    (0, "doctor --emulator-url {url}"),
    (0, "compare workspace.yaml"),
    (0, "plan workspace.yaml --save plan.json"),
    (1, "run workspace.yaml --emulator-url {url} --plan plan.json"),
    (0, "why one"),
    (0, "retry one"),
    (2, "resolve one --not-submitted"),
    (0, "run workspace.yaml --emulator-url {url}"),
    (0, "reroll two"),
    (6, "run workspace.yaml --emulator-url {url} --detach"),
    (0, "cancel --all --emulator-url {url}"),
    (2, "adopt one plan.json"),
    (0, "list"),
    (0, "show one"),
    (0, "status"),
    (0, "report"),
    (0, "verify"),
    (0, "renditions workspace.yaml"),
    (0, "gallery"),
    (0, "verdict two pick"),
    (0, "export --picked picked"),
    (0, "generate -p fox --emulator-url {url}"),
    (0, "video -p fox --mode text-to-video --tier standard --emulator-url {url}"),
)


@pytest.mark.acceptance
def test_every_command_runs_as_a_program(workspace: Workspace) -> None:
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error="content_policy_violation", prompt="first", times=1)
    )

    for code, step in STEPS:
        if step.startswith("reroll"):
            paid_once(workspace, 2)
            workspace.world.settings.service_times = {
                "image": 600.0
            }  # there is something to cancel
        if step.startswith("generate"):
            workspace.finish()
        done = run(*step.format(url=workspace.url).split(), cwd=workspace.folder)

        assert done.returncode == code, f"{step}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        assert done.stdout + done.stderr

    typed = {step.partition(" ")[0] for _, step in STEPS}
    assert typed | {"emulator", "mcp", "review"} == set(cli.list_commands(click.Context(cli)))
    assert max(workspace.charges()) <= 2


def test_the_emulator_serves_as_a_program_until_it_is_reported_to_end(workspace: Workspace) -> None:
    port = free_port()
    with start(
        "emulator", "--port", str(port), "--profile", "instant", cwd=workspace.folder
    ) as process:
        wait_for(port, process)
        done = run(
            "run",
            "workspace.yaml",
            "--emulator-url",
            f"http://127.0.0.1:{port}",
            cwd=workspace.folder,
        )
        process.terminate()
        process.communicate(timeout=30)

    assert done.returncode == 0, done.stderr
    assert process.returncode == 0
    assert workspace.pictures() == ["one.png", "two.png"]
