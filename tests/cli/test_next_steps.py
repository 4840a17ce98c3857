"""What a run says to type next is typed, by a shell; the emulator's books say what it bought."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.cli import Desk, desk_in, invoke, still_open
from support.engine import Rig, RunOptions, make_job, resolve
from support.process import environment

from kling_batch.core.command_line import Command
from kling_batch.core.jobs import Batch
from kling_batch.emulator import Fault
from kling_batch.planning.plan import Plan
from kling_batch.report.builder import build_report
from kling_batch.report.run_report import JobOutcome

SLOW = {"standard": 600.0, "image": 600.0}
#: A failure after which the same request may pass, and which is not tried again unasked.
DROPPED = "client_disconnected"


def steps(told: str) -> list[str]:
    """The commands under "Next:", without their remarks."""
    _, _, rest = told.partition("\nNext:\n")
    lines = rest.partition("\n\n")[0].splitlines()
    return [_command(line.strip()) for line in lines]


def _command(line: str) -> str:
    return line.rpartition("  (")[0] if line.endswith(")") else line


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Renders wait for `finish`."""
    with desk_in(tmp_path, "trial.yaml", service_times=SLOW) as place:
        yield place


ABC = ("id: a, prompt: 'the {{ brand }} shoe'", "id: b, prompt: a hat", "id: c, prompt: a bag")


# -- run ---------------------------------------------------------------------------------------


def test_the_next_command_buys_what_this_one_bought_under_the_same_cap(desk: Desk) -> None:
    desk.videos(*ABC, head="vars: {brand: Acme}\n")
    words = ("--yes", "--max-cost", "0.42", "--only", "a", "--set", "brand=Zeta & Söhne")
    told = desk.run(*words, "--rate", "90/min", "--timeout", "1s", code=6)

    (step,) = steps(told)
    assert step == (
        f"kling-batch run trial.yaml --emulator-url {desk.url} --rate 90/min --max-cost 0.42"
        " --only a --set 'brand=Zeta & Söhne'"
    )
    assert desk.last_command() == step
    desk.finish()
    desk.type(step)

    assert desk.prompts() == ["the Zeta & Söhne shoe"]
    assert desk.charges() == [1]


def test_raising_the_cap_says_it_once_and_keeps_the_rest(desk: Desk) -> None:
    desk.videos(*ABC, head="vars: {brand: Acme}\n")
    desk.finish()
    told = desk.run("--max-cost", "0.50", "--exclude", "c", code=4)

    (step,) = steps(told)
    assert step.endswith("--exclude c --max-cost USD")
    assert step.count("--max-cost") == 1
    desk.type(step.replace("USD", "0.84"))

    assert desk.prompts() == ["a hat", "the Acme shoe"]


def test_a_retry_is_advised_for_once_and_keeps_the_selection(desk: Desk) -> None:
    desk.videos(*ABC, head="vars: {brand: Acme}\n")
    desk.finish()
    desk.world.faults.add(Fault(stage="job", what="fail", error=DROPPED, prompt="hat", times=1))
    desk.world.faults.add(Fault(stage="job", what="fail", error=DROPPED, prompt="bag", times=2))
    told = desk.run("--only", "b", "--only", "c", code=1)

    (step,) = steps(told)
    assert step.endswith("--only b --only c --retry-failed")
    told = desk.type(step, code=1)
    assert "--retry-failed" not in desk.last_command()
    assert steps(told) == [step]
    desk.type(step)

    assert desk.prompts() == ["a bag", "a bag", "a bag", "a hat", "a hat"]
    assert desk.charges() == [1, 1]


# -- with a reviewed plan ----------------------------------------------------------------------


def test_a_plan_half_carried_out_is_gone_on_with(desk: Desk) -> None:
    desk.videos(*ABC, head="vars: {brand: Acme}\n")
    desk.say("plan", "trial.yaml", "--only", "[ab]", "--save", "reviewed.json")
    told = desk.run("--plan", "reviewed.json", "--only", "[ab]", "--timeout", "1s", code=6)
    desk.finish()

    (step,) = steps(told)
    assert "--plan reviewed.json" in step
    desk.type(step)

    assert desk.prompts() == ["a hat", "the Acme shoe"]
    assert desk.charges() == [1, 1]


def test_a_plan_with_a_limit_is_gone_on_with_and_no_further(desk: Desk) -> None:
    desk.videos(*ABC, head="vars: {brand: Acme}\n")
    desk.say("plan", "trial.yaml", "--limit", "2", "--save", "reviewed.json")
    words = ("--plan", "reviewed.json", "--limit", "2", "--concurrency", "1")
    told = desk.run(*words, "--timeout", "1s", code=6)
    assert len(desk.world.books.accepted) == 1
    desk.finish()

    (step,) = steps(told)
    assert step.endswith(" --limit 1")  # one is bought, one is left of the two
    desk.type(step)

    assert desk.prompts() == ["a hat", "the Acme shoe"]
    assert desk.charges() == [1, 1]


