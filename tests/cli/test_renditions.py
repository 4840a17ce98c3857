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
from support.cli import HERO, OTHER, Workspace, run_command
from support.process import environment

from kling_batch.ledger.reader import Reader
from kling_batch.ledger.renditions import current_renditions
from kling_batch.output.files import digest_of

POSTER = {"poster": {"format": "jpg", "width": 64}}
HEAD = "name: trial\ndefaults: {mode: text-to-image}\n"


def put(
    workspace: Workspace, *jobs: str, renditions: Mapping[str, Any] = POSTER, **keys: Any
) -> None:
    top = {"renditions": renditions, **keys}
    lines = "".join(f"{name}: {json.dumps(value)}\n" for name, value in top.items())
    workspace.put(HEAD + lines + "jobs:\n" + "".join(jobs or (HERO, OTHER)))


def folder_of(workspace: Workspace) -> Path:
    return workspace.folder / "outputs/trial/text-to-image"


def files(workspace: Workspace) -> set[str]:
    return {p.name for p in folder_of(workspace).iterdir() if not p.name.endswith(".json")}


def rows(workspace: Workspace) -> dict[str, str | None]:
    with Reader.open(workspace.folder / "outputs/ledger.db") as reader:
        return {Path(row.path).name: row.failure for _, row in current_renditions(reader)}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code, "{input}", "{output}"]


COPY = {"command": python("import sys, shutil; shutil.copy(*sys.argv[1:])"), "ext": ".bin"}
BROKEN = {"command": python("import sys; sys.exit('no room')"), "ext": ".bin"}


def test_a_run_makes_them_once_and_a_changed_recipe_again_for_nothing(workspace: Workspace) -> None:
    put(workspace)
    said = workspace.run()
    assert "renditions: 2 made; they cost nothing" in said
    assert files(workspace) == {"hero.png", "hero.poster.jpg", "other.png", "other.poster.jpg"}
    charges = workspace.charges()
    assert len(charges) == 2

    before = (folder_of(workspace) / "hero.poster.jpg").stat().st_mtime_ns
    said = workspace.run()
    assert "nothing to do" in said
    assert "rendition" not in said
    assert (folder_of(workspace) / "hero.poster.jpg").stat().st_mtime_ns == before

    put(workspace, renditions={"poster": {"format": "jpg", "width": 32}})
    said = workspace.run()
    assert "renditions: 2 made" in said
    with Image.open(folder_of(workspace) / "hero.poster.jpg") as poster:
        assert poster.width == 32
    assert files(workspace) == {"hero.png", "hero.poster.jpg", "other.png", "other.poster.jpg"}
    assert workspace.charges() == charges


@pytest.mark.acceptance
def test_what_is_missing_or_was_changed_is_made_again(workspace: Workspace) -> None:
    put(workspace)
    workspace.run()
    (folder_of(workspace) / "hero.poster.jpg").unlink()
    edited = folder_of(workspace) / "other.poster.jpg"
    edited.write_bytes(b"retouched by hand")

    said = workspace.run()

    assert "renditions: 2 made" in said
    kept = files(workspace) - {"hero.png", "hero.poster.jpg", "other.png", "other.poster.jpg"}
    (name,) = kept
    assert (folder_of(workspace) / name).read_bytes() == b"retouched by hand"
    assert len(workspace.charges()) == 2


def test_a_file_of_the_users_own_is_kept_beside(workspace: Workspace) -> None:
    put(workspace, renditions={})
    workspace.run()
    (folder_of(workspace) / "hero.poster.jpg").write_bytes(b"mine")

    put(workspace)
    workspace.run()

    contents = {p.read_bytes() for p in folder_of(workspace).glob("hero.poster*.jpg")}
    assert b"mine" in contents
    assert len(contents) == 2


