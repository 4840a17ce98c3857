"""`why` and `show` speak of the manifest as it stands now, or say as of which run they speak."""

from __future__ import annotations

import json

from support.cli import MANIFEST, Desk

from kling_batch.emulator import Fault

EDITED = MANIFEST.replace("the first", "the best")


def test_an_edited_manifest_is_read_again_without_being_named(desk: Desk) -> None:
    desk.run()
    assert "is done and paid" in desk.say("why", "one")
    desk.put(EDITED)

    for words in (("why", "one"), ("why", "one", "desk.yaml"), ("show", "one")):
        told = desk.say(*words)
        assert "changed: prompt" in told
        assert "the next run pays up to $0.03 for it" in told
        assert "prompt: 'the first' → 'the best'" in told
        assert "Nothing that is paid for has changed" not in told
        assert "as desk.yaml stands now" in told
    planned = json.loads(desk.say("show", "one", "--json"))
    assert planned["next"] == {"action": "submit", "reason": "changed: prompt"}
    assert planned["as_of"] == "as desk.yaml stands now"
    assert "is done and paid" in desk.say("why", "two")

    desk.run()
    assert desk.charges() == [1, 1, 1]


def test_what_the_command_of_the_last_run_set_still_counts(desk: Desk) -> None:
    text = MANIFEST.replace("the first", "'the {{ word }} one'").replace(
        "defaults", "vars: {word: old}\ndefaults"
    )
    desk.put(text)
    desk.run("--set", "word=new", "--only", "one")

    assert "is done and paid" in desk.say("why", "one")
    assert "was never submitted" in desk.say("why", "two")


def test_where_the_manifest_is_gone_the_run_is_named(desk: Desk) -> None:
    desk.run()
    (desk.folder / "desk.yaml").unlink()

    told = desk.say("why", "one")

    assert "(as of run 1 of 20" in told
    assert "desk.yaml is not here" in told


def test_a_manifest_with_problems_is_no_reason_to_say_nothing(desk: Desk) -> None:
    desk.run()
    desk.put(EDITED + "  - {id: bad}\n")

    told = desk.say("show", "one")

    assert "as of run 1 of 20" in told
    assert "the manifest has problems now: desk.yaml:" in told
    desk.say("why", "one", "desk.yaml", code=2)


def test_a_job_that_left_or_is_new_is_said_to_be_so(desk: Desk) -> None:
    desk.run("--only", "one")
    desk.put(MANIFEST.replace("id: two", "id: three"))

    assert "is in no manifest now" in desk.say("why", "two")
    assert "three is new: the next run pays up to $0.03 for it" in desk.say(
        "why", "three", "desk.yaml"
    )
    assert "no job 'four'" in desk.say("why", "four", "desk.yaml", code=2)


def test_before_any_run_a_manifest_is_enough(desk: Desk) -> None:
    assert "one is new: the next run pays up to $0.03 for it" in desk.say("why", "one", "desk.yaml")


def test_the_manifests_own_number_of_tries_counts(desk: Desk) -> None:
    desk.put(MANIFEST + "retry: {attempts: 1}\n")
    desk.world.faults.add(
        Fault(stage="job", what="fail", error="internal_error", prompt="first", times=1)
    )
    desk.run(code=1)

    told = desk.say("why", "one")

    assert "stays so: only `run --retry-failed`" in told
    desk.run(code=1)
    assert desk.charges() == [1]
