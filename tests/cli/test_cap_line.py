"""The end of a run under a cap: what counts against it, where that is not what the batches cost."""

from __future__ import annotations

from support.cli import MANIFEST, Workspace


def test_a_batch_that_was_renamed_counts_under_both_names(workspace: Workspace) -> None:
    workspace.run("--max-cost", "1")
    workspace.put(
        MANIFEST.replace("version: 1", "version: 1\nname: other") + "  - {id: c, prompt: c}\n"
    )

    told = workspace.run("--max-cost", "1")

    assert "would have cost $0.03 on fal; the emulator charges nothing" in told
    assert "cap $1.00, against which $0.09 counts" in told


def test_where_the_cap_counts_what_the_batches_cost_nothing_more_is_said(
    workspace: Workspace,
) -> None:
    assert "against which" not in workspace.run("--max-cost", "1")


def test_what_is_passed_on_unchecked_makes_no_room_under_a_cap(workspace: Workspace) -> None:
    params = "num_images: 9, params: {result_type: series, series_amount: -5}"
    workspace.write(f"  - {{id: a, model: v3, mode: text-to-image, prompt: x, {params}}}\n")

    told = workspace.run("--max-cost", "0.20", code=4)

    assert "$0.26 more needed" in told
    assert workspace.charges() == []
