"""A batch that fails again and again is not bought to its end, and never advised to be as it is."""

from __future__ import annotations

import pytest
from support.cli import Workspace

from kling_batch.emulator import Fault

HEAD = "version: 1\ndefaults: {mode: text-to-image}\n"


def write(workspace: Workspace, count: int, limits: str = "", prompt: str = "forbidden") -> None:
    rows = "".join(f"  - {{id: job-{n}, prompt: {prompt} {n}}}\n" for n in range(count))
    workspace.put(f"{HEAD}{limits}jobs:\n{rows}")


def refuse(
    workspace: Workspace, prompt: str = "forbidden", error: str = "content_policy_violation"
) -> None:
    workspace.world.faults.add(Fault(stage="job", what="fail", error=error, prompt=prompt))


@pytest.mark.parametrize(
    ("limits", "words", "sent"),
    [
        ("limits: {max_failures: 5}\n", (), 5),
        ("limits: {max_failures: 20%}\n", (), 8),
        ('limits: {max_failures: "20%"}\n', ("--max-failures", "3"), 3),
        ("", ("--max-failures", "10%"), 4),
    ],
)
def test_buying_stops_after_so_many_failures(
    workspace: Workspace, limits: str, words: tuple[str, ...], sent: int
) -> None:
    write(workspace, 40, limits)
    refuse(workspace)

    told = workspace.run(*words, "--concurrency", "1", "--rate", "100/s", code=1)

    assert len(workspace.prompts()) == sent
    assert f"{40 - sent} jobs by max_failures" in told
    assert "max_failures is" in told
    assert "--retry-failed" not in told


def test_each_run_counts_anew(workspace: Workspace) -> None:
    write(workspace, 12, "limits: {max_failures: 5}\n")
    refuse(workspace)

    for sent in (5, 10, 12):
        workspace.run("--concurrency", "1", "--rate", "100/s", code=1)
        assert len(workspace.prompts()) == sent


def test_one_failure_is_one(workspace: Workspace) -> None:
    write(workspace, 3)
    refuse(workspace)

    told = workspace.run("--max-failures", "1", "--concurrency", "1", code=1)

    assert "1 failure in a row" in told
    assert len(workspace.prompts()) == 1


def test_without_a_limit_everything_is_tried(workspace: Workspace) -> None:
    write(workspace, 12)
    refuse(workspace)

    told = workspace.run("--rate", "100/s", code=1)

    assert len(workspace.prompts()) == 12
    assert "max_failures" not in told


def test_failures_between_successes_are_not_in_a_row(workspace: Workspace) -> None:
    rows = "".join(
        f"  - {{id: bad-{n}, prompt: forbidden {n}}}\n  - {{id: good-{n}, prompt: fine {n}}}\n"
        for n in range(6)
    )
    workspace.put(f"{HEAD}jobs:\n{rows}")
    refuse(workspace)

    workspace.run("--max-failures", "2", "--concurrency", "1", "--rate", "100/s", code=1)

    assert len(workspace.prompts()) == 12


def test_failures_of_different_kinds_are_not_in_a_row(workspace: Workspace) -> None:
    rows = "".join(
        f"  - {{id: bad-{n}, prompt: forbidden {n}}}\n  - {{id: odd-{n}, prompt: odd {n}}}\n"
        for n in range(3)
    )
    workspace.put(f"{HEAD}retry: {{attempts: 1}}\njobs:\n{rows}")
    refuse(workspace)
    refuse(workspace, "odd", "internal_error")

    workspace.run("--max-failures", "2", "--concurrency", "1", "--rate", "100/s", code=1)

    assert len(workspace.prompts()) == 6


def test_the_limit_is_kept_by_the_command_that_is_advised(workspace: Workspace) -> None:
    write(workspace, 6)
    refuse(workspace)

    workspace.run("--max-failures", "20%", "--concurrency", "1", code=1)

    assert "--max-failures 20%" in workspace.last_command()


@pytest.mark.parametrize("bad", ["0", "x", "0%", "101%", "-1"])
def test_what_is_no_limit_is_refused(workspace: Workspace, bad: str) -> None:
    write(workspace, 1)
    assert "write 5, or 20%" in workspace.run(f"--max-failures={bad}", code=2)
    write(workspace, 1, f"limits: {{max_failures: '{bad}'}}\n")
    assert "write 5, or 20%" in workspace.invoke("validate", "workspace.yaml", code=2)


# -- what cannot pass is not advised to be paid for again ----------------------------------------


def test_a_refused_prompt_has_to_change(workspace: Workspace) -> None:
    write(workspace, 2)
    refuse(workspace)

    told = workspace.run(code=1)

    _, _, steps = told.partition("\nNext:\n")
    assert "after changing the prompt or the inputs of job-0, job-1" in steps
    assert "--retry-failed" not in told
    assert "change the prompt or the inputs" in workspace.invoke("why", "job-0")
    assert "change the prompt or the inputs first" in workspace.invoke("retry", "job-0")
    write(workspace, 2, prompt="fine")
    workspace.run()
    assert workspace.charges() == [1, 1]


def test_only_what_may_pass_is_advised_to_be_paid_again(workspace: Workspace) -> None:
    workspace.put(
        f"{HEAD}retry: {{attempts: 1}}\njobs:\n"
        "  - {id: bad, prompt: forbidden}\n  - {id: odd, prompt: odd}\n"
    )
    refuse(workspace)
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error="internal_error", prompt="odd", times=1)
    )

    told = workspace.run(code=1)

    _, _, steps = told.partition("\nNext:\n")
    assert "kling-batch retry odd" in steps
    assert "--retry-failed" not in steps
    workspace.invoke("retry", "odd")
    workspace.run(code=1)
    assert workspace.prompts() == ["forbidden", "odd", "odd"]
