"""`adopt`: a file of a person's own in a job's place."""

from __future__ import annotations

import json
import shutil

from support.cli import EDITED, POLICY, Workspace, key_of, run_command

from kling_batch.emulator import Fault


def test_adopt_takes_a_file_and_nothing_is_paid_for_it(workspace: Workspace) -> None:
    workspace.invoke("plan", "workspace.yaml")
    workspace.world.faults.add(Fault(stage="job", what="fail", error="one_of", prompt="first"))
    workspace.run(code=1)
    source = workspace.folder / "outputs/workspace/text-to-image/two.png"
    mine = workspace.folder / "mine.png"
    mine.write_bytes(source.read_bytes())

    workspace.invoke("adopt", "one", "mine.png")
    workspace.run()

    assert workspace.pictures() == ["one.png", "two.png"]
    assert len(workspace.world.books.charges()) == 1
    free = workspace.invoke("list", "--cost", "<0.01", "--csv", "--columns", "job,cost")
    assert free.splitlines()[1:] == ["workspace/one,0.00"]
    by_cost = workspace.invoke("list", "--sort", "cost", "--csv", "--columns", "job,cost")
    assert by_cost.splitlines()[1:] == ["workspace/two,0.03", "workspace/one,0.00"]
    assert "everything fits" in workspace.invoke("verify")


def test_an_adopted_file_that_got_lost_is_brought_again_also_a_better_one(
    workspace: Workspace,
) -> None:
    workspace.world.faults.add(Fault(stage="job", what="fail", error="one_of", prompt="first"))
    workspace.run(code=1)
    folder = workspace.folder / "outputs/workspace/text-to-image"
    mine = workspace.folder / "mine.png"
    mine.write_bytes((folder / "two.png").read_bytes())
    workspace.invoke("adopt", "one", "mine.png")
    (folder / "one.png").unlink()
    assert "put it back" in workspace.run(code=1)

    workspace.invoke("adopt", "one", "mine.png")
    workspace.run()
    better = mine.read_bytes().replace(b"IEND", b"tEXt", 1)[:-4] + b"\0\0\0\0IEND\xaeB`\x82"
    mine.write_bytes(better)
    workspace.invoke("adopt", "one", "mine.png")
    workspace.run()

    assert (folder / "one.png").read_bytes() == better
    assert (
        len([name for name in workspace.pictures() if name.startswith("one.")]) == 2
    )  # one set aside
    assert len(workspace.world.books.charges()) == 1
    assert "everything fits" in workspace.invoke("verify")


def test_what_is_being_paid_for_is_not_adopted_and_nothing_is_copied(workspace: Workspace) -> None:
    workspace.run()
    (workspace.folder / "mine.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"IEND\xaeB`\x82")
    before = workspace.pictures()

    assert "live or paid" in workspace.invoke("adopt", "one", "mine.png", code=2)

    assert workspace.pictures() == before


def test_adopting_for_an_old_name_takes_nobodys_place(workspace: Workspace) -> None:
    workspace.world.faults.add(POLICY)
    workspace.run(code=1)
    workspace.put(EDITED)
    workspace.run()
    folder = workspace.folder / "outputs/workspace/text-to-image"
    before = (folder / "one.png").read_bytes()
    run_command(
        "adopt",
        f"one@{key_of(workspace, 'the first')[3:11]}",
        folder / "two.png",
        cwd=workspace.folder,
    )
    assert (folder / "one.png").read_bytes() == before


def test_an_adopted_result_is_handed_out_by_the_single_shot(workspace: Workspace) -> None:
    workspace.run()
    fail = Fault(stage="job", what="fail", error="content_policy_violation", prompt="a cat")
    workspace.world.faults.add(fail)
    words = ("generate", "-p", "a cat", "--emulator-url", workspace.url)
    workspace.invoke(*words, code=1)
    lines = run_command("list", "--json", cwd=workspace.folder).stdout.splitlines()
    name = next(json.loads(line)["job_id"] for line in lines if "a cat" in line)
    workspace.invoke("adopt", name, "outputs/workspace/text-to-image/one.png")
    assert "path" in run_command(*words, cwd=workspace.folder).stdout


def test_it_goes_where_the_files_of_its_batch_are_wherever_the_ledger_is(
    workspace: Workspace,
) -> None:
    places = ["--ledger", "kept/ledger.db"]
    workspace.run("--limit", "1", "--output", "out", *places)
    shutil.copy(next((workspace.folder / "out").rglob("one.png")), workspace.folder / "mine.png")

    workspace.invoke("adopt", "two", "mine.png", *places)

    assert (workspace.folder / "out/workspace/text-to-image/two.png").exists()
    assert not list((workspace.folder / "kept").rglob("*.png"))
    workspace.run("--output", "out", *places)
    assert len(workspace.world.books.accepted) == 1


def test_a_picture_is_no_clip_and_nothing_is_sent_with_it(workspace: Workspace) -> None:
    workspace.run()
    (workspace.folder / "bought.png").write_bytes(
        (workspace.folder / "outputs/workspace/text-to-image/one.png").read_bytes()
    )
    workspace.videos(
        "id: vid, prompt: no clip",
        "id: night, mode: edit, prompt: y, video_url: {job: vid}",
        "id: raw, endpoint: fal-ai/kling-video/o3/pro/text-to-video, input: {prompt: no clip}",
        "id: own, endpoint: a/b, price: 0.1, input: {prompt: no clip}",
    )
    fail = Fault(stage="job", what="fail", error="content_policy_violation", prompt="no clip")
    workspace.world.faults.add(fail)
    workspace.run("--no-schemas", code=1, manifest="trial.yaml")

    for name in ("vid", "raw"):
        told = workspace.invoke("adopt", name, "bought.png", code=2)
        assert f"bought.png is a picture, but {name} makes a clip; nothing was adopted" in told
    # What an endpoint makes that the catalogue does not know, only its user knows.
    workspace.invoke("adopt", "own", "bought.png")

    workspace.run("--no-schemas", code=1, manifest="trial.yaml")
    assert len(workspace.world.books.charges()) == 2
    assert not [each for each in workspace.world.books.accepted if "edit" in each.endpoint]


def test_a_voice_is_no_file(workspace: Workspace) -> None:
    workspace.run()
    workspace.videos("id: narrator, mode: voice, voice_url: 'https://a.example/v.mp3'")
    workspace.plan(manifest="trial.yaml")
    fail = Fault(stage="job", what="fail", error="content_policy_violation")
    workspace.world.faults.add(fail)
    workspace.run(code=1, manifest="trial.yaml")

    source = "outputs/workspace/text-to-image/one.png"
    told = workspace.invoke("adopt", "narrator", source, code=2)

    assert "narrator makes no file: its result is a voice" in told
