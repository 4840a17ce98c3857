"""What a run says to type next is typed, by a shell; the emulator's books say what it bought."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.cli import MANIFEST, Workspace, run_command, still_open, workspace_in
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
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Renders wait for `finish`."""
    with workspace_in(tmp_path, "trial.yaml", service_times=SLOW) as place:
        yield place


ABC = ("id: a, prompt: 'the {{ brand }} shoe'", "id: b, prompt: a hat", "id: c, prompt: a bag")


# -- run ---------------------------------------------------------------------------------------


def test_the_next_command_buys_what_this_one_bought_under_the_same_cap(
    workspace: Workspace,
) -> None:
    workspace.videos(*ABC, head="vars: {brand: Acme}\n")
    words = ("--yes", "--max-cost", "0.42", "--only", "a", "--set", "brand=Zeta & Söhne")
    told = workspace.run(*words, "--rate", "90/min", "--timeout", "1s", code=6)

    (step,) = steps(told)
    assert step == (
        f"kling-batch run trial.yaml --emulator-url {workspace.url} --rate 90/min --max-cost 0.42"
        " --only a --set 'brand=Zeta & Söhne'"
    )
    assert workspace.last_command() == step
    workspace.finish()
    workspace.type(step)

    assert workspace.prompts() == ["the Zeta & Söhne shoe"]
    assert workspace.charges() == [1]


def test_raising_the_cap_says_it_once_and_keeps_the_rest(workspace: Workspace) -> None:
    workspace.videos(*ABC, head="vars: {brand: Acme}\n")
    workspace.finish()
    told = workspace.run("--max-cost", "0.50", "--exclude", "c", code=4)

    (step,) = steps(told)
    assert step.endswith("--exclude c --max-cost USD")
    assert step.count("--max-cost") == 1
    workspace.type(step.replace("USD", "0.84"))

    assert workspace.prompts() == ["a hat", "the Acme shoe"]


def test_a_retry_is_advised_for_once_and_keeps_the_selection(workspace: Workspace) -> None:
    workspace.videos(*ABC, head="vars: {brand: Acme}\n")
    workspace.finish()
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error=DROPPED, prompt="hat", times=1)
    )
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error=DROPPED, prompt="bag", times=2)
    )
    told = workspace.run("--only", "b", "--only", "c", code=1)

    (step,) = steps(told)
    assert step.endswith("--only b --only c --retry-failed")
    told = workspace.type(step, code=1)
    assert "--retry-failed" not in workspace.last_command()
    assert steps(told) == [step]
    workspace.type(step)

    assert workspace.prompts() == ["a bag", "a bag", "a bag", "a hat", "a hat"]
    assert workspace.charges() == [1, 1]


# -- with a reviewed plan ----------------------------------------------------------------------


def test_a_plan_half_carried_out_is_gone_on_with(workspace: Workspace) -> None:
    workspace.videos(*ABC, head="vars: {brand: Acme}\n")
    workspace.plan("--only", "[ab]", "--save", "reviewed.json", manifest="trial.yaml")
    told = workspace.run("--plan", "reviewed.json", "--only", "[ab]", "--timeout", "1s", code=6)
    workspace.finish()

    (step,) = steps(told)
    assert "--plan reviewed.json" in step
    workspace.type(step)

    assert workspace.prompts() == ["a hat", "the Acme shoe"]
    assert workspace.charges() == [1, 1]


def test_a_plan_with_a_limit_is_gone_on_with_and_no_further(workspace: Workspace) -> None:
    workspace.videos(*ABC, head="vars: {brand: Acme}\n")
    workspace.plan("--limit", "2", "--save", "reviewed.json", manifest="trial.yaml")
    words = ("--plan", "reviewed.json", "--limit", "2", "--concurrency", "1")
    told = workspace.run(*words, "--timeout", "1s", code=6)
    assert len(workspace.world.books.accepted) == 1
    workspace.finish()

    (step,) = steps(told)
    assert step.endswith(" --limit 1")  # one is bought, one is left of the two
    workspace.type(step)

    assert workspace.prompts() == ["a hat", "the Acme shoe"]
    assert workspace.charges() == [1, 1]


