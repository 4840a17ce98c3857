"""Encodings and foreign text: no traceback, no control of the terminal, nothing paid left open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.books import paid_once
from support.cli import Workspace
from support.process import environment

MANIFEST = """\
version: 1
name: trial
defaults: {mode: text-to-image}
jobs:
  - {id: fox, prompt: "\U0001f98a \u00fcber \u2026"}
  - {id: red, prompt: "A \\e[31mred \\e]0;owned\\a \\u202Efox"}
"""

COMMANDS = [
    ["plan", "workspace.yaml"],
    ["list"],
    ["list", "--json"],
    ["status"],
    ["show", "fox"],
    ["why", "red"],
    ["report"],
    ["verify"],
    ["validate", "workspace.yaml"],
    ["show", "no-\u00e4"],
]

#: The environment of a machine whose file names are ASCII.
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def say(folder: Path, words: list[str], **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "kling_batch", *words],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "encoding",
    [
        "C",
        *(pytest.param(n, marks=pytest.mark.acceptance) for n in ("cp1252", "latin-1", "ascii")),
    ],
)
def test_no_command_fails_for_an_encoding(workspace: Workspace, encoding: str) -> None:
    env = PLAIN_C if encoding == "C" else {"PYTHONIOENCODING": encoding}
    workspace.put(MANIFEST)
    run = ["run", "workspace.yaml", "--emulator-url", workspace.url]

    done = say(workspace.folder, run, **env)

    assert done.returncode == 0, done.stderr
    for words in COMMANDS:
        done = say(workspace.folder, words, **env)
        assert b"Traceback" not in done.stderr, (words, done.stderr)
        # The data of a program are the same; everything else is about a name that is not there.
        assert done.returncode == (2 if "no-" in words[-1] else 0), (words, done.stderr)
        assert not set(done.stdout + done.stderr) & {0x1B, 0x07}, words
        assert "\u202e".encode() not in done.stdout + done.stderr, words
    paid_once(workspace, 2)


def test_json_keeps_the_content_of_a_prompt(workspace: Workspace) -> None:
    workspace.put(MANIFEST)
    workspace.run()

    rows = [
        json.loads(line) for line in say(workspace.folder, ["list", "--json"]).stdout.splitlines()
    ]

    assert {row["prompt"] for row in rows} == {
        "\U0001f98a \u00fcber \u2026",
        "A \x1b[31mred \x1b]0;owned\x07 \u202efox",
    }


@pytest.mark.skipif(os.name != "posix", reason="file names are Unicode there")
def test_a_name_that_cannot_be_written_is_not_paid_for_and_the_others_go_on(
    workspace: Workspace,
) -> None:
    names = ["\u00e4", *"bcdefghi"]
    workspace.write(*(f"  - {{id: {name}, prompt: p-{name}}}\n" for name in names))
    run = ["run", "workspace.yaml", "--emulator-url", workspace.url]

    done = say(workspace.folder, run, **PLAIN_C)

    assert done.returncode == 1, done.stderr
    assert b"cannot be part of a file name" in done.stderr
    assert b"Traceback" not in done.stderr
    assert workspace.pictures() == [f"{name}.png" for name in "bcdefghi"]
    paid_once(workspace, 8)
    workspace.run()
    paid_once(workspace, 9)
    again = say(workspace.folder, run, **PLAIN_C)
    assert b"Traceback" not in again.stderr
    workspace.run()
    assert len(workspace.pictures()) == 9
    paid_once(workspace, 9)