def test_a_job_chooses_its_renditions(workspace: Workspace) -> None:
    recipes = {**POSTER, "small": {"format": "webp", "width": 16}}
    put(
        workspace,
        "  - {id: hero, prompt: first, renditions: [small]}\n",
        "  - {id: other, prompt: second, renditions: null}\n",
        "  - {id: third, prompt: third}\n",
        renditions=recipes,
    )

    workspace.run()

    made = {name for name in files(workspace) if not name.endswith(".png")}
    assert made == {"hero.small.webp", "third.poster.jpg", "third.small.webp"}


def test_a_failure_fails_no_job_and_is_reported(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={"raw": BROKEN, **POSTER})

    said = workspace.run(code=1)

    assert "hero, raw: " in said
    assert "failed (exit 1): no room" in said
    assert "1 of 1 job done" in said
    assert "1 made, 1 not made" in said
    assert rows(workspace)["hero.poster.jpg"] is None
    assert "no room" in str(rows(workspace)["hero.raw.bin"])
    assert len(workspace.charges()) == 1

    put(workspace, HERO, renditions={"raw": COPY, **POSTER})
    assert "renditions: 1 made" in workspace.run()
    assert rows(workspace) == {"hero.poster.jpg": None, "hero.raw.bin": None}
    assert (folder_of(workspace) / "hero.raw.bin").read_bytes() == (
        folder_of(workspace) / "hero.png"
    ).read_bytes()
    assert len(workspace.charges()) == 1


@pytest.mark.parametrize("lost", ["hero.png.json", "hero.png*"])
def test_a_sidecar_that_is_written_again_has_them(workspace: Workspace, lost: str) -> None:
    put(workspace, HERO)
    workspace.run()
    sidecar = folder_of(workspace) / "hero.png.json"
    noted = json.loads(sidecar.read_text())["renditions"]
    assert noted.keys() == {"poster"}
    for path in folder_of(workspace).glob(lost):
        path.unlink()

    workspace.invoke("verify", "--repair", "--emulator-url", workspace.url)

    assert json.loads(sidecar.read_text())["renditions"] == noted
    assert len(workspace.charges()) == 1


def test_the_sidecar_has_them_and_a_lost_ledger_makes_none_again(workspace: Workspace) -> None:
    put(workspace, HERO)
    workspace.run()
    sidecar = folder_of(workspace) / "hero.png.json"
    noted = json.loads(sidecar.read_text())["renditions"]["poster"]
    assert noted["file"] == "hero.poster.jpg"
    assert noted["recipe"] == {"ext": ".jpg", "format": "jpg", "kind": "still", "width": 64}
    before = (folder_of(workspace) / "hero.poster.jpg").stat().st_mtime_ns
    for path in (workspace.folder / "outputs").glob("ledger.db*"):
        path.unlink()

    workspace.run()

    assert (folder_of(workspace) / "hero.poster.jpg").stat().st_mtime_ns == before
    assert files(workspace) == {"hero.png", "hero.poster.jpg"}
    assert rows(workspace) == {"hero.poster.jpg": None}
    assert "poster" in json.loads(sidecar.read_text())["renditions"]
    assert len(workspace.charges()) == 1


@pytest.mark.acceptance
def test_nothing_is_made_of_a_file_that_was_edited(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={})
    workspace.run()
    file = folder_of(workspace) / "hero.png"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    put(workspace, HERO)

    (workspace.folder / "outputs").rename(workspace.folder / "moved")
    told = workspace.run("-o", "moved", code=1)
    repair = "kling-batch verify --repair --ledger moved/ledger.db"
    assert f"hero.png has changed since it was saved; `{repair}` puts it back" in told
    (workspace.folder / "moved").rename(workspace.folder / "outputs")
    assert "hero.poster.jpg" not in files(workspace)
    workspace.invoke("verify", "--repair", "--emulator-url", workspace.url)
    assert file.read_bytes() == content
    assert "renditions: 1 made" in workspace.run()
    assert len(workspace.charges()) == 1