def test_where_the_plan_would_be_refused_a_new_one_comes_first(workspace: Workspace) -> None:
    """The plan has no price for what had failed before: a retry is another plan."""
    workspace.videos(*ABC[1:])
    workspace.finish()
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error=DROPPED, prompt="hat", times=1)
    )
    workspace.run("--only", "b", code=1)
    workspace.plan("--save", "reviewed.json", manifest="trial.yaml")
    told = workspace.run("--plan", "reviewed.json", code=1)

    review, again = steps(told)
    assert review.startswith("kling-batch plan trial.yaml ")
    workspace.type(again, code=8)
    assert workspace.prompts() == ["a bag", "a hat"]
    workspace.type(review)
    assert workspace.prompts() == ["a bag", "a hat"]
    workspace.type(again)

    assert workspace.prompts() == ["a bag", "a hat", "a hat"]
    assert workspace.charges() == [1, 1]


# -- one shot ----------------------------------------------------------------------------------

PROMPT = "it's  a `Bär`\nin $HOME   (really)"


@pytest.mark.parametrize("command", ["generate", "video"])
def test_a_single_shot_is_collected_by_the_command_it_prints(
    workspace: Workspace, command: str
) -> None:
    words = [command, "-p", PROMPT, "--emulator-url", workspace.url, "--output", "my shots"]
    if command == "video":
        words += ["--mode", "text-to-video", "--tier", "standard", "--param", "duration=3"]
    told = workspace.invoke(*words, "--quiet", "--max-cost", "2", "--timeout", "2s", code=6)
    workspace.finish()

    (step,) = steps(told)
    assert "--max-cost 2.00" in step
    assert workspace.last_command("my shots/ledger.db") == step
    printed = workspace.type(step)

    assert '"path": "my shots/' in printed
    assert workspace.prompts() == [PROMPT]
    assert workspace.charges() == [1]


