"""`list`: columns, filters, formats, and what it says to what it does not know."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import run_command
from support.engine import Rig, make_job
from support.process import environment

from kling_batch.emulator import Fault

OLD = Path(__file__).parents[1] / "data/ledger-v1.db"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three jobs, one of which fal refuses."""
    folder = tmp_path_factory.mktemp("list")
    refused = Fault(stage="job", what="fail", error="content_policy_violation", prompt="naked")
    rig = Rig(folder, faults=[refused])
    rig.run(
        [
            make_job("hero")._replace(tags=("spring",)),
            make_job("second", prompt="x" * 2_500),
            make_job("bad", prompt="naked"),
        ]
    )
    return rig.ledger_path


def say(ledger: Path, *words: str, code: int = 0) -> str:
    done = run_command("list", "--ledger", ledger, *words, cwd=ledger.parent)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_pipe_gets_every_character(ledger: Path) -> None:
    lines = say(ledger).splitlines()

    assert [line.split()[0] for line in lines] == ["failed", "done", "done"]
    assert "x" * 2_500 in lines[2]
    assert "\x1b" not in "".join(lines)


def test_filters_and_order(ledger: Path) -> None:
    def jobs(*words: str) -> list[str]:
        return [json.loads(line)["job_id"] for line in say(ledger, *words, "--json").splitlines()]

    assert jobs("--state", "FAILED") == jobs("--text", "NAKED") == ["bad"]
    assert jobs("--state", "done,failed", "--reverse") == ["second", "hero", "bad"]
    assert jobs("--tag", "spring") == ["hero"]
    assert jobs("--mode", "text-to-image") == jobs("--since", "1h") == []
    assert len(jobs("--since", "2026-01-01", "--tier", "standard")) == 3
    assert jobs("--cost", "0.43") == []
    assert jobs("--cost", "<0.42") == jobs("--cost", "<0.01") == ["bad"]  # its cost is shown as 0
    assert jobs("--cost", "0.42") == jobs("--cost", "0.1..0.5") == ["hero", "second"]
    assert jobs("--sort", "cost") == ["hero", "second", "bad"]
    assert jobs("--limit", "1") == ["bad"]
    assert jobs("--limit", "0") == []


def test_the_word_and_the_state(ledger: Path) -> None:
    rows = [json.loads(line) for line in say(ledger, "--json").splitlines()]

    assert {(row["status"], row["state"]) for row in rows} == {
        ("done", "succeeded"),
        ("failed", "failed"),
    }


def test_csv_has_plain_numbers(ledger: Path) -> None:
    text = say(ledger, "--csv", "--columns", "job,state,cost,failure")

    rows = list(csv.DictReader(text.splitlines()))
    assert [row["job"] for row in rows] == ["test/bad", "test/hero", "test/second"]
    assert [row["cost"] for row in rows] == ["0.00", "0.42", "0.42"]
    assert rows[0]["failure"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--state", "faild"], "there are: waiting, queued, rendering, downloading, done, failed"),
        (["--state", "faild"], "did you mean `failed`?"),
        (["--state", ""], "there is no state ''"),
        (
            ["--mode", "text-to-vidoe"],
            "mode 'text-to-vidoe'; did you mean `text-to-video",
        ),
        (["--tier", "gold"], "no job has the tier 'gold'; there are: standard"),
        (["--columns", "cots"], "did you mean `cost`?"),
        (["--columns", ","], "name at least one column"),
        (["--since", "yesterday"], "write 2h, 7d, 2026-11-26"),
        (["--since", "99999d"], "write 2h, 7d, 2026-11-26"),
        (["--cost", "much"], "is not an amount in dollars"),
        (["--cost", "1e99"], "is not between 0 and"),
        (["--csv", "--json"], "not both"),
        (["--limit", "99999999999999999999"], "is not in the range"),
        (["--state", "x" * 2_500], "there is no state"),
    ],
)
def test_bad_input_gets_a_message(ledger: Path, words: list[str], told: str) -> None:
    said = say(ledger, *words, code=2)

    assert told in said
    assert "Traceback" not in said
    assert len(said) < 4_000


def test_nothing_in_the_ledger_is_nothing_in_the_list(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 99)
    (tmp_path / "empty.db").touch()

    for name in ("missing.db", "ledger.db", "empty.db"):
        for command in ("list", "status", "report", "export --jsonl", "show hero", "why hero"):
            done = run_command(*command.split(), "--ledger", name, cwd=tmp_path)
            assert done.returncode == 7, (command, name)
            assert done.stderr.startswith(f"kling-batch: {name}: ")
            assert done.stdout == ""


def test_every_command_reads_a_ledger_that_no_run_has_upgraded(tmp_path: Path) -> None:
    old = tmp_path / "ledger.db"
    shutil.copy(OLD, old)
    before = old.read_bytes()

    for command in ("list", "list --state done", "status", "report --by reason", "export --jsonl"):
        done = run_command(*command.split(), "--ledger", old, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout
    tagged = run_command("list", "--tag", "x", "--ledger", old, cwd=tmp_path)
    assert "has no tags yet: the next run records them" in tagged.stderr
    assert old.read_bytes() == before


@pytest.mark.parametrize("part", [(100, 4_000), (20_480, 60_000), (60_000, 200_000)])
def test_a_damaged_ledger_is_a_message(ledger: Path, tmp_path: Path, part: tuple[int, int]) -> None:
    data = bytearray(ledger.read_bytes())
    begin, end = part[0], min(part[1], len(data))
    data[begin:end] = b"Z" * (end - begin)
    (tmp_path / "bad.db").write_bytes(data)

    for command in ("list", "status", "report", "export --jsonl", "show hero"):
        done = run_command(*command.split(), "--ledger", "bad.db", cwd=tmp_path)
        assert done.returncode == 7, command
        assert "the ledger is damaged" in done.stderr


def test_a_pipe_that_closes_is_no_error(ledger: Path) -> None:
    script = f"{shlex.quote(sys.executable)} -m kling_batch list --ledger {ledger} --json | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
