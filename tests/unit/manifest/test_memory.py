"""Memory of a load, counted by `tracemalloc`."""

from __future__ import annotations

import tracemalloc

from kling_batch.manifest.loader import load

MANIFEST = """\
vars: {brand: Acme}
defaults: {mode: text-to-video, tier: standard, duration: 5}
jobs:
  - from: rows.csv
    id: "sku-{{ sku }}"
    prompt: "{{ title }} by {{ brand }} on a marble table, soft light, {{ colour }}"
"""


def test_a_job_of_a_large_table_takes_less_than_4_kb(tmp_path):
    rows = "".join(f"{n},Lamp number {n} in brass,red,{n}.99\n" for n in range(5000))
    (tmp_path / "rows.csv").write_text(f"sku,title,colour,price\n{rows}")
    (tmp_path / "m.yaml").write_text(MANIFEST)
    tracemalloc.start()
    try:
        batch = load(tmp_path / "m.yaml")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # 100,000 jobs then stay below 400 MB.
    assert len(batch.jobs) == 5000
    assert peak / len(batch.jobs) < 4000
