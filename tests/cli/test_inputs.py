"""Inputs as people have them: what is seen before paying, and what is paid once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from PIL import Image
from support.books import paid_once
from support.cli import Workspace, run_command
from support.process import environment

TABLE = '{from: p.csv, id: "sku-{{ sku }}", mode: text-to-image, prompt: "{{ title }} on marble"}'


def batch(*jobs: str) -> str:
    return "version: 1\njobs:\n" + "".join(f"  - {job}\n" for job in jobs)


def holders(folder: Path, text: str) -> list[str]:
    """The files that hold a text."""
    return [p.name for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


# -- tables ------------------------------------------------------------------------------------


def test_blank_rows_and_cells_are_never_paid(workspace: Workspace) -> None:
    workspace.put(batch(TABLE))
    table = workspace.folder / "p.csv"
    for flaw in ("2,", "2,#REF!", "2,  "):
        table.write_text(f"sku,title\n1,Red shoe\n{flaw}\n")
        told = workspace.run(code=2)
        assert "p.csv:3: column title: the cell is" in told
    assert workspace.world.books.posts == []

    table.write_text("sku,title\n1,Red shoe\n,\n")
    workspace.run()

    assert workspace.prompts() == ["Red shoe on marble"]
    paid_once(workspace, 1)


def test_line_ends_of_a_table_buy_nothing_again(workspace: Workspace) -> None:
    workspace.put(batch("{from: j.csv}"))
    table = workspace.folder / "j.csv"
    table.write_bytes(b'id,mode,prompt\na,text-to-image,"one\ntwo"\n')
    workspace.run()

    table.write_bytes(table.read_bytes().replace(b"\n", b"\r\n"))

    assert json.loads(workspace.plan("--json"))["idle"]
    workspace.run()
    assert workspace.prompts() == ["one\ntwo"]
    paid_once(workspace, 1)


# -- URLs --------------------------------------------------------------------------------------

CAT = "https://b.s3.amazonaws.com/cat.png?X-Amz-Date=2026&X-Amz-Signature=sign-{0}"
SECRET = "https://user:pass-{0}@host.example/end.png"


def test_a_newly_signed_url_is_kept_and_its_signature_is_nowhere(workspace: Workspace) -> None:
    clip = "{{id: cat, mode: image-to-video, tier: standard, prompt: x, {0}}}"
    inputs = f'image_url: "{CAT}", end_image_url: "{SECRET}"'
    workspace.put(batch(clip.format(inputs.format("A"))))
    told = workspace.run("--json", "--summary", "summary.md", "--junit", "j.xml")
    workspace.put(batch(clip.format(inputs.format("B"))))

    told += workspace.invoke("plan", workspace.file, "--show", "prompts")
    told += workspace.invoke("plan", workspace.file, "--json")
    told += workspace.invoke("plan", workspace.file, "--markdown")
    told += workspace.invoke("why", "cat") + workspace.invoke("show", "cat") + workspace.run()
    told += workspace.invoke("report") + workspace.invoke("list")

    paid_once(workspace, 1)
    (request,) = workspace.world.books.accepted
    assert request.payload["image_url"] == CAT.format("A")
    assert request.payload["end_image_url"] == SECRET.format("A")
    (workspace.folder / workspace.file).unlink()
    for secret in ("sign-A", "sign-B", "pass-A", "pass-B"):
        assert secret not in told
        assert holders(workspace.folder, secret) == []
    assert "https://b.s3.amazonaws.com/cat.png" in told


def test_an_address_that_fal_cannot_reach_is_reported_before_paying(workspace: Workspace) -> None:
    clip = '{{id: a, mode: image-to-video, prompt: x, image_url: "{0}"}}'
    for url, why in (
        ("http://127.0.0.1:9000/a.png", "an address of your own network (`127.0.0.1`)"),
        ("https://me:secret-pw@nas.local/a.png", "an address of your own network"),
        ("https://host.example/my cat.png", "holds a blank; write %20 for it"),
    ):
        workspace.put(batch(clip.format(url)))
        told = workspace.run(code=2)
        assert why in told
        assert "secret-pw" not in told
    assert workspace.world.books.posts == []


# -- what will be sent -------------------------------------------------------------------------


def test_a_prompt_that_ends_at_a_comment_is_warned_of_and_shown(workspace: Workspace) -> None:
    workspace.put(batch("id: a\n    mode: text-to-image\n    prompt: Shot #1 of the shoe"))

    told = workspace.invoke("plan", workspace.file, "--show", "prompts")

    assert f"{workspace.file}:5:13: warning: the text ends before ` #`" in told
    assert 'what is sent: "Shot"' in told
    assert re.search(r"^ +prompt: Shot$", told, re.MULTILINE)
    assert re.search(r"^ +aspect_ratio: 1:1$", told, re.MULTILINE)
    assert " prompt: " not in workspace.invoke("plan", workspace.file)


def test_the_warning_shows_the_prompt_as_it_is_sent_cut_in_the_middle(workspace: Workspace) -> None:
    job = "id: a\n    mode: text-to-image\n    prompt: The {{ brand }} shoe"
    workspace.put(
        batch(job + f" {'wide ' * 60}turns #1").replace("jobs:", "vars: {brand: Acme}\njobs:")
    )

    told = workspace.run("--quiet")

    (sent,) = workspace.prompts()
    assert sent.startswith("The Acme shoe")
    (warning,) = (line for line in told.splitlines() if "the text ends before ` #`" in line)
    assert 'what is sent: "The Acme shoe wide' in warning
    assert 'wide turns"' in warning
    assert len(warning) < 400


def test_json_and_markdown_show_what_will_be_sent(workspace: Workspace) -> None:
    workspace.put(batch('{id: a, mode: text-to-image, prompt: "a *red* fox"}'))

    (job,) = json.loads(workspace.invoke("plan", workspace.file, "--json"))["jobs"]
    assert job["arguments"]["prompt"] == "a *red* fox"
    assert job["arguments"]["aspect_ratio"] == "1:1"
    assert "prompt: a \\*red\\* fox" in workspace.invoke("plan", workspace.file, "--markdown")


def test_an_unquoted_reference_says_what_to_do(workspace: Workspace) -> None:
    workspace.put("version: 1\njobs:\n  - id: a\n    prompt: @Image1 walks\n")

    told = workspace.invoke("plan", workspace.file, code=2)

    assert f"{workspace.file}:4:13: not YAML: quote it: a plain value cannot begin with @" in told


# -- home folders ------------------------------------------------------------------------------


def in_home(workspace: Workspace, *words: str, **variables: str) -> Path:
    """One command of somebody whose home folder is not the working folder; that folder."""
    home = workspace.folder.parent / "home"
    env = environment(HOME=str(home), **variables)
    done = run_command(*words, cwd=workspace.folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def test_a_tilde_is_the_home_folder_wherever_a_path_is_written(workspace: Workspace) -> None:
    home = workspace.folder.parent / "home"
    home.mkdir()
    (home / "t.csv").write_text("id,mode,prompt\na,text-to-image,fox\n")
    Image.new("RGB", (400, 400)).save(home / "p.png")
    workspace.put(
        "version: 1\nname: b\noutput: ~/renders\njobs:\n"
        "  - {from: ~/t.csv}\n"
        "  - {id: c, mode: image-to-video, tier: standard, prompt: x, image_url: ~/p.png}\n"
    )
    run = ("run", workspace.file, "--emulator-url", workspace.url)

    in_home(workspace, *run, "--junit=~/j.xml", "--summary=~/s.md")

    assert (home / "renders/b/text-to-image/a.png").is_file()
    assert (home / "renders/b/image-to-video/c.mp4").is_file()
    assert (home / "renders/ledger.db").is_file()
    assert (home / "j.xml").is_file()
    assert (home / "s.md").is_file()
    paid_once(workspace, 2)

    in_home(workspace, *run, "--output=~/other", "--ledger=~/renders/ledger.db")
    assert (home / "other/b/text-to-image/a.png").is_file()
    in_home(workspace, *run, KLING_BATCH_OUTPUT="~/third", KLING_BATCH_LEDGER="~/renders/ledger.db")
    assert (home / "third/b/text-to-image/a.png").is_file()
    assert list(workspace.folder.rglob("~*")) == []
    paid_once(workspace, 2)


def test_a_home_folder_that_is_none_costs_nothing(workspace: Workspace) -> None:
    for words in (("--output=~nobody-here/x",), ("--junit=~nobody-here/j.xml",)):
        assert "`~nobody-here` is no home folder here" in workspace.run(*words, code=2)
    workspace.put(batch("{from: ~nobody-here/t.csv}"))
    assert "`~nobody-here` is no home folder here" in workspace.run(code=2)
    workspace.put(
        "version: 1\noutput: ~nobody-here\njobs: [{id: a, mode: text-to-image, prompt: x}]\n"
    )
    assert "`~nobody-here` is no home folder here" in workspace.run(code=2)
    assert workspace.world.books.posts == []


# -- one letter, two spellings -------------------------------------------------------------------

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_names_and_prompts_in_another_unicode_form_buy_nothing_again(workspace: Workspace) -> None:
    job = '{{id: {0}, mode: text-to-image, prompt: "{0} au lait"}}'
    workspace.put(batch(job.format(COMPOSED)))
    workspace.run()

    workspace.put(batch(job.format(DECOMPOSED)))

    assert json.loads(workspace.plan("--json"))["idle"]
    workspace.run("--only", DECOMPOSED)
    assert COMPOSED in workspace.invoke("show", DECOMPOSED)
    assert workspace.prompts() == [f"{COMPOSED} au lait"]
    assert workspace.pictures() == [f"{COMPOSED}.png"]
    paid_once(workspace, 1)


def test_a_file_is_found_in_the_form_that_the_disk_has(workspace: Workspace) -> None:
    Image.new("RGB", (400, 400)).save(workspace.folder / f"{DECOMPOSED}.png")
    header = f"id,mode,tier,prompt,image_url,{DECOMPOSED}"
    row = f"a,image-to-video,standard,x,{COMPOSED}.png,noir"
    (workspace.folder / f"{COMPOSED}.csv").write_text(f"{header}\n{row}\n")
    workspace.put(batch(f'{{from: {DECOMPOSED}.csv, prompt: "un {{{{ {COMPOSED} }}}}"}}'))

    workspace.run()

    assert workspace.prompts() == ["un noir"]
    paid_once(workspace, 1)


def test_a_lost_ledger_is_made_up_for_by_a_newly_signed_job(workspace: Workspace) -> None:
    clip = '{{id: cat, mode: image-to-video, tier: standard, prompt: x, image_url: "{0}"}}'
    workspace.put(batch(clip.format(CAT.format("A"))))
    workspace.run()
    for file in (workspace.folder / "outputs").glob("ledger.db*"):
        file.unlink()
    workspace.put(batch(clip.format(CAT.format("B"))))
    workspace.run()
    paid_once(workspace, 1)

    shutil.rmtree(workspace.folder / "outputs")
    workspace.put(batch(clip.format(CAT.format("C"))))
    workspace.run()

    paid_once(workspace, 1)
    assert holders(workspace.folder / "outputs", "sign-") == []


def test_a_single_shot_keeps_no_signature_and_is_paid_once(workspace: Workspace) -> None:
    words = ("video", "-p", "go", "--mode", "image-to-video", "--emulator-url", workspace.url)
    told = workspace.invoke(*words, "--image-url", CAT.format("A"))

    told += workspace.invoke(*words, "--image-url", CAT.format("B"))

    paid_once(workspace, 1)
    for secret in ("sign-A", "sign-B"):
        assert secret not in told
        assert holders(workspace.folder / "outputs", secret) == []
