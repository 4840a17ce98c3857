"""Verdicts from the command line, and what the next run pays for: drafts, finals, picks."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from support.cli import Workspace, run_command
from support.process import environment

from kling_batch.emulator import Fault
from kling_batch.ledger.names import all_named
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import verdict_history

HEAD = """\
version: 1
name: trial
review: {draft: {tier: standard}, final: {tier: pro}}
defaults: {mode: text-to-video, duration: 3}
jobs:
"""
SHOTS = HEAD + "".join(f"  - {{id: shot-{n:02}, prompt: shot {n}}}\n" for n in range(20))
#: Three takes of a still, and a clip of the one that somebody picks.
CHAIN = """\
version: 1
name: trial
jobs:
  - {id: hero, mode: text-to-image, prompt: still, takes: 3}
  - {id: clip, mode: image-to-video, image_url: {job: hero, take: TAKE}, prompt: zoom, duration: 3}
"""
UNPICKED = CHAIN.replace("TAKE", "picked")


def paid(workspace: Workspace, tier: str) -> int:
    """How many requests of a tier were accepted, by the emulator's books."""
    return sum(f"/{tier}/" in each.endpoint for each in workspace.world.books.accepted)


def files(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in (workspace.folder / "outputs").rglob("*.mp4"))


def planned(workspace: Workspace) -> dict[str, str]:
    plan = json.loads(workspace.plan("--json"))
    return {f"{job['job']}#{job['take']}": job["action"] for job in plan["jobs"]}


# -- drafts and finals -----------------------------------------------------------------------------


@pytest.mark.acceptance
def test_of_twenty_drafts_the_eight_approved_become_finals_and_nothing_else(
    workspace: Workspace,
) -> None:
    workspace.put(SHOTS)
    workspace.run()
    assert (paid(workspace, "standard"), paid(workspace, "pro")) == (20, 0)

    for n in range(8):
        workspace.invoke("verdict", f"shot-{n:02}", "approve", "--author", "Ada")
    workspace.invoke("verdict", "shot-1?", "reject")
    workspace.run()

    assert (paid(workspace, "standard"), paid(workspace, "pro")) == (20, 8)
    workspace.run()
    assert (paid(workspace, "standard"), paid(workspace, "pro")) == (20, 8)
    finals = [name for name in files(workspace) if "~draft" not in name]
    assert finals == [f"shot-{n:02}.mp4" for n in range(8)]


def test_a_verdict_taken_back_in_time_stops_its_final_and_later_changes_nothing(
    workspace: Workspace,
) -> None:
    workspace.put(SHOTS)
    workspace.run()
    for n in range(8):
        workspace.invoke("verdict", f"shot-{n:02}", "approve")

    workspace.invoke("verdict", "shot-03", "none")
    workspace.run()
    assert paid(workspace, "pro") == 7

    workspace.invoke("verdict", "shot-03", "approve")
    workspace.run()
    told = workspace.invoke("verdict", "shot-04~draft", "reject")
    workspace.run()
    assert "submitted already" in told
    assert (paid(workspace, "standard"), paid(workspace, "pro")) == (20, 8)
    assert "shot-04.mp4" in files(workspace)


def test_the_plan_shows_both_with_their_prices_and_what_approval_would_add(
    workspace: Workspace,
) -> None:
    workspace.put(HEAD + "  - {id: hero, prompt: first}\n")
    before = workspace.plan()
    assert "pay     $0.26  hero~draft: new" in before
    assert "waiting     $0.34  hero: final waits for a verdict on hero~draft" in before
    assert "up to $0.26; approving all that wait would add up to $0.34" in before

    ran = workspace.run()
    assert "Waiting for a verdict:" in ran
    assert "kling-batch review  (1 job waiting for a verdict)" in ran
    assert "1 waiting for a verdict" in workspace.run()
    assert "pays for hero" in workspace.invoke("verdict", "hero", "approve")
    assert "1 to pay, 1 keep; up to $0.34" in workspace.plan()


def test_of_several_takes_the_picked_one_alone_or_every_approved_one(workspace: Workspace) -> None:
    workspace.put(HEAD + "  - {id: hero, prompt: first, takes: 3}\n")
    workspace.run()
    workspace.invoke("verdict", "hero#1", "approve")
    workspace.invoke("verdict", "hero", "approve", "--take", "3")
    assert planned(workspace)["hero#1"] == planned(workspace)["hero#3"] == "submit"
    assert planned(workspace)["hero#2"] == "hold"

    workspace.invoke("verdict", "hero", "pick", "--take", "2")
    assert planned(workspace)["hero#2"] == "submit"
    assert planned(workspace)["hero#1"] == planned(workspace)["hero#3"] == "declined"
    workspace.run()

    assert (paid(workspace, "standard"), paid(workspace, "pro")) == (3, 1)
    assert [name for name in files(workspace) if "~draft" not in name] == ["hero-t2.mp4"]