@pytest.mark.acceptance
def test_another_render_gets_another_rendition(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={"raw": COPY})
    workspace.run()
    before = (folder_of(workspace) / "hero.raw.bin").read_bytes()

    put(workspace, HERO.replace("first", "better"), renditions={"raw": COPY})
    workspace.run()

    after = (folder_of(workspace) / "hero.raw.bin").read_bytes()
    assert after != before
    assert after == (folder_of(workspace) / "hero.png").read_bytes()
    noted = json.loads((folder_of(workspace) / "hero.png.json").read_text())
    assert noted["prompt"] == "better"
    assert noted["renditions"]["raw"]["recipe"]["command"] == [sys.executable]
    assert len(workspace.charges()) == 2


@pytest.mark.acceptance
def test_a_recipe_that_is_given_up_leaves_its_files_alone(workspace: Workspace) -> None:
    put(workspace)
    workspace.run()
    put(workspace, renditions={"small": {"format": "webp", "width": 16}})
    workspace.run()
    assert {"hero.poster.jpg", "hero.small.webp"} <= files(workspace)

    (folder_of(workspace) / "hero.poster.jpg").unlink()
    (folder_of(workspace) / "hero.small.webp").unlink()
    workspace.run()

    assert "hero.poster.jpg" not in rows(workspace)
    assert "other.poster.jpg" in rows(workspace)
    assert "hero.poster.jpg" not in files(workspace)


@pytest.mark.parametrize("words", [("run",), ("renditions",)])
def test_what_failed_and_is_not_asked_for_any_more_is_forgotten(
    workspace: Workspace, words: tuple[str, ...]
) -> None:
    put(workspace, renditions={"raw": BROKEN, **POSTER})
    workspace.run(code=1)
    workspace.put(f"{HEAD.replace('trial', 'elsewhere')}jobs:\n{HERO}{OTHER}")
    assert "nothing to do" not in workspace.run("--ledger", "outputs/ledger.db")
    assert "no room" in workspace.invoke("verify", code=1)  # asked for in the first manifest
    (folder_of(workspace) / "hero.poster.jpg").unlink()

    workspace.put(f"{HEAD}jobs:\n{HERO}{OTHER}")
    service = ("--emulator-url", workspace.url) if words == ("run",) else ()
    told = workspace.invoke(*words, workspace.file, *service)

    assert "made" not in told.replace("0 renditions made", "")
    assert rows(workspace) == {"other.poster.jpg": None}
    assert "everything fits" in workspace.invoke("verify")
    assert len(workspace.charges()) == 2


def test_what_failed_under_another_ending_is_forgotten(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={"raw": BROKEN})
    workspace.run(code=1)
    put(workspace, HERO, renditions={"raw": {**COPY, "ext": ".dat"}})

    assert "renditions: 1 made" in workspace.run()

    assert rows(workspace) == {"hero.raw.dat": None}
    assert "everything fits" in workspace.invoke("verify")


@pytest.mark.acceptance
def test_only_takes_the_renditions_of_these_jobs(workspace: Workspace) -> None:
    put(workspace, renditions={})
    workspace.run()
    put(workspace)

    workspace.run("--only", "hero")

    assert {name for name in files(workspace) if "poster" in name} == {"hero.poster.jpg"}


@pytest.mark.acceptance
def test_events_name_the_file_and_what_it_is_of(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={"raw": BROKEN, **POSTER})

    said = workspace.run("--json", code=1)

    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    by_name = {event["event"]: event for event in events}
    data = by_name["rendition"]["data"]
    assert data["rendition"] == "poster"
    assert data["path"].endswith("hero.poster.jpg")
    assert data["of"].endswith("hero.png")
    assert data["size"] == (folder_of(workspace) / "hero.poster.jpg").stat().st_size
    assert by_name["rendition_failed"]["data"]["rendition"] == "raw"
    assert by_name["rendition_failed"]["job"] == "hero"


