"""How long `--version` and `--help` take, in empty interpreters."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.programs import Usage, kling_batch, measure
from benchmarks.results import Figure
from benchmarks.rows.base import Measured, Place, Row

COMMANDS: dict[str, float] = {"--version": 2.5, "--help": 4.0}


def words_of(option: str) -> list[str | Path]:
    """The installed command, as people type it."""
    script = Path(sys.executable).with_name("kling-batch")
    return [script, option] if script.exists() else kling_batch(option)


def short_commands(place: Place) -> Measured:
    """In turn, many rounds; the best of each."""
    rounds = place.pick(30, 15, 2)
    programs: dict[str, list[str | Path]] = {"empty": [sys.executable, "-c", "pass"]}
    programs |= {option: words_of(option) for option in COMMANDS}
    used: dict[str, list[Usage]] = {name: [] for name in programs}
    with place.fresh() as folder:
        for _ in range(rounds + 1):
            for name, words in programs.items():
                used[name].append(measure(words, folder=folder))
    wall = {name: min(each.wall for each in all_[1:]) for name, all_ in used.items()}
    cpu = {name: min(each.cpu for each in all_[1:]) for name, all_ in used.items()}
    figures = [
        Figure(
            name=f"`{option}` ÷ an empty interpreter",
            value=wall[option] / wall["empty"],
            bound=bound,
            note=f"{1000 * wall[option]:.0f} ms, empty {1000 * wall['empty']:.0f} ms",
        )
        for option, bound in COMMANDS.items()
    ]
    figures += [
        Figure(name=f"the same, processor time of `{option}`", value=cpu[option] / cpu["empty"])
        for option in COMMANDS
    ]
    return Measured(figures, {"rounds": rounds, "wall": wall, "cpu": cpu})


ROWS = (Row("startup", "`--version` and `--help` against an empty interpreter", short_commands),)
