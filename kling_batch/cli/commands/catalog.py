"""`kling-batch catalog`: the endpoints, their parameters and prices, with source and date."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click

from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import Counted, PerImage, Price, Rate
from kling_batch.catalog.registry import endpoints as known
from kling_batch.catalog.registry import modes
from kling_batch.core.jobs import JSON
from kling_batch.errors import ExitCode, UsageError


@click.command(epilog="Example: kling-batch catalog text-to-video")
@click.argument("mode", required=False)
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON document")
def catalog(mode: str | None, *, as_json: bool) -> int:
    """List modes, tiers, prices and parameters.

    Parameters and their limits are shown with MODE.
    """
    endpoints = [e for e in known() if mode in (None, e.mode, e.id)]
    if not endpoints:
        raise UsageError(f"no mode or endpoint {mode!r}; there are: {', '.join(modes())}")
    if as_json:
        click.echo(json.dumps(as_data(endpoints), ensure_ascii=False, indent=2))
    elif mode is None:
        click.echo(overview(endpoints))
    else:
        click.echo(details(endpoints))
    return ExitCode.OK


def overview(endpoints: Sequence[Endpoint]) -> str:
    """One line an endpoint: model, mode, tier, price, id."""
    rows = [(e.model, e.mode, e.tier, price_text(e.price), e.id) for e in endpoints]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]
    sources = sorted({f"{e.price_source} ({e.price_dated})" for e in endpoints})
    return "\n".join([*lines, "", "Prices in US dollars, from:", *(f"  {s}" for s in sources)])


def price_text(price: Price | None) -> str:
    """A price as text."""
    if price is None:
        return "price not published"
    if isinstance(price, PerImage):
        factors = "".join(f", {name} ×{factor}" for name, factor in price.factors.items())
        return f"{price.image} an image{factors}"
    return "; ".join(_rate(rate) for rate in price.rates)


def _rate(rate: Rate) -> str:
    """A rate as text: what it is counted on, and when it applies."""
    words = {True: "with", False: "without"}
    cases = [
        f"{words[value]} {name}"
        for name, value in (("sound", rate.sound), ("a voice", rate.voice), ("a clip", rate.clip))
        if value is not None
    ]
    if rate.resolution is not None:
        cases.insert(0, f"at {rate.resolution}")
    second = "a second" if rate.counted is Counted.OUTPUT else f"a second {rate.counted.value}"
    if rate.least:
        second += f", at least {rate.least} × the output"
    if rate.block:
        second += f", in started {rate.block} s"
    note = " (not published)" if rate.note else ""
    return " ".join([rate.usd, second, *cases]) + note


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
