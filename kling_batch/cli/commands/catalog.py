"""`kling-batch catalog`: the endpoints, their parameters and prices, with source and date."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click

from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.parameters import Parameter
from kling_batch.catalog.pricing import PerImage, Price
from kling_batch.catalog.registry import CATALOG, MODES
from kling_batch.core.jobs import JSON
from kling_batch.errors import ExitCode, UsageError


@click.command(epilog="Example: kling-batch catalog text-to-video")
@click.argument("mode", required=False)
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON document")
def catalog(mode: str | None, *, as_json: bool) -> int:
    """List modes, tiers, prices and parameters.

    Parameters and their limits are shown with MODE.
    """
    endpoints = [e for e in CATALOG if mode in (None, e.mode, e.id)]
    if not endpoints:
        raise UsageError(f"no mode or endpoint {mode!r}; there are: {', '.join(MODES)}")
    if as_json:
        click.echo(json.dumps(as_data(endpoints), ensure_ascii=False, indent=2))
    elif mode is None:
        click.echo(overview(endpoints))
    else:
        click.echo(details(endpoints))
    return ExitCode.OK


def overview(endpoints: Sequence[Endpoint]) -> str:
    """One line an endpoint: mode, tier, price, id."""
    rows = [(e.mode, e.tier, price_text(e.price), e.id) for e in endpoints]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    sources = sorted({f"{e.price_source} ({e.price_dated})" for e in endpoints})
    return "\n".join([*lines, "", "Prices in US dollars, from:", *(f"  {s}" for s in sources)])


def price_text(price: Price) -> str:
    """A price as text."""
    if isinstance(price, PerImage):
        factors = "".join(f", {name} ×{factor}" for name, factor in price.factors.items())
        return f"{price.image} an image{factors}"
    audio = f", {price.audio} with audio" if price.audio and price.audio != price.silent else ""
    clip = (
        f", {price.clip} with a clip in an element" if price.clip not in ("", price.silent) else ""
    )
    return f"{price.silent} a second{audio}{clip}"


def details(endpoints: Iterable[Endpoint]) -> str:
    """Every parameter with its limits; tiers that share their parameters are shown together."""
    blocks: list[str] = []
    seen: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        seen.setdefault(endpoint.mode, []).append(endpoint)
    for mode, same in seen.items():
        first = same[0]
        blocks.append(f"{mode}: {first.doc}")
        blocks += [f"  {e.tier:<9} {price_text(e.price)}   {e.id}" for e in same]
        blocks += [_parameter(parameter, "  ") for parameter in first.parameters]
        blocks.append(f"  read from {first.source} ({first.dated})\n")
    return "\n".join(blocks).rstrip()


def _parameter(parameter: Parameter, indent: str) -> str:
    facts: list[str] = []
    if parameter.required:
        facts.append("required")
    if parameter.choices:
        facts.append(parameter.allowed)
    elif parameter.minimum is not None or parameter.maximum is not None:
        low = "" if parameter.minimum is None else parameter.minimum
        high = "" if parameter.maximum is None else parameter.maximum
        facts.append(f"{low}–{high}")
    if parameter.default is not None:
        facts.append(f"default {parameter.default}")
    limits = f" [{'; '.join(facts)}]" if facts else ""
    lines = [f"{indent}{parameter.name:<22} {parameter.doc}{limits}"]
    fields = parameter.item.fields if parameter.item is not None else parameter.fields
    lines += [_parameter(each, indent + "    ") for each in fields]
    return "\n".join(lines)


def as_data(endpoints: Iterable[Endpoint]) -> JSON:
    """The whole catalogue as JSON values."""
    return {
        "schema_version": 1,
        "endpoints": [
            {
                "endpoint": e.id,
                "mode": e.mode,
                "tier": e.tier,
                "output": e.output,
                "price": price_text(e.price),
                "price_source": e.price_source,
                "price_dated": e.price_dated,
                "source": e.source,
                "dated": e.dated,
                "parameters": [_data(parameter) for parameter in e.parameters],
            }
            for e in endpoints
        ],
    }


def _data(parameter: Parameter) -> JSON:
    data: dict[str, JSON] = {
        "name": parameter.name,
        "kind": parameter.kind,
        "description": parameter.doc,
        "required": parameter.required,
    }
    if parameter.default is not None:
        data["default"] = parameter.default
    if parameter.choices:
        data["choices"] = list(parameter.choices)
    if parameter.aliases:
        data["words"] = dict(parameter.aliases)
    if parameter.minimum is not None:
        data["minimum"] = parameter.minimum
    if parameter.maximum is not None:
        data["maximum"] = parameter.maximum
    if parameter.item is not None:
        data["item"] = _data(parameter.item)
    if parameter.fields:
        data["fields"] = [_data(each) for each in parameter.fields]
    return data
