"""`why` and `show` speak of the manifest as it stands now, or say as of which run they speak."""

from __future__ import annotations

import json

from support.cli import MANIFEST, Workspace

from kling_batch.emulator import Fault

EDITED = MANIFEST.replace("the first", "the best")


def test_an_edited_manifest_is_read_again_without_being_named(workspace: Workspace) -> None:
    workspace.run()
    assert "is done and paid" in workspace.invoke("why", "one")
    workspace.put(EDITED)

    for words in (("why", "one"), ("why", "one", "workspace.yaml"), ("show", "one")):
        told = workspace.invoke(*words)
        assert "changed: prompt" in told
        assert "the next run pays up to $0.03 for it" in told
        assert "prompt: 'the first' → 'the best'" in told
        assert "Nothing that is paid for has changed" not in told
        assert "as workspace.yaml stands now" in told
    planned = json.loads(workspace.invoke("show", "one", "--json"))
    assert planned["next"] == {"action": "submit", "reason": "changed: prompt"}
    assert planned["as_of"] == "as workspace.yaml stands now"
    assert "is done and paid" in workspace.invoke("why", "two")

    workspace.run()
    assert workspace.charges() == [1, 1, 1]


def test_what_the_command_of_the_last_run_set_still_counts(workspace: Workspace) -> None:
    text = MANIFEST.replace("the first", "'the {{ word }} one'").replace(
        "defaults", "vars: {word: old}\ndefaults"
    )
    workspace.put(text)
    workspace.run("--set", "word=new", "--only", "one")

    assert "is done and paid" in workspace.invoke("why", "one")
    assert "was never submitted" in workspace.invoke("why", "two")


def test_where_the_manifest_is_gone_the_run_is_named(workspace: Workspace) -> None:
    workspace.run()
    (workspace.folder / "workspace.yaml").unlink()

    told = workspace.invoke("why", "one")

    assert "(as of run 1 of 20" in told
    assert "workspace.yaml is not here" in told


def test_a_manifest_with_problems_is_no_reason_to_say_nothing(workspace: Workspace) -> None:
    workspace.run()
    workspace.put(EDITED + "  - {id: bad}\n")

    told = workspace.invoke("show", "one")

    assert "as of run 1 of 20" in told
    assert "the manifest has problems now: workspace.yaml:" in told
    workspace.invoke("why", "one", "workspace.yaml", code=2)


def test_a_job_that_left_or_is_new_is_said_to_be_so(workspace: Workspace) -> None:
    workspace.run("--only", "one")
    workspace.put(MANIFEST.replace("id: two", "id: three"))

    assert "is not in the manifest now" in workspace.invoke("why", "two")
    assert "three is new: the next run pays up to $0.03 for it" in workspace.invoke(
        "why", "three", "workspace.yaml"
    )
    assert "no job 'four'" in workspace.invoke("why", "four", "workspace.yaml", code=2)


def test_a_typed_manifest_says_which_batch_a_name_is_of(workspace: Workspace) -> None:
    workspace.put(f"name: spring\n{MANIFEST}")
    workspace.run("--only", "one")
    other = workspace.folder / "autumn.yaml"
    other.write_text(f"name: autumn\n{MANIFEST.replace('prompt: ', 'prompt: other ')}")

    told = workspace.invoke("why", "one", "autumn.yaml")

    assert "one is new: the next run pays up to $0.03 for it" in told
    assert "no history yet" in workspace.invoke("show", "one", "autumn.yaml", code=2)
    both = ("one", "workspace.yaml", "autumn.yaml")
    assert "spring/one, autumn/one" in workspace.invoke("why", *both, code=2)
    assert "is new" in workspace.invoke("why", "autumn/one", *both[1:])
    assert "is done and paid" in workspace.invoke("why", "one", "workspace.yaml")


def test_a_renamed_batch_still_has_its_paid_jobs(workspace: Workspace) -> None:
    workspace.put(f"name: spring\n{MANIFEST}")
    workspace.run("--only", "one")
    workspace.put(f"name: autumn\n{MANIFEST}")

    for command in ("why", "show"):
        told = workspace.invoke(command, "one", "workspace.yaml")
        assert "is done and paid" in told
        assert "as workspace.yaml stands now" in told


def test_before_any_run_a_manifest_is_enough(workspace: Workspace) -> None:
    assert "one is new: the next run pays up to $0.03 for it" in workspace.invoke(
        "why", "one", "workspace.yaml"
    )


def test_the_manifests_own_number_of_tries_counts(workspace: Workspace) -> None:
    workspace.put(MANIFEST + "retry: {attempts: 1}\n")
    workspace.world.faults.add(
        Fault(stage="job", what="fail", error="internal_error", prompt="first", times=1)
    )
    workspace.run(code=1)

    told = workspace.invoke("why", "one")

    assert "stays so: only `run --retry-failed`" in told
    workspace.run(code=1)
    assert workspace.charges() == [1]


def test_why_reads_the_manifest_of_the_last_run_of_one_whatever_came_after(
    workspace: Workspace,
) -> None:
    workspace.run()
    next((workspace.folder / "outputs").rglob("one.png")).unlink()
    workspace.invoke("verify", "--repair", "--emulator-url", workspace.url)
    workspace.put(EDITED)

    told = workspace.invoke("why", "one")

    assert "one has changed (changed: prompt): the next run pays" in told