def test_a_cap_counts_what_is_paid_and_not_what_waits(workspace: Workspace) -> None:
    workspace.put(HEAD + "  - {id: hero, prompt: first}\n")
    workspace.run("--max-cost", "0.40")
    workspace.invoke("verdict", "hero", "approve")

    workspace.run("--max-cost", "0.40", code=4)
    assert paid(workspace, "pro") == 0
    workspace.run("--max-cost", "0.60")
    assert paid(workspace, "pro") == 1


def test_a_reviewed_plan_pays_for_no_final_that_was_approved_since(workspace: Workspace) -> None:
    workspace.put(HEAD + "  - {id: hero, prompt: first}\n")
    workspace.run()
    workspace.plan("--save", "plan.json")
    workspace.invoke("verdict", "hero", "approve")

    workspace.run("--plan", "plan.json", code=8)
    assert paid(workspace, "pro") == 0


def test_a_child_of_a_reviewed_job_is_made_of_its_final(workspace: Workspace) -> None:
    workspace.put(
        HEAD
        + "  - {id: hero, prompt: first}\n"
        + "  - {id: cut, review: null, mode: edit, video_url: {job: hero}, prompt: cut}\n"
    )
    workspace.run()
    assert (planned(workspace)["cut#1"], paid(workspace, "pro")) == ("hold", 0)
    workspace.invoke("verdict", "hero", "reject")
    assert planned(workspace)["cut#1"] == "declined"
    workspace.invoke("verdict", "hero", "approve")
    workspace.run()

    assert paid(workspace, "pro") == 2
    assert "cut.mp4" in files(workspace)


def test_reroll_of_a_reviewed_job_is_another_draft(workspace: Workspace) -> None:
    workspace.put(HEAD + "  - {id: hero, prompt: first}\n")
    workspace.run()

    workspace.invoke("reroll", "hero")
    workspace.run()

    assert (paid(workspace, "standard"), paid(workspace, "pro")) == (2, 0)
    assert planned(workspace)["hero#2"] == "hold"


def test_only_names_a_job_with_its_draft(workspace: Workspace) -> None:
    workspace.put(HEAD + "  - {id: hero, prompt: first}\n  - {id: other, prompt: second}\n")
    workspace.run("--only", "hero")
    workspace.invoke("verdict", "hero", "approve")
    workspace.run("--only", "hero")

    assert workspace.prompts() == ["first", "first"]


def test_why_says_what_a_final_waits_for(workspace: Workspace) -> None:
    workspace.put(HEAD + "  - {id: hero, prompt: first}\n")
    workspace.run()
    assert "final waits for a verdict on hero~draft" in workspace.invoke("why", "hero")
    workspace.invoke("verdict", "hero", "reject", "--note", "six fingers")
    assert "hero~draft is rejected" in workspace.invoke("why", "hero")


# -- what a verdict says the next run pays for -----------------------------------------------------

TWO_TAKES = HEAD + "  - {id: hero, prompt: first, takes: 2}\n"


def paid_next(workspace: Workspace) -> list[str]:
    """The jobs that the plan pays for."""
    return sorted(name for name, action in planned(workspace).items() if action == "submit")


def test_approval_beside_a_pick_says_that_its_final_is_not_paid_for(workspace: Workspace) -> None:
    workspace.put(TWO_TAKES)
    workspace.run()
    workspace.invoke("verdict", "hero", "pick", "--take", "2")

    told = workspace.invoke("verdict", "hero", "approve", "--take", "1")

    assert paid_next(workspace) == ["hero#2"]
    why = "hero~draft#2 is picked, not hero~draft"
    assert told.splitlines() == [f"hero~draft: approved; the next run does not pay for hero: {why}"]
    workspace.run()
    assert (paid(workspace, "standard"), paid(workspace, "pro")) == (2, 1)