def test_what_cannot_be_made_is_reported_before_anything_is_paid(workspace: Workspace) -> None:
    put(workspace, renditions={"a": {"format": "webm", "codec": "h264"}})

    assert "webm cannot hold h264" in workspace.invoke("validate", workspace.file, code=2)
    assert "webm cannot hold h264" in workspace.run(code=2)
    assert workspace.charges() == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.mkdir(o); open(o + '/x', 'w').write('x')", "made a folder at {output}, where a"),
        ("os.symlink(i, o)", "made a link at {output}, where a file is wanted"),
        ("open(i, 'ab').write(b'x'); open(o, 'w').write('x')", "changed {input}, the saved file"),
        (
            "os.rename(i, o)",
            "changed {input}, the saved file itself; `kling-batch verify --repair` fetches it ag",
        ),
        ("os.unlink(i); sys.exit('no room')", "no room; it changed {input}, the saved file"),
        (
            "open(i, 'ab').write(b'x'); os.kill(os.getppid(), 9)",
            "perhaps for want of memory; it changed {input}, the saved file itself",
        ),
    ],
)
def test_what_a_command_must_not_do_is_told_and_leaves_nothing(
    workspace: Workspace, code: str, said: str
) -> None:
    command = python(f"import os, sys; i, o = sys.argv[1:]; {code}")
    put(workspace, HERO, renditions={"raw": {"command": command, "ext": ".bin"}})
    repair = ("verify", "--repair", "--emulator-url", workspace.url)

    told = workspace.run(code=1)
    assert said in told
    changed = "changed {input}" in said
    assert ("(1 saved file not as saved any more)" in told) == changed
    assert ("(their files are safe)" in told) != changed

    assert not [path for path in folder_of(workspace).iterdir() if "raw" in path.name]
    told = workspace.invoke(*repair, code=1)
    why = "its command is not run: it has changed {input} before; correct the recipe first"
    assert (f"hero.png, raw: {why}" in told) == changed
    told = workspace.invoke("verify", code=1)
    assert "hero.png: " not in told
    assert ("correct the recipe first" in told) == changed
    assert ("`kling-batch renditions` makes it again" in told) != changed
    assert len(workspace.charges()) == 1

    put(workspace, HERO, renditions={"raw": COPY})
    assert "renditions: 1 made" in workspace.run()
    assert "everything fits" in workspace.invoke("verify")


@pytest.mark.acceptance
def test_of_two_commands_at_once_neither_is_accused_alone(workspace: Workspace) -> None:
    # Each waits until the other runs, so that both run at once.
    meet = (
        "import pathlib, shutil, sys, time; i, o, me, you = sys.argv[1:]\n"
        "pathlib.Path(me).touch()\n"
        "while not pathlib.Path(you).exists(): time.sleep(0.01)\n"
    )
    spoil = "shutil.copy(i, o); open(i, 'ab').write(b'x'); time.sleep(1)"
    copy = "time.sleep(0.5); shutil.copy(i, o)"
    recipes = {
        "aaa": {"command": [*python(meet + spoil), "a", "b"], "ext": ".bin", "timeout": 20},
        "bbb": {"command": [*python(meet + copy), "b", "a"], "ext": ".bin", "timeout": 20},
    }
    put(workspace, HERO, renditions=recipes, limits={"workers": 2})

    told = workspace.run(code=1)

    changed = "changed {input}, the saved file itself"
    assert f"{changed}, or bbb did, which ran beside it; `kling-batch verify --repair`" in told
    assert f"{changed}, or aaa did, which ran beside it; `kling-batch verify --repair`" in told
    assert files(workspace) == {"hero.png"}


