"""Renditions beside a run: made once, made anew for nothing, and no job's failure."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.cli import HERO, OTHER, Desk

from kling_batch.ledger.reader import Reader
from kling_batch.ledger.renditions import current_renditions

POSTER = {"poster": {"format": "jpg", "width": 64}}
HEAD = "name: trial\ndefaults: {mode: text-to-image}\n"


def put(desk: Desk, *jobs: str, renditions: Mapping[str, Any] = POSTER, **keys: Any) -> None:
    top = {"renditions": renditions, **keys}
    lines = "".join(f"{name}: {json.dumps(value)}\n" for name, value in top.items())
    desk.put(HEAD + lines + "jobs:\n" + "".join(jobs or (HERO, OTHER)))


def folder_of(desk: Desk) -> Path:
    return desk.folder / "outputs/trial/text-to-image"


def files(desk: Desk) -> set[str]:
    return {p.name for p in folder_of(desk).iterdir() if not p.name.endswith(".json")}


def rows(desk: Desk) -> dict[str, str | None]:
    with Reader.open(desk.folder / "outputs/ledger.db") as reader:
        return {Path(row.path).name: row.failure for _, row in current_renditions(reader)}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code, "{input}", "{output}"]


COPY = {"command": python("import sys, shutil; shutil.copy(*sys.argv[1:])"), "ext": ".bin"}
BROKEN = {"command": python("import sys; sys.exit('no room')"), "ext": ".bin"}


def test_a_run_makes_them_once_and_a_changed_recipe_again_for_nothing(desk: Desk) -> None:
    put(desk)
    said = desk.run()
    assert "renditions: 2 made; they cost nothing" in said
    assert files(desk) == {"hero.png", "hero.poster.jpg", "other.png", "other.poster.jpg"}
    charges = desk.charges()
    assert len(charges) == 2

    before = (folder_of(desk) / "hero.poster.jpg").stat().st_mtime_ns
    said = desk.run()
    assert "nothing to do" in said
    assert "rendition" not in said
    assert (folder_of(desk) / "hero.poster.jpg").stat().st_mtime_ns == before

    put(desk, renditions={"poster": {"format": "jpg", "width": 32}})
    said = desk.run()
    assert "renditions: 2 made" in said
    with Image.open(folder_of(desk) / "hero.poster.jpg") as poster:
        assert poster.width == 32
    assert files(desk) == {"hero.png", "hero.poster.jpg", "other.png", "other.poster.jpg"}
    assert desk.charges() == charges


@pytest.mark.acceptance
def test_what_is_missing_or_was_changed_is_made_again(desk: Desk) -> None:
    put(desk)
    desk.run()
    (folder_of(desk) / "hero.poster.jpg").unlink()
    edited = folder_of(desk) / "other.poster.jpg"
    edited.write_bytes(b"retouched by hand")

    said = desk.run()

    assert "renditions: 2 made" in said
    kept = files(desk) - {"hero.png", "hero.poster.jpg", "other.png", "other.poster.jpg"}
    (name,) = kept
    assert (folder_of(desk) / name).read_bytes() == b"retouched by hand"
    assert len(desk.charges()) == 2


def test_a_file_of_the_users_own_is_kept_beside(desk: Desk) -> None:
    put(desk, renditions={})
    desk.run()
    (folder_of(desk) / "hero.poster.jpg").write_bytes(b"mine")

    put(desk)
    desk.run()

    contents = {p.read_bytes() for p in folder_of(desk).glob("hero.poster*.jpg")}
    assert b"mine" in contents
    assert len(contents) == 2


def test_a_job_chooses_its_renditions(desk: Desk) -> None:
    recipes = {**POSTER, "small": {"format": "webp", "width": 16}}
    put(
        desk,
        "  - {id: hero, prompt: first, renditions: [small]}\n",
        "  - {id: other, prompt: second, renditions: null}\n",
        "  - {id: third, prompt: third}\n",
        renditions=recipes,
    )

    desk.run()

    made = {name for name in files(desk) if not name.endswith(".png")}
    assert made == {"hero.small.webp", "third.poster.jpg", "third.small.webp"}


def test_a_failure_fails_no_job_and_is_told(desk: Desk) -> None:
    put(desk, HERO, renditions={"raw": BROKEN, **POSTER})

    said = desk.run(code=1)

    assert "hero, raw: " in said
    assert "failed (exit 1): no room" in said
    assert "1 of 1 job done" in said
    assert "1 made, 1 not made" in said
    assert rows(desk)["hero.poster.jpg"] is None
    assert "no room" in str(rows(desk)["hero.raw.bin"])
    assert len(desk.charges()) == 1

    put(desk, HERO, renditions={"raw": COPY, **POSTER})
    assert "renditions: 1 made" in desk.run()
    assert rows(desk) == {"hero.poster.jpg": None, "hero.raw.bin": None}
    assert (folder_of(desk) / "hero.raw.bin").read_bytes() == (
        folder_of(desk) / "hero.png"
    ).read_bytes()
    assert len(desk.charges()) == 1


def test_the_sidecar_has_them_and_a_lost_ledger_makes_none_again(desk: Desk) -> None:
    put(desk, HERO)
    desk.run()
    sidecar = folder_of(desk) / "hero.png.json"
    noted = json.loads(sidecar.read_text())["renditions"]["poster"]
    assert noted["file"] == "hero.poster.jpg"
    assert noted["recipe"] == {"ext": ".jpg", "format": "jpg", "kind": "still", "width": 64}
    before = (folder_of(desk) / "hero.poster.jpg").stat().st_mtime_ns
    for path in (desk.folder / "outputs").glob("ledger.db*"):
        path.unlink()

    desk.run()

    assert (folder_of(desk) / "hero.poster.jpg").stat().st_mtime_ns == before
    assert files(desk) == {"hero.png", "hero.poster.jpg"}
    assert rows(desk) == {"hero.poster.jpg": None}
    assert "poster" in json.loads(sidecar.read_text())["renditions"]
    assert len(desk.charges()) == 1


@pytest.mark.acceptance
def test_nothing_is_made_of_a_file_that_was_edited(desk: Desk) -> None:
    put(desk, HERO, renditions={})
    desk.run()
    file = folder_of(desk) / "hero.png"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    put(desk, HERO)

    (desk.folder / "outputs").rename(desk.folder / "moved")
    told = desk.run("-o", "moved", code=1)
    repair = "kling-batch verify --repair --ledger moved/ledger.db"
    assert f"hero.png has changed since it was saved; `{repair}` puts it back" in told
    (desk.folder / "moved").rename(desk.folder / "outputs")
    assert "hero.poster.jpg" not in files(desk)
    desk.say("verify", "--repair", "--emulator-url", desk.url)
    assert file.read_bytes() == content
    assert "renditions: 1 made" in desk.run()
    assert len(desk.charges()) == 1


@pytest.mark.acceptance
def test_another_render_gets_another_rendition(desk: Desk) -> None:
    put(desk, HERO, renditions={"raw": COPY})
    desk.run()
    before = (folder_of(desk) / "hero.raw.bin").read_bytes()

    put(desk, HERO.replace("first", "better"), renditions={"raw": COPY})
    desk.run()

    after = (folder_of(desk) / "hero.raw.bin").read_bytes()
    assert after != before
    assert after == (folder_of(desk) / "hero.png").read_bytes()
    noted = json.loads((folder_of(desk) / "hero.png.json").read_text())
    assert noted["prompt"] == "better"
    assert noted["renditions"]["raw"]["recipe"]["command"] == [sys.executable]
    assert len(desk.charges()) == 2


@pytest.mark.acceptance
def test_a_recipe_that_is_given_up_leaves_its_files_alone(desk: Desk) -> None:
    put(desk)
    desk.run()
    put(desk, renditions={"small": {"format": "webp", "width": 16}})
    desk.run()
    assert {"hero.poster.jpg", "hero.small.webp"} <= files(desk)

    (folder_of(desk) / "hero.poster.jpg").unlink()
    (folder_of(desk) / "hero.small.webp").unlink()
    desk.run()

    assert "hero.poster.jpg" not in rows(desk)
    assert "other.poster.jpg" in rows(desk)
    assert "hero.poster.jpg" not in files(desk)


@pytest.mark.acceptance
def test_only_takes_the_renditions_of_these_jobs(desk: Desk) -> None:
    put(desk, renditions={})
    desk.run()
    put(desk)

    desk.run("--only", "hero")

    assert {name for name in files(desk) if "poster" in name} == {"hero.poster.jpg"}


@pytest.mark.acceptance
def test_events_name_the_file_and_what_it_is_of(desk: Desk) -> None:
    put(desk, HERO, renditions={"raw": BROKEN, **POSTER})

    said = desk.run("--json", code=1)

    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    by_name = {event["event"]: event for event in events}
    data = by_name["rendition"]["data"]
    assert data["rendition"] == "poster"
    assert data["path"].endswith("hero.poster.jpg")
    assert data["of"].endswith("hero.png")
    assert data["size"] == (folder_of(desk) / "hero.poster.jpg").stat().st_size
    assert by_name["rendition_failed"]["data"]["rendition"] == "raw"
    assert by_name["rendition_failed"]["job"] == "hero"


def test_what_cannot_be_made_is_told_before_anything_is_paid(desk: Desk) -> None:
    put(desk, renditions={"a": {"format": "webm", "codec": "h264"}})

    assert "webm cannot hold h264" in desk.say("validate", desk.file, code=2)
    assert "webm cannot hold h264" in desk.run(code=2)
    assert desk.charges() == []


# -- the command -----------------------------------------------------------------------------------


def test_the_command_makes_what_is_missing_without_a_key_or_a_service(desk: Desk) -> None:
    put(desk, renditions={})
    desk.run()
    put(desk)

    said = desk.say("renditions", desk.file, "--only", "hero")
    assert said.splitlines() == [
        "outputs/trial/text-to-image/hero.poster.jpg",
        "1 rendition made",
    ]
    assert desk.say("renditions", desk.file).splitlines()[-1] == "1 rendition made"
    assert desk.say("renditions", desk.file) == "0 renditions made\n"
    assert "nothing to do" in desk.run()
    assert len(desk.charges()) == 2


@pytest.mark.acceptance
def test_without_a_manifest_it_makes_again_what_is_gone(desk: Desk) -> None:
    put(desk)
    desk.run()
    before = (folder_of(desk) / "hero.poster.jpg").read_bytes()
    (folder_of(desk) / "hero.poster.jpg").unlink()

    assert "1 rendition made" in desk.say("renditions")
    assert (folder_of(desk) / "hero.poster.jpg").read_bytes() == before
    assert "select jobs of a MANIFEST" in desk.say("renditions", "--only", "hero", code=2)


@pytest.mark.acceptance
def test_it_finds_the_ledger_of_a_trial(desk: Desk) -> None:
    put(desk, HERO, renditions={})
    desk.say("run", desk.file, "--emulator")
    put(desk, HERO)

    said = desk.say("renditions", desk.file)

    assert said.splitlines()[0] == "outputs-emulator/trial/text-to-image/hero.poster.jpg"


@pytest.mark.acceptance
def test_its_failures_are_told_and_end_with_1(desk: Desk) -> None:
    put(desk, HERO, renditions={})
    desk.run()
    put(desk, HERO, renditions={"raw": BROKEN})

    said = desk.say("renditions", desk.file, code=1)

    assert "not made: hero, raw: " in said
    assert "no room" in said
    assert said.endswith("0 renditions made, 1 not made\n")


def test_without_a_ledger_it_says_so(desk: Desk) -> None:
    put(desk)

    assert "no ledger" in desk.say("renditions", desk.file, code=7)


@pytest.mark.acceptance
def test_validate_warns_of_what_is_not_installed(desk: Desk) -> None:
    recipe = {"command": ["no-such-program", "{input}", "{output}"], "ext": ".bin"}
    put(desk, HERO, renditions={"raw": recipe})

    said = desk.say("validate", desk.file)

    sentence = "the rendition `raw` cannot be made: there is no program `no-such-program` here"
    assert f"desk.yaml: warning: {sentence}" in said
    (problem,) = json.loads(desk.say("validate", desk.file, "--json"))["problems"]
    assert (problem["severity"], problem["message"]) == ("warning", sentence)
    assert "no such program" not in desk.run(code=1)
    assert len(desk.charges()) == 1


# -- where they are seen ---------------------------------------------------------------------------


def test_verify_compares_them_and_repair_makes_them_again(desk: Desk) -> None:
    put(desk)
    desk.run()
    assert "2 files, 2 renditions: everything fits" in desk.say("verify")
    (folder_of(desk) / "hero.poster.jpg").unlink()
    edited = folder_of(desk) / "other.poster.jpg"
    content = edited.read_bytes()
    edited.write_bytes(content[:-1] + b"x")

    said = desk.say("verify", code=1)
    assert "hero.poster.jpg: missing; `kling-batch renditions` makes it again" in said
    assert "other.poster.jpg: the content has changed since it was saved" in said
    (desk.folder / "outputs").rename(desk.folder / "moved")
    told = desk.say("verify", "-o", "moved", code=1)
    assert "missing; `kling-batch renditions --ledger moved/ledger.db` makes it again" in told
    (desk.folder / "moved").rename(desk.folder / "outputs")
    desk.say("verify", "--repair")

    assert edited.read_bytes() == content
    assert "everything fits" in desk.say("verify")
    assert len(desk.charges()) == 2


@pytest.mark.acceptance
def test_verify_names_what_could_not_be_made(desk: Desk) -> None:
    put(desk, HERO, renditions={"raw": BROKEN})
    desk.run(code=1)

    assert "no room" in desk.say("verify", code=1)
    assert "not made: " in desk.say("verify", "--repair", code=1)


@pytest.mark.acceptance
def test_list_has_them_as_json(desk: Desk) -> None:
    put(desk, HERO, OTHER.replace("}", ", renditions: null}"), renditions={"raw": BROKEN, **POSTER})
    desk.run(code=1)

    hero, other = (json.loads(line) for line in desk.say("list", "--json").splitlines())

    assert other["renditions"] == []
    poster, raw = hero["renditions"]
    assert poster["path"] == "trial/text-to-image/hero.poster.jpg"
    assert (poster["rendition"], poster["of"]) == ("poster", hero["files"])
    assert poster["size"] == (desk.folder / "outputs" / poster["path"]).stat().st_size
    assert raw["sha256"] is None
    assert "no room" in raw["failure"]


@pytest.mark.acceptance
def test_the_gallery_links_them(desk: Desk) -> None:
    put(desk, HERO)
    desk.run()
    desk.say("gallery")

    page = (desk.folder / "outputs/gallery.html").read_text()

    assert '"renditions":[{"name":"hero.poster.jpg","kind":"image"' in page
    assert '"url":"trial/text-to-image/hero.poster.jpg"' in page


@pytest.mark.acceptance
def test_the_markdown_summary_tells_them(desk: Desk) -> None:
    put(desk, HERO, renditions={"raw": BROKEN, **POSTER})
    desk.run("--summary", "s.md", code=1)

    text = (desk.folder / "s.md").read_text()

    assert "- Renditions: 1 made, 1 not made\n  - hero, raw: " in text


@pytest.mark.acceptance
def test_plan_counts_them_and_older_ledgers_have_none(desk: Desk) -> None:
    put(desk, renditions={})
    desk.run()
    put(desk)

    assert "2 renditions of saved files to be made by a run; they cost nothing" in desk.plan()
    with closing(sqlite3.connect(desk.folder / "outputs/ledger.db")) as db:
        db.execute("drop table renditions")
        db.execute("delete from _sqlite_migrations where name = 'm006_renditions'")
        db.commit()
    assert "2 renditions of saved files" in desk.plan()
    assert "everything fits" in desk.say("verify")
    assert "renditions: 2 made" in desk.run()
    assert "renditions" not in desk.plan()


@pytest.mark.acceptance
def test_export_has_them(desk: Desk) -> None:
    put(desk, HERO, renditions={"raw": BROKEN, **POSTER})
    desk.run(code=1)

    lines = [json.loads(line) for line in desk.say("export", "--jsonl").splitlines()]

    poster, raw = [line for line in lines if line["record"] == "rendition"]
    assert poster["recipe"]["format"] == "jpg"
    assert (poster["reason"], raw["made_at"]) == (None, None)
    assert "no room" in raw["reason"]


@pytest.mark.acceptance
def test_a_renamed_job_gets_what_is_there(desk: Desk) -> None:
    once = {"command": python("import sys, uuid; open(sys.argv[2], 'w').write(str(uuid.uuid4()))")}
    put(desk, HERO, renditions={"raw": {**once, "ext": ".txt"}})
    desk.run()
    made = (folder_of(desk) / "hero.raw.txt").read_text()

    put(desk, HERO.replace("hero", "lead"), renditions={"raw": {**once, "ext": ".txt"}})
    desk.run()

    assert (folder_of(desk) / "lead.raw.txt").read_text() == made
    noted = json.loads((folder_of(desk) / "lead.png.json").read_text())["renditions"]
    assert noted["raw"]["file"] == "lead.raw.txt"
    assert "everything fits" in desk.say("verify")
    assert not list(folder_of(desk).glob(".*"))
    assert len(desk.charges()) == 1