@pytest.mark.parametrize("last", ["reject", "none"])
def test_a_pick_taken_back_names_the_final_that_is_paid_for_instead(
    workspace: Workspace, last: str
) -> None:
    workspace.put(TWO_TAKES)
    workspace.run()
    workspace.invoke("verdict", "hero", "approve", "--take", "1")

    told = workspace.invoke("verdict", "hero", "pick", "--take", "2")
    assert told.splitlines() == [
        "hero~draft#2: picked; the next run pays for hero#2",
        "with that the next run does not pay for hero: hero~draft#2 is picked, not hero~draft",
    ]
    told = workspace.invoke("verdict", "hero", last, "--take", "2")

    assert paid_next(workspace) == ["hero#1"]
    assert "; the next run does not pay for hero#2" in told
    assert told.splitlines()[1:] == ["with that the next run pays for hero, too"]
    workspace.run()
    assert paid(workspace, "pro") == 1


@pytest.mark.parametrize("take", ["1", "2"])
def test_approval_of_a_failed_final_names_the_command_that_pays_for_it(
    workspace: Workspace, take: str
) -> None:
    workspace.put(TWO_TAKES)
    workspace.run()
    workspace.invoke("verdict", "hero", "approve", "--take", take)
    workspace.world.faults.add(Fault(stage="job", what="fail", error="content_policy_violation"))
    workspace.run(code=1)
    workspace.world.faults.clear()
    charged = len(workspace.world.books.accepted)

    told = workspace.invoke("verdict", "hero", "approve", "--take", take)

    assert paid_next(workspace) == []
    command = re.search(r"it has failed, and needs `kling-batch (retry [^`]+)` first", told)
    assert command, told
    workspace.run(code=1)
    assert len(workspace.world.books.accepted) == charged
    workspace.invoke(*shlex.split(command[1]))
    assert "; the next run pays for hero" in workspace.invoke(
        "verdict", "hero", "approve", "--take", take
    )
    workspace.run()
    assert paid(workspace, "pro") == 2


def test_a_verdict_names_what_is_made_of_the_final_and_of_the_pick(workspace: Workspace) -> None:
    workspace.put(
        TWO_TAKES
        + "  - {id: cut, review: null, mode: edit, video_url: {job: hero}, prompt: cut}\n"
        + "  - {id: end, review: null, mode: edit, video_url: {job: hero, take: picked},"
        + " prompt: end}\n"
    )
    workspace.run()

    told = workspace.invoke("verdict", "hero", "approve")
    assert paid_next(workspace) == ["cut#1", "hero#1"]
    assert told.splitlines() == [
        "hero~draft: approved; the next run pays for hero",
        "with that the next run pays for cut, too",
    ]
    told = workspace.invoke("verdict", "hero", "pick", "--take", "2")
    assert paid_next(workspace) == ["end#1", "hero#2"]
    assert "with that the next run pays for end, too" in told
    assert "does not pay for hero: hero~draft#2 is picked" in told
    assert "does not pay for cut: needs hero, which is declined" in told


def test_another_pick_names_what_it_makes_anew_of_another_source(workspace: Workspace) -> None:
    workspace.put(UNPICKED)
    workspace.run()
    told = workspace.invoke("verdict", "hero", "pick", "--take", "2")
    assert told.splitlines() == ["hero#2: picked", "with that the next run pays for clip, too"]
    workspace.run()
    assert paid(workspace, "pro") == 1

    told = workspace.invoke("verdict", "hero", "pick", "--take", "3")
    assert told.splitlines() == ["hero#3: picked", "with that the next run pays for clip, too"]
    told = workspace.invoke("verdict", "hero", "none", "--take", "3")
    assert "with that the next run does not pay for clip: waits for a pick among" in told
    # What is paid already is there again.
    assert workspace.invoke("verdict", "hero", "pick", "--take", "2").splitlines() == [
        "hero#2: picked"
    ]
    workspace.run()
    assert paid(workspace, "pro") == 1


def test_a_glob_tells_each_final_once(workspace: Workspace) -> None:
    workspace.put(TWO_TAKES + "  - {id: other, prompt: second}\n")
    workspace.run()

    told = workspace.invoke("verdict", "*", "approve")

    assert told.splitlines() == [
        "hero~draft: approved; the next run pays for hero",
        "hero~draft#2: approved; the next run pays for hero#2",
        "other~draft: approved; the next run pays for other",
    ]
    assert paid_next(workspace) == ["hero#1", "hero#2", "other#1"]