@pytest.mark.acceptance
def test_a_command_that_changes_files_is_not_run_on_all_of_them(workspace: Workspace) -> None:
    command = python("import sys; open(sys.argv[1], 'ab').write(b'x')")
    jobs = [f"  - {{id: j{n}, prompt: p{n}}}\n" for n in range(8)]
    put(workspace, *jobs, renditions={})
    workspace.run()
    saved = {path: path.read_bytes() for path in folder_of(workspace).glob("*.png")}
    put(workspace, *jobs, renditions={"raw": {"command": command, "ext": ".bin"}})
    (workspace.folder / "outputs").rename(workspace.folder / "moved")

    words = ("--workers", "1", "--ledger", "moved/ledger.db")
    told = workspace.invoke("renditions", workspace.file, *words, code=1)

    repair = "`kling-batch verify --repair --ledger moved/ledger.db` fetches it again"
    assert f"changed {{input}}, the saved file itself; {repair}" in told
    assert "its command is not run any more: it changed {input}, which was j" in told
    (workspace.folder / "moved").rename(workspace.folder / "outputs")
    assert sum(path.read_bytes() != content for path, content in saved.items()) <= 4


KEEPS_TIME = "import os, shutil, sys; i, o = sys.argv[1:]; t = os.stat(i); shutil.copy(i, o); "
#: Writes what it was asked for, and into the saved file; nothing but the content tells.
SPOILS = f"{KEEPS_TIME} open(i, 'r+b').write(b'x'); os.utime(i, ns=(t.st_atime_ns, t.st_mtime_ns))"


@pytest.mark.parametrize("code", ["open(i, 'r+b').write(b'x')", SPOILS])
def test_nothing_is_made_of_what_a_command_has_spoiled(workspace: Workspace, code: str) -> None:
    spoils = python(f"import shutil, sys; i, o = sys.argv[1:]; shutil.copy(i, o); {code}")
    others = {name: {**COPY, "timeout": n} for n, name in enumerate("bcdef", start=60)}
    recipes = {"aaa": {"command": spoils, "ext": ".bin"}, **others}
    put(workspace, HERO, renditions=recipes, limits={"workers": 1})

    said = workspace.run(code=1)

    assert "hero, f: hero.png has changed since it was saved; `kling-batch verify --re" in said
    saved = json.loads((folder_of(workspace) / "hero.png.json").read_text())["sha256"]
    made = [folder_of(workspace) / name for name, failure in rows(workspace).items() if not failure]
    assert {digest_of(path) for path in made} <= {saved}
    assert files(workspace) == {"hero.png", *(path.name for path in made)}
    assert len(workspace.charges()) == 1


def test_the_environment_can_leave_the_commands_of_a_manifest_out(workspace: Workspace) -> None:
    """Whoever starts them: a run, the command, or a repair of what was made before."""
    code = "import sys; open(sys.argv[2], 'w').write('x'); open('started', 'a').write('x')"
    put(workspace, HERO, renditions={"raw": {"command": python(code), "ext": ".bin"}, **POSTER})
    service = ("--emulator-url", workspace.url)
    reason = "its command is left out: KLING_BATCH_HOOKS=0"

    def forbidden(*words: str, code: int = 0) -> str:
        env = {**environment(), "KLING_BATCH_HOOKS": "0"}
        done = run_command(*words, cwd=workspace.folder, env=env)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    said = forbidden("run", workspace.file, *service)
    assert f"the rendition `raw` cannot be made: {reason}" in said
    assert "renditions: 1 made" in said
    assert reason in forbidden("renditions", workspace.file)
    assert "nothing to do" in forbidden("run", workspace.file, *service)
    assert files(workspace) == {"hero.png", "hero.poster.jpg"}
    assert not (workspace.folder / "started").exists()

    workspace.run()
    assert (workspace.folder / "started").read_text() == "x"
    (folder_of(workspace) / "hero.raw.bin").unlink()
    assert f"hero.png, raw: {reason}" in forbidden("verify", "--repair", code=1)
    assert (workspace.folder / "started").read_text() == "x"


# -- the command -----------------------------------------------------------------------------------


