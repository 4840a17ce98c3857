"""A batch that fails again and again is not bought to its end, and never advised to be as it is."""

from __future__ import annotations

import pytest
from support.cli import Desk

from kling_batch.emulator import Fault

HEAD = "version: 1\ndefaults: {mode: text-to-image}\n"


def write(desk: Desk, count: int, limits: str = "", prompt: str = "forbidden") -> None:
    rows = "".join(f"  - {{id: job-{n}, prompt: {prompt} {n}}}\n" for n in range(count))
    desk.put(f"{HEAD}{limits}jobs:\n{rows}")


def refuse(desk: Desk, prompt: str = "forbidden", error: str = "content_policy_violation") -> None:
    desk.world.faults.add(Fault(stage="job", what="fail", error=error, prompt=prompt))


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
    desk: Desk, limits: str, words: tuple[str, ...], sent: int
) -> None:
    write(desk, 40, limits)
    refuse(desk)

    told = desk.run(*words, "--concurrency", "1", "--rate", "100/s", code=1)

    assert len(desk.prompts()) == sent
    assert f"{40 - sent} jobs by max_failures" in told
    assert "max_failures is" in told
    assert "--retry-failed" not in told


def test_each_run_counts_anew(desk: Desk) -> None:
    write(desk, 12, "limits: {max_failures: 5}\n")
    refuse(desk)

    for sent in (5, 10, 12):
        desk.run("--concurrency", "1", "--rate", "100/s", code=1)
        assert len(desk.prompts()) == sent


def test_one_failure_is_one(desk: Desk) -> None:
    write(desk, 3)
    refuse(desk)

    told = desk.run("--max-failures", "1", "--concurrency", "1", code=1)

    assert "1 failure in a row" in told
    assert len(desk.prompts()) == 1


def test_without_a_limit_everything_is_tried(desk: Desk) -> None:
    write(desk, 12)
    refuse(desk)

    told = desk.run("--rate", "100/s", code=1)

    assert len(desk.prompts()) == 12
    assert "max_failures" not in told


def test_failures_between_successes_are_not_in_a_row(desk: Desk) -> None:
    rows = "".join(
        f"  - {{id: bad-{n}, prompt: forbidden {n}}}\n  - {{id: good-{n}, prompt: fine {n}}}\n"
        for n in range(6)
    )
    desk.put(f"{HEAD}jobs:\n{rows}")
    refuse(desk)

    desk.run("--max-failures", "2", "--concurrency", "1", "--rate", "100/s", code=1)

    assert len(desk.prompts()) == 12


def test_failures_of_different_kinds_are_not_in_a_row(desk: Desk) -> None:
    rows = "".join(
        f"  - {{id: bad-{n}, prompt: forbidden {n}}}\n  - {{id: odd-{n}, prompt: odd {n}}}\n"
        for n in range(3)
    )
    desk.put(f"{HEAD}retry: {{attempts: 1}}\njobs:\n{rows}")
    refuse(desk)
    refuse(desk, "odd", "internal_error")

    desk.run("--max-failures", "2", "--concurrency", "1", "--rate", "100/s", code=1)

    assert len(desk.prompts()) == 6


def test_the_limit_is_kept_by_the_command_that_is_advised(desk: Desk) -> None:
    write(desk, 6)
    refuse(desk)

    desk.run("--max-failures", "20%", "--concurrency", "1", code=1)

    assert "--max-failures 20%" in desk.last_command()


@pytest.mark.parametrize("bad", ["0", "x", "0%", "101%", "-1"])
def test_what_is_no_limit_is_refused(desk: Desk, bad: str) -> None:
    write(desk, 1)
    assert "write 5, or 20%" in desk.run(f"--max-failures={bad}", code=2)
    write(desk, 1, f"limits: {{max_failures: '{bad}'}}\n")
    assert "write 5, or 20%" in desk.say("validate", "desk.yaml", code=2)


# -- what cannot pass is not advised to be paid for again ----------------------------------------


def test_a_refused_prompt_has_to_change(desk: Desk) -> None:
    write(desk, 2)
    refuse(desk)

    told = desk.run(code=1)

    _, _, steps = told.partition("\nNext:\n")
    assert "after changing the prompt or the inputs of job-0, job-1" in steps
    assert "--retry-failed" not in told
    assert "change the prompt or the inputs" in desk.say("why", "job-0")
    assert "change the prompt or the inputs first" in desk.say("retry", "job-0")
    write(desk, 2, prompt="fine")
    desk.run()
    assert desk.charges() == [1, 1]


def test_only_what_may_pass_is_advised_to_be_paid_again(desk: Desk) -> None:
    desk.put(
        f"{HEAD}retry: {{attempts: 1}}\njobs:\n"
        "  - {id: bad, prompt: forbidden}\n  - {id: odd, prompt: odd}\n"
    )
    refuse(desk)
    desk.world.faults.add(
        Fault(stage="job", what="fail", error="internal_error", prompt="odd", times=1)
    )

    told = desk.run(code=1)

    _, _, steps = told.partition("\nNext:\n")
    assert "kling-batch retry odd" in steps
    assert "--retry-failed" not in steps
    desk.say("retry", "odd")
    desk.run(code=1)
    assert desk.prompts() == ["forbidden", "odd", "odd"]
