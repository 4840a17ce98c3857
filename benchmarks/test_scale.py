"""A hundred thousand rows cost a few times what merely reading and hashing them costs."""

from __future__ import annotations

import csv
import hashlib
import json
import time
import tracemalloc

import pytest
import yaml

from kling_batch.manifest.loader import load

MANIFEST = """\
vars: {brand: Acme}
defaults: {mode: text-to-video, tier: standard, duration: 5}
jobs:
  - from: rows.csv
    id: "sku-{{ sku }}"
    prompt: "{{ title }} by {{ brand }} on a marble table, soft light, {{ colour }}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scale")


def write_rows(folder, count):
    with (folder / "rows.csv").open("w") as file:
        file.write("sku,title,colour,price\n")
        file.writelines(f"{n},Lamp number {n} in brass,red,{n}.99\n" for n in range(count))
    (folder / "m.yaml").write_text(MANIFEST)
    with (folder / "alone.csv").open("w") as file:
        file.write("id,mode,tier,prompt,duration\n")
        file.writelines(
            f"job-{n},text-to-video,standard,Lamp number {n} in brass,5\n" for n in range(count)
        )


def bare(path):
    """What no program that plans by content could do without."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            hashlib.sha256(json.dumps(row).encode()).hexdigest()


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def ratio(folder, manifest, table, rounds=5):
    """Best against best: the machine may be busy, but not for ever."""
    times = [
        (seconds(bare, folder / table), seconds(load, folder / manifest)) for _ in range(rounds)
    ]
    return min(ours for _, ours in times) / min(theirs for theirs, _ in times)


@pytest.mark.parametrize(
    ("manifest", "table"), [("m.yaml", "rows.csv"), ("alone.csv", "alone.csv")]
)
def test_rows_take_a_few_times_the_bare_loop(folder, manifest, table):
    write_rows(folder, 20_000)

    assert ratio(folder, manifest, table) < 6


@pytest.mark.long
def test_a_hundred_thousand_rows(folder):
    write_rows(folder, 100_000)

    assert ratio(folder, "m.yaml", "rows.csv") < 4.5
    assert ratio(folder, "alone.csv", "alone.csv") < 4.5


def test_memory_stays_small(folder):
    write_rows(folder, 5000)
    tracemalloc.start()
    batch = load(folder / "m.yaml")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # 100,000 jobs then stay below 400 MB.
    assert peak / len(batch.jobs) < 4000


def test_thousands_of_written_jobs_load_at_libyamls_speed(folder):
    path = folder / "many.yaml"
    jobs = "".join(
        f'- id: job-{n}\n  mode: text-to-video\n  prompt: "Number {n}: soft light"\n'
        f"  duration: {3 + n % 12}\n  tags: [a, b]\n"
        for n in range(3000)
    )
    path.write_text(f"jobs:\n{jobs}")
    text = path.read_text()

    ours = min(seconds(load, path) for _ in range(3))
    theirs = min(seconds(yaml.load, text, yaml.CSafeLoader) for _ in range(3))
    # Read, judged, keyed, and with the place of everything, in the time that reading alone takes.
    assert ours < 3 * theirs
