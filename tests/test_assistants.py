"""What assistants are given to read: commands that exist, a valid manifest, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml
from support.manifests import jobs

from kling_batch.cli.main import cli

ROOT = Path(__file__).parent.parent
SKILL = (ROOT / "SKILL.md").read_text()


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", SKILL, re.DOTALL))


COMMANDS = [line for line in blocks("sh").splitlines() if line.startswith("kling-batch ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_skill_is_accepted(line: str) -> None:
    _, name, *words = shlex.split(line, comments=True)
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert command.make_context(name, words).params


def test_the_skill_shows_every_mode_of_the_first_scripts() -> None:
    shown = set(re.findall(r"--mode (\S+)", blocks("sh")))

    assert shown == {"text-to-video", "image-to-video", "edit", "remix"}
    assert any(line.startswith("kling-batch generate") for line in COMMANDS)


def test_the_skills_manifest_is_valid(tmp_path: Path) -> None:
    assert set(jobs(tmp_path, blocks("yaml"))) == {
        "hero",
        "hero-clip",
        "spin-sneaker",
        "spin-backpack",
    }


def test_the_skill_has_the_front_matter_that_assistants_look_for() -> None:
    head = yaml.safe_load(SKILL.split("---\n")[1])

    assert head["name"] == "kling-batch"
    assert 40 < len(head["description"]) < 1024


def test_the_index_for_assistants_leads_to_files_that_exist() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "llms.txt").read_text())

    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []
