"""The plan as a comment on a pull request."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import run_command

from kling_batch.report.plan_markdown import OPEN_ROWS, marker

STILLS = "version: 1\nname: a\ndefaults: {mode: text-to-image}\njobs:\n"


def stills(number: int, prompt: str = "p") -> str:
    return STILLS + "".join(f"  - {{id: j{n}, prompt: {prompt}}}\n" for n in range(number))


def page(folder: Path, text: str) -> str:
    (folder / "a.yaml").write_text(text)
    done = run_command("plan", "a.yaml", "--markdown", "--offline", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_totals_stand_by_mode_and_tier(tmp_path: Path) -> None:
    shown = page(
        tmp_path,
        stills(2) + "  - {id: v, mode: text-to-video, tier: standard, prompt: p, duration: 5}\n",
    )

    assert "| text-to-image pro | 1 | $0.03 |" in shown  # two equal jobs are paid for once
    assert "| text-to-video standard | 1 | $" in shown


@pytest.mark.parametrize("number", [OPEN_ROWS, OPEN_ROWS + 1])
def test_many_rows_are_folded(number: int, tmp_path: Path) -> None:
    shown = page(tmp_path, stills(number))

    assert shown.count("| pay |") == number
    assert (f"<summary>all {number} jobs</summary>" in shown) == (number > OPEN_ROWS)


def test_a_comment_of_long_prompts_fits_into_github(tmp_path: Path) -> None:
    shown = page(tmp_path, stills(300, "'" + "ä<*" * 800 + "'"))

    assert len(shown) < 65_536
    assert "300 to pay" in shown
    assert "more (`plan --json` lists all)" in shown


def test_the_marker_is_one_invisible_line_whatever_the_names() -> None:
    assert marker(["b", "a", "b"]) == "<!-- kling-batch plan: a, b -->"
    hostile = marker(["x --> <b>\nnext"])
    assert hostile.startswith("<!--")
    assert hostile.count("-->") == hostile.count("\n") + 1 == 1
