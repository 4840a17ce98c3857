"""`matrix:` as GitHub Actions means it: every combination, less `exclude`, plus `include`.

Must not know what the values are for. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from kling_batch.catalog.parameters import Complaint, nearest
from kling_batch.core.jobs import JSON

MOST_COMBINATIONS = 1_000_000
Combination = dict[str, JSON]


def combinations(
    matrix: Mapping[str, JSON], rendered: Mapping[str, JSON]
) -> tuple[list[Combination], list[Complaint]]:
    """All combinations in order, and complaints; `rendered` has the values, templates filled in.

    A later `include` may overwrite what an earlier one added, never what the lists say.
    """
    lists = {name: rendered[name] for name in matrix if name not in ("include", "exclude")}
    complaints = _unknown_names(lists, matrix.get("exclude", ()))
    count = prod(len(values) for values in lists.values())
    if count > MOST_COMBINATIONS:
        message = f"{count:,} combinations; at most {MOST_COMBINATIONS:,}"
        return [], [Complaint((), message, "too-large", "put them into a table")]
    kept = [
        combination
        for values in product(*lists.values())
        if not _excluded(combination := dict(zip(lists, values, strict=True)), rendered)
    ]
    if not lists:
        kept = []
    result = _included(kept, lists, rendered.get("include", ()))
    if not result and not complaints:
        complaints.append(Complaint(("exclude",), "leaves no combination at all", "empty"))
    return result, complaints


def _excluded(combination: Combination, rendered: Mapping[str, JSON]) -> bool:
    return any(
        all(name in combination and combination[name] == value for name, value in entry.items())
        for entry in rendered.get("exclude", ())
    )


def _included(
    kept: list[Combination], lists: Mapping[str, JSON], include: Sequence[Mapping[str, JSON]]
) -> list[Combination]:
    extended = [dict(combination) for combination in kept]
    alone: list[Combination] = []
    for entry in include:
        fits = [
            n
            for n, combination in enumerate(kept)
            if all(combination[name] == value for name, value in entry.items() if name in lists)
        ]
        for n in fits:
            extended[n] |= entry
        if not fits:
            alone.append(dict(entry))
    return extended + alone


def _unknown_names(
    lists: Mapping[str, JSON], exclude: Sequence[Mapping[str, JSON]]
) -> list[Complaint]:
    return [
        Complaint(
            ("exclude", n, name),
            f"`exclude` names `{name}`, which the matrix does not have",
            "unknown-key",
            nearest(name, lists),
        )
        for n, entry in enumerate(exclude)
        for name in entry
        if name not in lists
    ]
