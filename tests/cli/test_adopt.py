"""`adopt`: a file of a person's own in a job's place."""

from __future__ import annotations

import json

from support.cli import EDITED, POLICY, Desk, invoke, key_of

from kling_batch.emulator import Fault


def test_adopt_takes_a_file_and_nothing_is_paid_for_it(desk: Desk) -> None:
    desk.say("plan", "desk.yaml")
    desk.world.faults.add(Fault(stage="job", what="fail", error="one_of", prompt="first"))
    desk.run(code=1)
    source = desk.folder / "outputs/desk/text-to-image/two.png"
    mine = desk.folder / "mine.png"
    mine.write_bytes(source.read_bytes())

    desk.say("adopt", "one", "mine.png")
    desk.run()

    assert desk.pictures() == ["one.png", "two.png"]
    assert len(desk.world.books.charges()) == 1
    assert "everything fits" in desk.say("verify")


def test_an_adopted_file_that_got_lost_is_brought_again_also_a_better_one(desk: Desk) -> None:
    desk.world.faults.add(Fault(stage="job", what="fail", error="one_of", prompt="first"))
    desk.run(code=1)
    folder = desk.folder / "outputs/desk/text-to-image"
    mine = desk.folder / "mine.png"
    mine.write_bytes((folder / "two.png").read_bytes())
    desk.say("adopt", "one", "mine.png")
    (folder / "one.png").unlink()
    assert "put it back" in desk.run(code=1)

    desk.say("adopt", "one", "mine.png")
    desk.run()
    better = mine.read_bytes().replace(b"IEND", b"tEXt", 1)[:-4] + b"\0\0\0\0IEND\xaeB`\x82"
    mine.write_bytes(better)
    desk.say("adopt", "one", "mine.png")
    desk.run()

    assert (folder / "one.png").read_bytes() == better
    assert len([name for name in desk.pictures() if name.startswith("one.")]) == 2  # one set aside
    assert len(desk.world.books.charges()) == 1
    assert "everything fits" in desk.say("verify")


def test_what_is_being_paid_for_is_not_adopted_and_nothing_is_copied(desk: Desk) -> None:
    desk.run()
    (desk.folder / "mine.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"IEND\xaeB`\x82")
    before = desk.pictures()

    assert "live or paid" in desk.say("adopt", "one", "mine.png", code=2)

    assert desk.pictures() == before


def test_adopting_for_an_old_name_takes_nobodys_place(desk: Desk) -> None:
    desk.world.faults.add(POLICY)
    desk.run(code=1)
    desk.put(EDITED)
    desk.run()
    folder = desk.folder / "outputs/desk/text-to-image"
    before = (folder / "one.png").read_bytes()
    invoke("adopt", f"one@{key_of(desk, 'the first')[3:11]}", folder / "two.png", cwd=desk.folder)
    assert (folder / "one.png").read_bytes() == before


def test_an_adopted_result_is_handed_out_by_the_single_shot(desk: Desk) -> None:
    desk.run()
    fail = Fault(stage="job", what="fail", error="content_policy_violation", prompt="a cat")
    desk.world.faults.add(fail)
    words = ("generate", "-p", "a cat", "--emulator-url", desk.url)
    desk.say(*words, code=1)
    lines = invoke("list", "--json", cwd=desk.folder).stdout.splitlines()
    name = next(json.loads(line)["job_id"] for line in lines if "a cat" in line)
    desk.say("adopt", name, "outputs/desk/text-to-image/one.png")
    assert "path" in invoke(*words, cwd=desk.folder).stdout