def test_where_the_plan_would_be_refused_a_new_one_comes_first(desk: Desk) -> None:
    """The plan has no price for what had failed before: a retry is another plan."""
    desk.videos(*ABC[1:])
    desk.finish()
    desk.world.faults.add(Fault(stage="job", what="fail", error=DROPPED, prompt="hat", times=1))
    desk.run("--only", "b", code=1)
    desk.plan("--save", "reviewed.json", manifest="trial.yaml")
    told = desk.run("--plan", "reviewed.json", code=1)

    review, again = steps(told)
    assert review.startswith("kling-batch plan trial.yaml ")
    desk.type(again, code=8)
    assert desk.prompts() == ["a bag", "a hat"]
    desk.type(review)
    assert desk.prompts() == ["a bag", "a hat"]
    desk.type(again)

    assert desk.prompts() == ["a bag", "a hat", "a hat"]
    assert desk.charges() == [1, 1]


# -- one shot ----------------------------------------------------------------------------------

PROMPT = "it's  a `Bär`\nin $HOME   (really)"


@pytest.mark.parametrize("command", ["generate", "video"])
def test_a_single_shot_is_collected_by_the_command_it_prints(desk: Desk, command: str) -> None:
    words = [command, "-p", PROMPT, "--emulator-url", desk.url, "--output", "my shots"]
    if command == "video":
        words += ["--mode", "text-to-video", "--tier", "standard", "--param", "duration=3"]
    told = desk.say(*words, "--quiet", "--max-cost", "2", "--timeout", "2s", code=6)
    desk.finish()

    (step,) = steps(told)
    assert "--max-cost 2.00" in step
    assert desk.last_command("my shots/ledger.db") == step
    printed = desk.type(step)

    assert '"path": "my shots/' in printed
    assert desk.prompts() == [PROMPT]
    assert desk.charges() == [1]


def test_a_failed_shot_is_paid_again_only_by_the_word_for_it(desk: Desk) -> None:
    desk.finish()
    desk.world.faults.add(Fault(stage="job", what="fail", error=DROPPED, times=1))
    told = desk.say("generate", "-p", "a cat", "--emulator-url", desk.url, code=1)

    (step,) = steps(told)
    desk.type(step.removesuffix(" --retry-failed"), code=1)
    assert len(desk.world.books.accepted) == 1
    desk.type(step)

    assert desk.charges() == [1]


# -- verify ------------------------------------------------------------------------------------


