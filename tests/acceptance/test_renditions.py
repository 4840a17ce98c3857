"""Forty clips with two renditions each, and runs that are killed while they are made."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from support.books import paid_once
from support.cli import Workspace
from support.process import run, start

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes are looked for in /proc"),
]

POSTER = "  poster: {format: jpg, at: 1s, width: 64}\n"
WEB = "  web: {format: mp4, height: 36, crf: 35}\n"
#: So slow that a kill lands in the middle; what it starts is to die with it.
SLOW = f"""\
  slow:
    command: [{sys.executable}, -c, "{{code}}", "{{{{input}}}}", "{{{{output}}}}"]
    ext: .bin
"""
SLEEP = (
    "import subprocess, sys, shutil; subprocess.run(['sleep', '{n}']); shutil.copy(*sys.argv[1:])"
)


def put(workspace: Workspace, *recipes: str, jobs: int = 40, mode: str = "text-to-video") -> None:
    workspace.put(
        "version: 1\nname: trial\nlimits: {workers: 2}\n"
        f"defaults: {{mode: {mode}, tier: standard}}\n"
        f"renditions:\n{''.join(recipes)}jobs:\n"
        '  - {id: "clip-{{ n }}", prompt: "no. {{ n }}", '
        f"matrix: {{n: {[*range(jobs)]}}}}}\n"
    )


def files(workspace: Workspace, pattern: str) -> set[Path]:
    return {*(workspace.folder / "outputs/trial").rglob(pattern)}


def hidden(workspace: Workspace) -> set[Path]:
    return files(workspace, ".*part*")


def processes(word: str) -> set[int]:
    """Processes that have this text among their words."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue
    return found - {os.getpid()}


def wait_for(what: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def test_forty_clips_have_eighty_renditions_and_are_paid_for_once(workspace: Workspace) -> None:
    put(workspace, POSTER, WEB)

    workspace.run()

    clips = files(workspace, "clip-*.mp4") - files(workspace, "*.web.mp4")
    assert len(clips) == 40
    assert len(files(workspace, "*.web.mp4") | files(workspace, "*.poster.jpg")) == 80
    assert hidden(workspace) == set()
    assert len(workspace.charges()) == 40
    made = {path: path.stat().st_mtime_ns for path in files(workspace, "clip-*.*")}

    assert "nothing to do" in workspace.run()
    assert {path: path.stat().st_mtime_ns for path in files(workspace, "clip-*.*")} == made

    put(workspace, POSTER, WEB.replace("crf: 35", "crf: 40"))
    assert "renditions: 40 made" in workspace.run()
    assert len(files(workspace, "*.web.mp4")) == 40
    changed = {path for path, at in made.items() if path.stat().st_mtime_ns != at}
    assert {path for path in changed if path.suffix != ".json"} == files(workspace, "*.web.mp4")
    paid_once(workspace, 40)
    assert len(workspace.charges()) == 40


def slow(number: str) -> str:
    return SLOW.format(code=SLEEP.replace("{n}", number))


def test_a_killed_run_leaves_no_half_file_and_the_next_one_makes_the_rest(
    workspace: Workspace,
) -> None:
    put(workspace, POSTER, slow("31.7"), jobs=6)
    words = ("run", workspace.file, "--emulator-url", workspace.url)
    with start(*words, cwd=workspace.folder) as process:
        wait_for(
            lambda: (
                len(processes("sleep\x0031.7")) == 2 and len(files(workspace, "*.poster.jpg")) >= 1
            )
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert files(workspace, "*.slow.bin") == set()
    wait_for(lambda: not processes("31.7"), 5)

    put(workspace, POSTER, slow("0.01"), jobs=6)
    done = run(*words, cwd=workspace.folder)

    assert done.returncode == 0, done.stderr
    assert len(files(workspace, "*.slow.bin")) == len(files(workspace, "*.poster.jpg")) == 6
    assert hidden(workspace) == set()
    assert len(workspace.charges()) == 6


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_kills_its_processes_at_once(
    workspace: Workspace, sent: signal.Signals, code: int
) -> None:
    put(workspace, slow("32.7"), jobs=3, mode="text-to-image")
    words = ("run", workspace.file, "--emulator-url", workspace.url)
    with start(*words, cwd=workspace.folder) as process:
        wait_for(
            lambda: len(processes("sleep\x0032.7")) == 2 and len(files(workspace, "*.png")) == 3
        )
        process.send_signal(sent)
        _, said = process.communicate(timeout=20)

    assert process.returncode == code, said
    assert processes("32.7") == set()
    assert "renditions: 3 left" in said or "renditions: 2 left" in said  # one may be unasked
    assert hidden(workspace) == set()
    assert len(workspace.charges()) == 3