def test_a_draft_with_two_names_lets_both_finals_be_paid_for(workspace: Workspace) -> None:
    workspace.put(
        HEAD
        + "  - {id: hero, prompt: first}\n"
        + "  - {id: wide, prompt: first, review: {draft: {tier: standard}, final: {tier: 4k}}}\n"
    )
    workspace.run()

    told = workspace.invoke("verdict", "hero", "approve")

    assert told.splitlines() == [
        "hero~draft: approved; the next run pays for hero",
        "with that the next run pays for wide, too",
    ]
    workspace.run()
    assert (paid(workspace, "pro"), paid(workspace, "4k")) == (1, 1)


# -- picks in chains -------------------------------------------------------------------------------


def test_a_picked_take_is_waited_for_and_then_used_as_if_it_were_named(
    workspace: Workspace,
) -> None:
    workspace.put(UNPICKED)
    told = workspace.run()
    assert "waits for a pick among hero#1..#3: kling-batch review" in told
    assert paid(workspace, "pro") == 0
    assert "waits for a pick" in workspace.invoke("why", "clip")

    workspace.invoke("verdict", "hero", "pick", "--take", "2")
    told = workspace.invoke("why", "clip")
    assert "clip has a picked source now (new): the next run pays up to" in told
    assert "image_url: the take of hero that somebody picks → output of hero#2" in told
    workspace.run()
    workspace.run()

    assert paid(workspace, "pro") == 1
    assert "Until" not in workspace.invoke("why", "clip")
    workspace.put(CHAIN.replace("TAKE", "2"))  # the same key, so it is paid already
    workspace.run()
    assert paid(workspace, "pro") == 1


def test_a_pick_of_a_take_that_is_out_of_the_manifest_gives_way_to_a_newer_one(
    workspace: Workspace,
) -> None:
    one_take = UNPICKED.replace(", takes: 3", "")
    workspace.put(UNPICKED)
    workspace.run()
    workspace.invoke("verdict", "hero#2", "pick")
    workspace.put(one_take)
    workspace.run()
    workspace.invoke("verdict", "hero", "pick")
    workspace.put(UNPICKED)
    workspace.run()
    charged = len(workspace.world.books.accepted)

    workspace.invoke("verdict", "hero", "none")

    assert "hero#2" not in workspace.invoke("list", "--verdict", "picked")
    workspace.run()
    assert len(workspace.world.books.accepted) == charged


def test_a_pick_taken_back_stops_what_is_not_paid(workspace: Workspace) -> None:
    workspace.put(UNPICKED)
    workspace.run()
    workspace.invoke("verdict", "hero", "pick")
    workspace.invoke("verdict", "hero", "none")
    workspace.run()

    assert paid(workspace, "pro") == 0


def test_a_picked_draft_stands_for_its_final(workspace: Workspace) -> None:
    workspace.put(
        HEAD
        + "  - {id: hero, prompt: first, takes: 2}\n"
        + "  - {id: cut, review: null, mode: edit, video_url: {job: hero, take: picked},"
        + " prompt: cut}\n"
    )
    workspace.run()
    assert "pick among hero~draft#1..#2" in workspace.plan()
    workspace.invoke("verdict", "hero", "pick", "--take", "2")
    assert "2 done, 2 unchanged, 1 declined" in workspace.run()

    assert paid(workspace, "pro") == 2
    assert {"hero-t2.mp4", "cut.mp4"} <= set(files(workspace))


# -- the command -----------------------------------------------------------------------------------


def test_who_said_what_and_why_is_kept(workspace: Workspace) -> None:
    workspace.put(UNPICKED)
    workspace.run()
    workspace.invoke("verdict", "hero#2", "approve", "--note", "the light", "--author", "Ada")
    workspace.invoke("verdict", "hero#2", "none")

    with Reader.open(workspace.folder / "outputs/ledger.db") as reader:
        key = reader.current_names("trial")["hero", 2][0]
        first, second = verdict_history(reader, key)
    assert (first.verdict, first.note, first.author) == ("approved", "the light", "Ada")
    assert second.verdict == "none"
    assert second.author
    told = workspace.invoke("show", "hero#2")
    assert f"approved by Ada, {first.at}: the light" in told
    assert f"none by {second.author}, {second.at}" in told
    assert (
        json.loads(workspace.invoke("show", "hero#2", "--json"))["verdicts"][0]["note"]
        == "the light"
    )