def test_a_repair_whose_files_fal_denies_names_what_gives_them_up(tmp_path: Path) -> None:
    """Under two names; on virtual time, because it takes minutes to believe that a file is gone."""
    rig = Rig(tmp_path)
    x = make_job("x")
    jobs = [x, x._replace(id="y", path="test/y{output}{ext}")]
    rig.run(jobs)
    for name in rig.files():
        (tmp_path / name).unlink()
    rig.world.faults.add(Fault(stage="download", what="expired", status=410))
    rig.epoch += timedelta(days=30)
    with rig.ledger() as ledger:
        plan = rig.plan(ledger, jobs)
    run_result = rig.run(jobs)
    batch = Batch(name="test", source="test.yaml", jobs=())
    with rig.ledger() as ledger:
        report = build_report(
            ledger,
            Plan(tuple(item._replace(duplicate=False) for item in plan.items)),
            run_result,
            resolve([batch], RunOptions(output=tmp_path, emulator="")),
            batches=[batch],
            run_id=1,
            started=rig.now(),
            ended=rig.now(),
            command=Command.parsed("kling-batch verify --repair"),
        )

    assert {line.outcome for line in report.lines} == {JobOutcome.UNDELIVERED}
    assert not any("retry" in step for step in report.next_steps)
    told = f"only `kling-batch retry x --ledger {rig.ledger_path}` gives it up"
    assert told in report.lines[0].message
    done = invoke("retry", "x", "--ledger", str(rig.ledger_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rig.world.faults.clear()
    rig.run(jobs)

    assert rig.charges == [2]


def test_nothing_is_advised_for_an_adopted_file_that_is_gone(desk: Desk) -> None:
    """fal never had it: no payment brings it back under its own name."""
    desk.finish()
    desk.videos("id: x, prompt: refused", "id: z, prompt: good")
    desk.world.faults.add(Fault(stage="job", what="fail", error=DROPPED, prompt="refused"))
    desk.run(code=1)
    desk.say("adopt", "x", "outputs/trial/text-to-video/z.mp4")
    (desk.folder / "outputs/trial/text-to-video/x.mp4").unlink()

    told = desk.run(code=1)

    assert "put it back" in told
    assert steps(told) == []


def test_a_repair_that_has_to_go_on_names_its_ledger_and_its_service(desk: Desk) -> None:
    desk.videos("id: x, prompt: one", head="output: renders\n")
    desk.finish()
    desk.run()
    (clip,) = (desk.folder / "renders").rglob("*.mp4")
    clip.unlink()
    desk.world.faults.add(Fault(stage="download", what="status", status=503))
    program = (sys.executable, "-m", "kling_batch", "verify", "--repair", "--output", "renders")
    with subprocess.Popen(
        [*program, "--emulator-url", desk.url],
        cwd=desk.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as repairing:
        assert repairing.stderr is not None
        for line in repairing.stderr:
            if "download failed" in line:
                break
        repairing.terminate()
        told = repairing.stderr.read()

    (step,) = steps(told)
    desk.world.faults.clear()
    desk.type(step)

    assert clip.exists()
    assert desk.charges() == [1]


# -- doubts ------------------------------------------------------------------------------------


def test_a_name_that_two_batches_have_is_typed_with_its_batch(desk: Desk) -> None:
    desk.finish()
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.before", what="reset", prompt="amb", times=2))
    quick = "output: both\nlimits: {doubt_wait: 1s}\n"
    desk.videos("id: hero, prompt: amb 1, takes: 2", name="one", head=quick)
    desk.videos("id: hero, prompt: amb 2", name="two", head=quick)
    alone = desk.run("--only", "hero#2", manifest="one.yaml", code=5)
    told = desk.run(manifest="two.yaml", code=5)

    assert steps(alone)[1] == "kling-batch resolve 'hero#2' --ledger both/ledger.db --not-submitted"
    assert steps(told)[1].startswith("kling-batch resolve two/hero ")
    desk.type(steps(told)[1])
    desk.run(manifest="two.yaml")
    desk.type(steps(alone)[1])
    desk.run(manifest="one.yaml")

    assert desk.prompts() == ["amb 1", "amb 1", "amb 2"]


# -- two names for one render ------------------------------------------------------------------


def test_the_second_name_of_a_failed_render_has_failed_too(desk: Desk) -> None:
    desk.finish()
    desk.videos("id: x, prompt: same", "id: y, prompt: same")
    desk.world.faults.add(Fault(stage="job", what="fail", error=DROPPED, times=1))
    told = desk.run(code=1)

    assert "2 failed" in told
    assert "waiting" not in told
    (step,) = steps(told)
    desk.type(step)

    assert len(desk.world.books.accepted) == 2
    assert desk.charges() == [1]


def test_the_second_name_of_an_open_render_is_told_once_in_money(desk: Desk) -> None:
    desk.videos("id: x, prompt: same", "id: y, prompt: same")
    told = desk.run("--timeout", "1s", code=6)

    assert still_open(told) == 2
    assert "x, y ($0.42)" in told


def test_the_second_name_of_a_doubt_is_in_doubt(desk: Desk) -> None:
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.after", what="reset"))
    quick = "limits: {doubt_wait: 1s}\n"
    desk.videos("id: x, prompt: same", "id: y, prompt: same", head=quick)
    told = desk.run(code=5)

    assert "2 in doubt" in told
    assert len(steps(told)) == 2


# -- a locked account --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("Admin lock", "once fal's support has unlocked the account"),
        ("Exhausted balance", "after raising the cap or topping up"),
    ],
)
def test_who_can_unlock_an_account_is_told_by_the_kind_of_lock(
    desk: Desk, reason: str, advice: str
) -> None:
    body = {"detail": f"User is locked. Reason: {reason}."}
    desk.world.faults.add(Fault(stage="submit.before", what="status", status=403, body=body))
    desk.videos(ABC[1])

    told = desk.run(code=4)

    assert advice in told
    assert ("topping up" in told) == (reason != "Admin lock")
    assert desk.charges() == []


# -- a deadline --------------------------------------------------------------------------------


def test_a_deadline_with_nothing_open_at_fal_does_not_send_anybody_to_collect(desk: Desk) -> None:
    desk.finish()
    desk.videos(*ABC[1:])
    told = desk.run("--rate", "1/h", "--timeout", "4s", code=1)

    assert "1 done, 1 waiting" in told
    assert "exit code 1: stopped before its end, some jobs are not done" in told
    assert "remotely" not in told
    (step,) = steps(told)
    desk.type(step.replace("--rate 1/h", ""))

    assert desk.charges() == [1, 1]


def test_a_failure_that_waits_for_its_next_try_is_not_running(desk: Desk) -> None:
    desk.finish()
    desk.videos(ABC[1])
    desk.world.faults.add(Fault(stage="job", what="fail", error="runner_server_error"))
    told = desk.run("--timeout", "1500ms", code=1)

    assert "remotely" not in told
    assert all(request.state != "IN_PROGRESS" for request in desk.world.books.accepted)