def test_the_command_makes_what_is_missing_without_a_key_or_a_service(workspace: Workspace) -> None:
    put(workspace, renditions={})
    workspace.run()
    put(workspace)

    said = workspace.invoke("renditions", workspace.file, "--only", "hero")
    assert said.splitlines() == [
        "outputs/trial/text-to-image/hero.poster.jpg",
        "1 rendition made",
    ]
    assert workspace.invoke("renditions", workspace.file).splitlines()[-1] == "1 rendition made"
    assert workspace.invoke("renditions", workspace.file) == "0 renditions made\n"
    assert "nothing to do" in workspace.run()
    assert len(workspace.charges()) == 2


@pytest.mark.acceptance
def test_without_a_manifest_it_makes_again_what_is_gone(workspace: Workspace) -> None:
    put(workspace)
    workspace.run()
    before = (folder_of(workspace) / "hero.poster.jpg").read_bytes()
    (folder_of(workspace) / "hero.poster.jpg").unlink()

    assert "1 rendition made" in workspace.invoke("renditions")
    assert (folder_of(workspace) / "hero.poster.jpg").read_bytes() == before
    assert "select jobs of a MANIFEST" in workspace.invoke("renditions", "--only", "hero", code=2)


@pytest.mark.acceptance
def test_it_finds_the_ledger_of_a_trial(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={})
    workspace.invoke("run", workspace.file, "--emulator")
    put(workspace, HERO)

    said = workspace.invoke("renditions", workspace.file)

    assert said.splitlines()[0] == "outputs-emulator/trial/text-to-image/hero.poster.jpg"


@pytest.mark.acceptance
def test_its_failures_are_reported_and_end_with_1(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={})
    workspace.run()
    put(workspace, HERO, renditions={"raw": BROKEN})

    said = workspace.invoke("renditions", workspace.file, code=1)

    assert "not made: hero, raw: " in said
    assert "no room" in said
    assert said.endswith("0 renditions made, 1 not made\n")


def test_without_a_ledger_it_says_so(workspace: Workspace) -> None:
    put(workspace)

    assert "no ledger" in workspace.invoke("renditions", workspace.file, code=7)


@pytest.mark.acceptance
def test_validate_warns_of_what_is_not_installed(workspace: Workspace) -> None:
    recipe = {"command": ["no-such-program", "{input}", "{output}"], "ext": ".bin"}
    put(workspace, HERO, renditions={"raw": recipe})

    said = workspace.invoke("validate", workspace.file)

    sentence = "the rendition `raw` cannot be made: there is no program `no-such-program` here"
    assert f"workspace.yaml: warning: {sentence}" in said
    (problem,) = json.loads(workspace.invoke("validate", workspace.file, "--json"))["problems"]
    assert (problem["severity"], problem["message"]) == ("warning", sentence)
    assert "no such program" not in workspace.run(code=1)
    assert len(workspace.charges()) == 1


# -- where they are seen ---------------------------------------------------------------------------


def test_verify_compares_them_and_repair_makes_them_again(workspace: Workspace) -> None:
    put(workspace)
    workspace.run()
    assert "2 files, 2 renditions: everything fits" in workspace.invoke("verify")
    (folder_of(workspace) / "hero.poster.jpg").unlink()
    edited = folder_of(workspace) / "other.poster.jpg"
    content = edited.read_bytes()
    edited.write_bytes(content[:-1] + b"x")

    said = workspace.invoke("verify", code=1)
    assert "hero.poster.jpg: missing; `kling-batch renditions` makes it again" in said
    assert "other.poster.jpg: the content has changed since it was saved" in said
    (workspace.folder / "outputs").rename(workspace.folder / "moved")
    told = workspace.invoke("verify", "-o", "moved", code=1)
    assert "missing; `kling-batch renditions --ledger moved/ledger.db` makes it again" in told
    (workspace.folder / "moved").rename(workspace.folder / "outputs")
    workspace.invoke("verify", "--repair")

    assert edited.read_bytes() == content
    assert "everything fits" in workspace.invoke("verify")
    assert len(workspace.charges()) == 2