def test_a_failed_shot_is_paid_again_only_by_the_word_for_it(workspace: Workspace) -> None:
    workspace.finish()
    workspace.world.faults.add(Fault(stage="job", what="fail", error=DROPPED, times=1))
    told = workspace.invoke("generate", "-p", "a cat", "--emulator-url", workspace.url, code=1)

    (step,) = steps(told)
    workspace.type(step.removesuffix(" --retry-failed"), code=1)
    assert len(workspace.world.books.accepted) == 1
    workspace.type(step)

    assert workspace.charges() == [1]


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
    done = run_command("retry", "x", "--ledger", str(rig.ledger_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rig.world.faults.clear()
    rig.run(jobs)

    assert rig.charges == [2]


def test_nothing_is_advised_for_an_adopted_file_that_is_gone(workspace: Workspace) -> None:
    """fal never had it: no payment brings it back under its own name."""
    workspace.finish()
    workspace.videos("id: x, prompt: refused", "id: z, prompt: good")
    workspace.world.faults.add(Fault(stage="job", what="fail", error=DROPPED, prompt="refused"))
    workspace.run(code=1)
    workspace.invoke("adopt", "x", "outputs/trial/text-to-video/z.mp4")
    (workspace.folder / "outputs/trial/text-to-video/x.mp4").unlink()

    told = workspace.run(code=1)

    assert "put it back" in told
    assert steps(told) == []


def test_a_repair_that_has_to_go_on_names_its_ledger_and_its_service(workspace: Workspace) -> None:
    workspace.videos("id: x, prompt: one", head="output: renders\n")
    workspace.finish()
    workspace.run()
    (clip,) = (workspace.folder / "renders").rglob("*.mp4")
    clip.unlink()
    workspace.world.faults.add(Fault(stage="download", what="status", status=503))
    program = (sys.executable, "-m", "kling_batch", "verify", "--repair", "--output", "renders")
    with subprocess.Popen(
        [*program, "--emulator-url", workspace.url],
        cwd=workspace.folder,
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
    workspace.world.faults.clear()
    workspace.type(step)

    assert clip.exists()
    assert workspace.charges() == [1]


# -- doubts ------------------------------------------------------------------------------------


def test_a_name_that_two_batches_have_is_typed_with_its_batch(workspace: Workspace) -> None:
    workspace.finish()
    workspace.world.settings.list_allowed = False
    workspace.world.faults.add(Fault(stage="submit.before", what="reset", prompt="amb", times=2))
    quick = "output: both\nlimits: {doubt_wait: 1s}\n"
    workspace.videos("id: hero, prompt: amb 1, takes: 2", name="one", head=quick)
    workspace.videos("id: hero, prompt: amb 2", name="two", head=quick)
    alone = workspace.run("--only", "hero#2", manifest="one.yaml", code=5)
    told = workspace.run(manifest="two.yaml", code=5)

    assert steps(alone)[1] == "kling-batch resolve 'hero#2' --ledger both/ledger.db --not-submitted"
    assert steps(told)[1].startswith("kling-batch resolve two/hero ")
    workspace.type(steps(told)[1])
    workspace.run(manifest="two.yaml")
    workspace.type(steps(alone)[1])
    workspace.run(manifest="one.yaml")

    assert workspace.prompts() == ["amb 1", "amb 1", "amb 2"]


# -- two names for one render ------------------------------------------------------------------


def test_the_second_name_of_a_failed_render_has_failed_too(workspace: Workspace) -> None:
    workspace.finish()
    workspace.videos("id: x, prompt: same", "id: y, prompt: same")
    workspace.world.faults.add(Fault(stage="job", what="fail", error=DROPPED, times=1))
    told = workspace.run(code=1)

    assert "2 failed" in told
    assert "waiting" not in told
    (step,) = steps(told)
    workspace.type(step)

    assert len(workspace.world.books.accepted) == 2
    assert workspace.charges() == [1]


def test_the_second_name_of_an_open_render_is_reported_once_in_money(workspace: Workspace) -> None:
    workspace.videos("id: x, prompt: same", "id: y, prompt: same")
    told = workspace.run("--timeout", "1s", code=6)

    assert still_open(told) == 2
    assert "x, y ($0.42)" in told


def test_the_second_name_of_a_doubt_is_in_doubt(workspace: Workspace) -> None:
    workspace.world.settings.list_allowed = False
    workspace.world.faults.add(Fault(stage="submit.after", what="reset"))
    quick = "limits: {doubt_wait: 1s}\n"
    workspace.videos("id: x, prompt: same", "id: y, prompt: same", head=quick)
    told = workspace.run(code=5)

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
def test_who_can_unlock_an_account_is_reported_by_the_kind_of_lock(
    workspace: Workspace, reason: str, advice: str
) -> None:
    body = {"detail": f"User is locked. Reason: {reason}."}
    workspace.world.faults.add(Fault(stage="submit.before", what="status", status=403, body=body))
    workspace.videos(ABC[1])

    told = workspace.run(code=4)

    assert advice in told
    assert ("topping up" in told) == (reason != "Admin lock")
    assert workspace.charges() == []


# -- a deadline --------------------------------------------------------------------------------


def test_a_deadline_with_nothing_open_at_fal_does_not_send_anybody_to_collect(
    workspace: Workspace,
) -> None:
    workspace.finish()
    workspace.videos(*ABC[1:])
    told = workspace.run("--rate", "1/h", "--timeout", "4s", code=1)

    assert "1 done, 1 waiting" in told
    assert "exit code 1: stopped before its end, some jobs are not done" in told
    assert "remotely" not in told
    (step,) = steps(told)
    workspace.type(step.replace("--rate 1/h", ""))

    assert workspace.charges() == [1, 1]


def test_a_failure_that_waits_for_its_next_try_is_not_running(workspace: Workspace) -> None:
    workspace.finish()
    workspace.videos(ABC[1])
    workspace.world.faults.add(Fault(stage="job", what="fail", error="runner_server_error"))
    told = workspace.run("--timeout", "1500ms", code=1)

    assert "remotely" not in told
    assert all(request.state != "IN_PROGRESS" for request in workspace.world.books.accepted)


def test_names_that_begin_with_a_tilde_are_typed_again_as_they_were(workspace: Workspace) -> None:
    (workspace.folder / "~m.yaml").write_text(MANIFEST)
    told = workspace.run("--output", "./~out", "--detach", code=6, manifest="./~m.yaml")
    step = told.partition("Next:\n  ")[2].splitlines()[0]

    assert "'./~m.yaml'" in step
    assert "--output './~out'" in step
    workspace.finish()
    workspace.type(step)
    assert "is done and paid" in workspace.invoke("why", "one", "--ledger", "./~out/ledger.db")
    assert workspace.charges() == [1, 1]
