"""What a run may pay without being asked again: `--yes`, `--limit`, `--plan`, the price alarm."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.cli import MANIFEST, ONE, run_command
from support.process import tls_stand_in


@pytest.mark.parametrize(
    "more", [(), ("--yes", "--limit", "0"), ("--yes", "--plan", "plan.json")], ids=str
)
def test_a_collected_failure_pays_nothing_more_than_was_agreed_to(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    """The first run had --yes; the second, by cron, has no word, a limit, or a reviewed plan."""
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {stage: job, what: fail, error: internal_error, nth: 1}\n")
    with tls_stand_in(tmp_path, "--profile", "instant", "--faults", str(faults)) as env:
        (tmp_path / "m.yaml").write_text(ONE)
        run_command("run", "m.yaml", "--yes", "--detach", cwd=tmp_path, env=env)
        made = run_command("plan", "m.yaml", "--save", "plan.json", cwd=tmp_path, env=env)
        assert "up to $0.00" in made.stdout
        run_command("run", "m.yaml", *more, cwd=tmp_path, env=env)
    with closing(sqlite3.connect(tmp_path / "outputs/ledger.db")) as db:
        assert db.execute("select count(*) from attempts").fetchone() == (1,)


def test_after_an_alarm_only_a_cap_is_a_word(tmp_path: Path) -> None:
    """Each night would buy a window full of renders at a price that is known to be wrong."""
    with tls_stand_in(tmp_path, "--profile", "instant") as env:
        (tmp_path / "m.yaml").write_text(MANIFEST)
        run_command("run", "m.yaml", "--yes", "--only", "one", cwd=tmp_path, env=env)
        with closing(sqlite3.connect(tmp_path / "outputs/ledger.db")) as db, db:
            db.execute("update attempts set cost_micro_usd = 4 * estimate_micro_usd")

        run_command(
            "run",
            "m.yaml",
            "--max-cost",
            "0.30",
            "--detach",
            "--only",
            "two",
            cwd=tmp_path,
            env=env,
        )
        (tmp_path / "m.yaml").write_text(MANIFEST + "  - {id: three, prompt: the third}\n")

        refused = run_command("run", "m.yaml", "--yes", cwd=tmp_path, env=env)
        collected = list(tmp_path.rglob("two.png"))
        capped = run_command("run", "m.yaml", "--max-cost", "0.20", cwd=tmp_path, env=env)
        enough = run_command("run", "m.yaml", "--max-cost", "0.30", cwd=tmp_path, env=env)

    assert (refused.returncode, capped.returncode, enough.returncode) == (4, 4, 0)
    assert "4.0 times" in refused.stderr
    assert collected, "what is open is collected all the same"
    with closing(sqlite3.connect(tmp_path / "outputs/ledger.db")) as db:
        assert db.execute("select count(*) from attempts").fetchone() == (3,)
