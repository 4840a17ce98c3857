"""Share of random slips in the money code that the tests aimed at it notice.

`python benchmarks/mutants.py --each 20 --seed 1 gate submission` tries twenty mutants of each of
these modules; without names, of all. The same seed takes the same mutants of the same code. mutmut
makes the mutants (extra `mutation`, table `[tool.mutmut]`); each is held against the few test files
of its module, in a fork of one process (`forks.py`), so that most take less than a second. A
survivor is printed as a diff: it wants a test, or the line is needless.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import TemporaryDirectory

#: Running this one makes all of them.
FIRST = "kling_batch.planning.retry.x_is_rendered__mutmut_1"

#: Module → the tests aimed at it.
AIMED = {
    "approval": ("tests/unit/planning/test_approval.py", "tests/cli/test_approval.py"),
    "cap_sums": (
        "tests/unit/ledger/test_cap_sums.py",
        "tests/unit/ledger/test_ledger.py",
        "tests/engine/test_caps.py",
    ),
    "classify": ("tests/unit/fal/test_classify.py", "tests/unit/fal/test_client.py"),
    "delivery": (
        "tests/engine/test_delivery.py",
        "tests/engine/test_name_locks.py",
        "tests/engine/test_stores.py",
    ),
    "gate": (
        "tests/unit/engine/test_gate.py",
        "tests/engine/test_gate.py",
        "tests/engine/test_stops.py",
        "tests/engine/test_budget.py",
        "tests/engine/test_caps.py",
    ),
    "ledger": (
        "tests/unit/ledger/test_ledger.py",
        "tests/unit/ledger/test_durability.py",
        "tests/unit/ledger/test_trial.py",
        "tests/unit/ledger/test_services.py",
        "tests/unit/ledger/test_names.py",
        "tests/unit/ledger/test_cap_sums.py",
        "tests/unit/ledger/test_database.py",
        "tests/engine/test_log_sync.py",
    ),
    "matching": ("tests/unit/engine/test_matching.py", "tests/engine/test_reconciler.py"),
    "pricing": ("tests/unit/catalog",),
    "reconciler": ("tests/engine/test_reconciler.py", "tests/engine/test_polling.py"),
    "retry": ("tests/unit/planning/test_retry.py", "tests/cli/test_retry.py"),
    "submission": (
        "tests/engine/test_submission.py",
        "tests/engine/test_budget.py",
        "tests/engine/test_stops.py",
        "tests/engine/test_gate.py",
        "tests/engine/test_job_inputs.py",
        "tests/engine/test_reconciler.py",
    ),
}
#: Where the tests are run, once for each mutant.
FORKS = Path(__file__).with_name("forks.py")


def names_of(module: str) -> list[str]:
    """The mutants of a module."""
    (path,) = Path("mutants/kling_batch").rglob(f"{module}.py.meta")
    return sorted(json.loads(path.read_text())["exit_code_by_key"])


def survivors_of(names: list[str], tests: tuple[str, ...]) -> list[str]:
    """The mutants with which none of the tests fails."""
    with TemporaryDirectory() as folder:
        asked, results = Path(folder, "names"), Path(folder, "results")
        asked.write_text("\n".join(names), encoding="utf-8")
        words = [sys.executable, str(FORKS), str(asked), str(results), *tests]
        done = subprocess.run(words, cwd="mutants", capture_output=True, check=False)
        found = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    said = dict(line.split("\t") for line in found)
    if said.get("") != "survived" or len(said) != len(names) + 1:
        print(done.stdout.decode(), done.stderr.decode(), file=sys.stderr)
        raise SystemExit(f"{', '.join(tests)} fail without any slip, or cannot be run")
    return [name for name in names if said[name] == "survived"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help=", ".join(AIMED))
    parser.add_argument("--each", type=int, default=20, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rmtree("mutants/tests", ignore_errors=True)  # copied anew, without those renamed since
    subprocess.run([sys.executable, "-m", "mutmut", "run", FIRST], check=True)
    rows, all_tried, all_noticed = [], 0, 0
    for module in options.modules or AIMED:
        names = names_of(module)
        sample = Random(options.seed).sample(names, min(options.each, len(names)))
        survivors = survivors_of(sample, AIMED[module])
        for name in survivors:
            subprocess.run([sys.executable, "-m", "mutmut", "show", name], check=False)
        good = len(sample) - len(survivors)
        all_tried, all_noticed = all_tried + len(sample), all_noticed + good
        rows.append(f"| {module} | {len(names)} | {len(sample)} | {good / len(sample):.0%} |")
        print(rows[-1], flush=True)
    print("\n| module | mutants | tried | noticed |\n|---|---|---|---|", *rows, sep="\n")
    print(f"{all_noticed} of {all_tried} noticed: {all_noticed / all_tried:.1%}")


if __name__ == "__main__":
    main()
