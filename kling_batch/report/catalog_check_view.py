"""Comparison of the catalogue with fal's own schemas and prices, as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from kling_batch.catalog.drift import CatalogCheck, Checked
from kling_batch.core.jobs import JSON
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import clean, count


def as_text(result: CatalogCheck) -> str:
    """Each endpoint with what has moved, parameter by parameter; then how many there are."""
    lines = [line for each in result.endpoints for line in _lines(each)]
    moved = sum(_has_moved(each) for each in result.endpoints)
    unread = sum(bool(each.unread) for each in result.endpoints)
    same = sum(not _has_moved(each) and not each.unread for each in result.endpoints)
    total = [f"{count(same, 'endpoint')} as in the catalogue", f"{moved} moved"]
    total += [f"{unread} not compared"] if unread else []
    if result.no_prices:
        lines.append(f"prices not compared: {clean(result.no_prices)}")
    return "\n".join([*lines, ", ".join(total)])


def _has_moved(checked: Checked) -> bool:
    return any(each.moved for each in checked.differences)


def _lines(checked: Checked) -> Iterator[str]:
    endpoint = checked.endpoint
    if not checked.differences and not checked.unread:
        return
    words = f"{endpoint.model} {endpoint.mode} {endpoint.tier}"
    yield f"{words}  {endpoint.id}  (catalogue of {endpoint.dated})"
    if checked.unread:
        yield f"  not compared: {clean(checked.unread)}"
    for each in checked.differences:
        name = f"{clean(each.name)}: " if each.name else ""
        yield f"  {each.change.value:<8}  {name}{clean(each.message)}"


def as_json(result: CatalogCheck) -> JSON:
    """The same as JSON values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "fits": result.fits,
        "prices_not_compared": result.no_prices or None,
        "endpoints": [
            {
                "endpoint": each.endpoint.id,
                "model": each.endpoint.model,
                "mode": each.endpoint.mode,
                "tier": each.endpoint.tier,
                "dated": each.endpoint.dated,
                "not_compared": each.unread or None,
                "differences": [
                    {
                        "change": found.change.value,
                        "parameter": found.name or None,
                        "message": found.message,
                        "moved": found.moved,
                    }
                    for found in each.differences
                ],
            }
            for each in result.endpoints
        ],
    }