def test_a_render_with_two_names_is_judged_once(workspace: Workspace) -> None:
    workspace.put(
        CHAIN.partition("  - {id: clip")[0].replace(", takes: 3", "")
        + "  - {id: hello, mode: text-to-image, prompt: still}\n"
    )
    workspace.run()

    workspace.invoke("verdict", "he*", "reject")

    with Reader.open(workspace.folder / "outputs/ledger.db") as reader:
        (job,) = {named.key for named in all_named(reader)}
        assert len(verdict_history(reader, job)) == 1
    assert len(workspace.world.books.accepted) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody", "approve"), "no job 'nobody'"),
        (("clip", "approve"), "clip has no finished render to judge (it is waiting)"),
        (("hero#2", "approve", "--take", "2"), "names a take already"),
        (("hero", "approve", "--take", "9"), "no job 'hero#9'"),
        (("hero*", "pick"), "3 takes of hero fit, and one can be picked"),
        (("x*", "approve"), "no finished take fits x*"),
        (("hero", "perhaps"), "is not one of"),
    ],
)
def test_what_cannot_be_judged_is_said(
    workspace: Workspace, words: tuple[str, ...], said: str
) -> None:
    workspace.put(UNPICKED)
    workspace.run()

    assert said in workspace.invoke("verdict", *words, code=2)


def test_without_a_ledger_there_is_nothing_to_judge(workspace: Workspace) -> None:
    assert "there is no ledger here yet" in workspace.invoke("verdict", "hero", "approve", code=7)


# -- what is told of verdicts ----------------------------------------------------------------------


def test_list_status_and_report_tell_of_verdicts(workspace: Workspace) -> None:
    workspace.put(
        HEAD
        + "  - {id: hero, prompt: first, takes: 2}\n"
        + "  - {id: other, prompt: second}\n"
        + "  - {id: unjudged, mode: text-to-image, prompt: third, duration: null}\n"
    )
    workspace.run()
    assert "verdicts: 3 drafts to judge: kling-batch review" in workspace.invoke("status")
    assert "takes used" not in workspace.invoke("report")
    workspace.invoke("verdict", "hero", "pick", "--take", "2")
    workspace.invoke("verdict", "other", "reject")
    workspace.run()

    # The other take of `hero` need not be judged.
    assert "verdicts: 1 rejected, 1 picked" in workspace.invoke("status").splitlines()
    rows = workspace.invoke("list", "--verdict", "picked,reject", "--json").splitlines()
    assert [(row["job_id"], row["take"], row["verdict"]) for row in map(json.loads, rows)] == [
        ("hero~draft", 2, "picked"),
        ("other~draft", 1, "rejected"),
    ]
    used = json.loads(workspace.invoke("report", "--json"))["takes_used"]
    assert (used["takes"], used["used"], used["used_seconds"]) == (4, 1, 3.0)
    books = workspace.world.books.accepted
    paid_for_all = sum(r.charged_micro_usd for r in books if "image" not in r.endpoint) / 1e6
    assert used["spent_usd"] == pytest.approx(paid_for_all)
    assert used["usd_per_used_second"] == pytest.approx(paid_for_all / 3)
    assert "takes used: 1 of 4 (25%)" in workspace.invoke("report")


def test_text_that_is_not_utf8_is_refused_and_a_login_of_it_is_readable(
    workspace: Workspace,
) -> None:
    workspace.run("--only", "one")
    half = "caf\udce9"
    told = "`caf?` has a character that is not UTF-8, which no ledger can store"

    assert told in workspace.invoke("verdict", "one", "approve", "--note", half, code=2)
    assert told in workspace.invoke("verdict", "one", "approve", "--author", half, code=2)
    assert told in workspace.invoke("list", "--tag", half, code=2)
    done = run_command(
        *("verdict", "one", "approve"), cwd=workspace.folder, env=environment(LOGNAME=half)
    )
    assert done.returncode == 0, done.stderr
    assert "approved by caf?" in workspace.invoke("show", "one")


def test_lengths_that_are_no_numbers_do_not_keep_a_report_from_being_made(
    workspace: Workspace,
) -> None:
    given = {"shots": "multi_prompt: [{prompt: s, duration: 4}]", "half": "duration: 5.5"}
    given |= {"odd": "duration: nan", "endless": "duration: inf", "less": "duration: '-3'"}
    workspace.videos(
        *(
            f"id: {name}, endpoint: fal-ai/flux/dev, price: 1, input: {{prompt: {name}, {each}}}"
            for name, each in given.items()
        )
    )
    workspace.run("--no-schemas", manifest="trial.yaml")
    for name in given:
        workspace.invoke("verdict", name, "approve")

    used = json.loads(workspace.invoke("report", "--json"))["takes_used"]

    assert (used["used"], used["used_seconds"]) == (5, 9.5)
