"""How long a large manifest takes to load and plan, as a multiple of what cannot be avoided.

    python benchmarks/scale.py [--rows 100000] [--rounds 5] [--json]

Each row of the output compares one way of writing a batch with a bare loop over the same file. The
time is that of the processor, the best of several alternating rounds, so that a busy machine
changes the ratios little. Ends with 1 if a ratio is above its bound.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from kling_batch.manifest.loader import load
from kling_batch.planning.plan import OnDisk, make_plan

MANIFEST = """\
vars: {brand: Acme}
defaults: {mode: text-to-video, tier: standard, duration: 5}
jobs:
  - from: rows.csv
    id: "sku-{{ sku }}"
    prompt: "{{ title }} by {{ brand }} on a marble table, soft light, {{ colour }}"
"""


@dataclass(frozen=True)
class Result:
    """One row of the output; times are seconds of the processor for all rows."""

    name: str
    rows: int
    bare: float
    ours: float
    bound: float

    @property
    def ratio(self) -> float:
        return self.ours / self.bare


def write_inputs(folder: Path, rows: int) -> None:
    """A table that a manifest reads, a table that is a manifest, and jobs written as YAML."""
    with (folder / "rows.csv").open("w") as file:
        file.write("sku,title,colour,price\n")
        file.writelines(f"{n},Lamp number {n} in brass,red,{n}.99\n" for n in range(rows))
    (folder / "manifest.yaml").write_text(MANIFEST)
    with (folder / "alone.csv").open("w") as file:
        file.write("id,mode,tier,prompt,duration\n")
        file.writelines(
            f"job-{n},text-to-video,standard,Lamp number {n} in brass,5\n" for n in range(rows)
        )
    with (folder / "written.yaml").open("w") as file:
        file.write("jobs:\n")
        file.writelines(
            f'- id: job-{n}\n  mode: text-to-video\n  prompt: "Number {n}: soft light"\n'
            f"  duration: {3 + n % 12}\n  tags: [a, b]\n"
            for n in range(rows // 10)
        )


def read_and_hash(path: Path) -> None:
    """What no program can avoid that identifies a job by its content."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            hashlib.sha256(json.dumps(row).encode()).hexdigest()


def read_yaml(path: Path) -> None:
    """The values alone, without places, checks or keys."""
    yaml.load(path.read_text(), yaml.CSafeLoader)


def load_and_plan(path: Path) -> None:
    """A batch that the ledger does not know yet."""
    make_plan(load(path).jobs, {}, on_disk=lambda _: OnDisk.MISSING)


def seconds(function: Callable[[Path], object], path: Path) -> float:
    start = time.process_time()
    function(path)
    return time.process_time() - start


CASES: tuple[tuple[str, Callable[[Path], object], str, Callable[[Path], object], str, float], ...]
CASES = (
    ("a manifest over a table", load_and_plan, "manifest.yaml", read_and_hash, "rows.csv", 4),
    ("a table as manifest", load_and_plan, "alone.csv", read_and_hash, "alone.csv", 4),
    ("jobs written as YAML", load, "written.yaml", read_yaml, "written.yaml", 3),
)


def measure(folder: Path, rows: int, rounds: int) -> list[Result]:
    results = []
    for name, ours, manifest, bare, table, bound in CASES:
        times = [
            (seconds(bare, folder / table), seconds(ours, folder / manifest)) for _ in range(rounds)
        ]
        count = rows // 10 if manifest == "written.yaml" else rows
        best = min(each for each, _ in times), min(each for _, each in times)
        results.append(Result(name, count, *best, bound))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), options.rows)
        results = measure(Path(folder), options.rows, options.rounds)
    if options.json:
        print(json.dumps([{**asdict(each), "ratio": each.ratio} for each in results], indent=2))
    else:
        print(f"{'':26}{'rows':>9}{'bare':>9}{'ours':>9}{'ratio':>8}{'bound':>8}")
        for each in results:
            times = f"{each.bare:>8.2f}s{each.ours:>8.2f}s"
            print(f"{each.name:26}{each.rows:>9,}{times}{each.ratio:>8.2f}{each.bound:>8.1f}")
    return int(any(each.ratio > each.bound for each in results))


if __name__ == "__main__":
    sys.exit(main())