@pytest.mark.acceptance
def test_verify_names_what_could_not_be_made(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={"raw": BROKEN})
    workspace.run(code=1)

    assert "no room" in workspace.invoke("verify", code=1)
    assert "not made: " in workspace.invoke("verify", "--repair", code=1)


@pytest.mark.acceptance
def test_list_has_them_as_json(workspace: Workspace) -> None:
    put(
        workspace,
        HERO,
        OTHER.replace("}", ", renditions: null}"),
        renditions={"raw": BROKEN, **POSTER},
    )
    workspace.run(code=1)

    hero, other = (json.loads(line) for line in workspace.invoke("list", "--json").splitlines())

    assert other["renditions"] == []
    poster, raw = hero["renditions"]
    assert poster["path"] == "trial/text-to-image/hero.poster.jpg"
    assert (poster["rendition"], poster["of"]) == ("poster", hero["files"])
    assert poster["size"] == (workspace.folder / "outputs" / poster["path"]).stat().st_size
    assert raw["sha256"] is None
    assert "no room" in raw["failure"]


@pytest.mark.acceptance
def test_the_gallery_links_them(workspace: Workspace) -> None:
    put(workspace, HERO)
    workspace.run()
    workspace.invoke("gallery")

    page = (workspace.folder / "outputs/gallery.html").read_text()

    assert '"renditions":[{"name":"hero.poster.jpg","kind":"image"' in page
    assert '"url":"trial/text-to-image/hero.poster.jpg"' in page


@pytest.mark.acceptance
def test_the_markdown_summary_tells_them(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={"raw": BROKEN, **POSTER})
    workspace.run("--summary", "s.md", code=1)

    text = (workspace.folder / "s.md").read_text()

    assert "- Renditions: 1 made, 1 not made\n  - hero, raw: " in text


@pytest.mark.acceptance
def test_plan_counts_them_and_older_ledgers_have_none(workspace: Workspace) -> None:
    put(workspace, renditions={})
    workspace.run()
    put(workspace)

    assert "2 renditions of saved files to be made by a run; they cost nothing" in workspace.plan()
    with closing(sqlite3.connect(workspace.folder / "outputs/ledger.db")) as db:
        db.execute("drop table renditions")
        db.execute("delete from _sqlite_migrations where name = 'm006_renditions'")
        db.commit()
    assert "2 renditions of saved files" in workspace.plan()
    assert "everything fits" in workspace.invoke("verify")
    assert "renditions: 2 made" in workspace.run()
    assert "renditions" not in workspace.plan()


@pytest.mark.acceptance
def test_export_has_them(workspace: Workspace) -> None:
    put(workspace, HERO, renditions={"raw": BROKEN, **POSTER})
    workspace.run(code=1)

    lines = [json.loads(line) for line in workspace.invoke("export", "--jsonl").splitlines()]

    poster, raw = [line for line in lines if line["record"] == "rendition"]
    assert poster["recipe"]["format"] == "jpg"
    assert (poster["reason"], raw["made_at"]) == (None, None)
    assert "no room" in raw["reason"]


@pytest.mark.acceptance
def test_a_renamed_job_gets_what_is_there(workspace: Workspace) -> None:
    once = {"command": python("import sys, uuid; open(sys.argv[2], 'w').write(str(uuid.uuid4()))")}
    put(workspace, HERO, renditions={"raw": {**once, "ext": ".txt"}})
    workspace.run()
    made = (folder_of(workspace) / "hero.raw.txt").read_text()

    put(workspace, HERO.replace("hero", "lead"), renditions={"raw": {**once, "ext": ".txt"}})
    workspace.run()

    assert (folder_of(workspace) / "lead.raw.txt").read_text() == made
    noted = json.loads((folder_of(workspace) / "lead.png.json").read_text())["renditions"]
    assert noted["raw"]["file"] == "lead.raw.txt"
    assert "everything fits" in workspace.invoke("verify")
    assert not list(folder_of(workspace).glob(".*"))
    assert len(workspace.charges()) == 1
