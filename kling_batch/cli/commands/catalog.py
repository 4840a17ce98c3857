"""`kling-batch catalog`: generations and endpoints, their parameters and prices, with evidence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from kling_batch import operations
from kling_batch.catalog.endpoint import Endpoint, Generation
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.pricing import Counted, PerCall, PerImage, Price, Rate
from kling_batch.catalog.registry import endpoints as every_endpoint
from kling_batch.catalog.registry import generations, models, modes
from kling_batch.cli.options import options_of, service_options
from kling_batch.cli.texts import columns_of_terminal, echo_text
from kling_batch.core.diagnostics import nearest
from kling_batch.core.jobs import JSON
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.errors import ExitCode, UsageError
from kling_batch.report.catalog_check_view import as_json as check_json
from kling_batch.report.catalog_check_view import as_text as check_text


@click.command(epilog="Example: kling-batch catalog text-to-video")
@click.argument("words", nargs=-1, metavar="[MODEL] [MODE]")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON document")
@click.option("--check", is_flag=True, help="Compare with fal's own schemas and prices, free")
@service_options
def catalog(words: Sequence[str], *, as_json: bool, check: bool, **values: Any) -> int:
    """List models, modes, tiers, prices and parameters.

    Parameters and their limits are shown with MODE. With --check: what has moved at fal since the
    catalogue was written, parameter by parameter; exit code 1 if anything has. Schemas need no
    key, prices do.
    """
    chosen = select(words)
    if check:
        result = operations.check_catalog(chosen, options_of(values))
        told = json.dumps(check_json(result), indent=2) if as_json else check_text(result)
        click.echo(told)
        return ExitCode.OK if result.fits else ExitCode.SOME_FAILED
    if as_json:
        click.echo(json.dumps(as_data(chosen), ensure_ascii=False, indent=2))
    elif set(words) <= set(models()):
        echo_text(overview(chosen, columns_of_terminal()))
    else:
        echo_text(details(chosen))
    return ExitCode.OK


def select(words: Sequence[str]) -> list[Endpoint]:
    """The endpoints that all words are about: models, modes, or the id of one.

    Raises:
        UsageError: a word is none of these, or there is no such endpoint.
    """
    chosen = list(every_endpoint())
    for word in words:
        fits = [e for e in every_endpoint() if word in (e.model, e.mode, e.id)]
        if not fits:
            near = nearest(word, (*models(), *modes()))
            there = f"models: {', '.join(models())}; modes: {', '.join(modes())}"
            raise UsageError(f"no model, mode or endpoint {word!r}; {near or 'there are'} {there}")
        chosen = [e for e in chosen if e in fits]
    if not chosen:
        raise UsageError(f"nothing is both {' and '.join(words)}")
    return chosen


def overview(endpoints: Sequence[Endpoint], columns: int | None = None) -> str:
    """Each generation with one line an endpoint: mode, tier, price, who says so, id.

    Where that is too much for the columns there are, two lines, of which the second has the id.
    """
    rows = [
        (e.mode, e.tier, price_text(e), f"{e.price_evidence}, {e.price_dated}", e.id)
        for e in endpoints
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    one_line = columns is None or max(len(_line(row, widths)) for row in rows) <= columns
    lines = []
    for generation in generations():
        own = [
            row
            for endpoint, row in zip(endpoints, rows, strict=True)
            if endpoint.model == generation.name
        ]
        if own:
            lines.append(headline(generation))
            lines += (_line(row, widths) if one_line else _two_lines(row, widths) for row in own)
            lines.append("")
    return "\n".join(
        [
            *lines,
            "US dollars; after each price who states it, and when that was read.",
            "`kling-batch catalog MODEL MODE` shows parameters, with their source.",
        ]
    )


def headline(generation: Generation) -> str:
    """A generation: its name, what it is, since when, and whether it is the default."""
    default = "; the default" if generation.default else ""
    return f"{generation.name}  {generation.doc} (since {generation.since}{default})"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
    return "  " + "  ".join([*cells, row[-1]])


def _two_lines(row: Sequence[str], widths: Sequence[int]) -> str:
    mode, tier, price, evidence, name = row
    first = f"  {mode.ljust(widths[0])}  {tier.ljust(widths[1])}  {price}"
    return f"{first}\n      {name} ({evidence})"


def price_text(endpoint: Endpoint) -> str:
    """The price of an endpoint as text."""
    price: Price | None = endpoint.price
    if price is None:
        return "not published"
    if isinstance(price, PerCall):
        return f"{price.usd} a request"
    if isinstance(price, PerImage):
        factors = "".join(f", {name} ×{factor}" for name, factor in price.factors.items())
        return f"{price.image} an image{factors}"
    preset = endpoint.presets.get("resolution")
    rates = [rate for rate in price.rates if rate.resolution in (None, preset)]
    texts = [_rate(rate, alone=len(rates) == 1) for rate in rates]
    same = [rate.usd for rate in rates]
    return texts[0] if len(set(same)) == 1 else "; ".join(texts)


def _rate(rate: Rate, *, alone: bool) -> str:
    """A rate as text: what it is counted on, and when it applies."""
    words = {True: "with", False: "without"}
    cases = [
        f"{words[value]} {name}"
        for name, value in (("sound", rate.sound), ("a voice", rate.voice), ("a clip", rate.clip))
        if value is not None and not alone
    ]
    second = "a second" if rate.counted is Counted.OUTPUT else f"a second {rate.counted.value}"
    if rate.least:
        second += f" (at least {rate.least} × output)"
    if rate.block:
        second += f" in started blocks of {rate.block} s"
    note = " (not published)" if rate.note else ""
    return " ".join([rate.usd, second, *cases]) + note


def details(endpoints: Iterable[Endpoint]) -> str:
    """Every parameter with its limits; tiers that share their parameters are shown together."""
    blocks: list[str] = []
    seen: dict[tuple[str, str], list[Endpoint]] = {}
    for endpoint in endpoints:
        seen.setdefault((endpoint.model, endpoint.mode), []).append(endpoint)
    for (model, mode), same in seen.items():
        first = same[0]
        blocks.append(f"{model} {mode}: {first.doc}")
        blocks += [f"  {e.tier:<9} {price_text(e)}   {e.id}" for e in same]
        blocks += [f"  in doubt: {first.doubt}"] if first.doubt else []
        blocks += _parameters(same)
        blocks += [f"  {name:<22} refused: {why}" for name, why in first.refused.items()]
        blocks.append(f"  fields: {first.evidence}, {first.dated}, {first.source}")
        blocks.append(
            f"  price: {first.price_evidence}, {first.price_dated}, {first.price_source}\n"
        )
    return "\n".join(blocks).rstrip()


def _parameters(tiers: Sequence[Endpoint]) -> Iterator[str]:
    """The parameters of all tiers, each once; where not every tier has one, those that do."""
    every = {each.name: each for endpoint in reversed(tiers) for each in endpoint.parameters}
    first = [each.name for each in tiers[0].parameters]
    for name in (*first, *(name for name in every if name not in first)):
        having = [endpoint.tier for endpoint in tiers if name in endpoint.by_name]
        only = "" if len(having) == len(tiers) else f"{' and '.join(having)} only"
        yield _parameter(every[name], "  ", only)


def _parameter(parameter: Parameter, indent: str, only: str = "") -> str:
    facts = [only] if only else []
    if parameter.required:
        facts.append("required")
    if parameter.choices:
        # Where a message would name the first of many, all are listed here.
        many = len(parameter.choices) > len(parameter.allowed.split(", "))
        numbers = parameter.choices[0].isdecimal()
        facts.append(", ".join(parameter.choices) if many and not numbers else parameter.allowed)
    elif parameter.minimum is not None or parameter.maximum is not None:
        low = "" if parameter.minimum is None else parameter.minimum
        high = "" if parameter.maximum is None else parameter.maximum
        facts.append(f"{low}–{high}")
    if parameter.default is not None:
        facts.append(f"default {parameter.default}")
    if parameter.also:
        facts.append(f"or {', '.join(parameter.also)}")
    if parameter.open and facts:
        facts.append("other values only warn")
    if parameter.doubt:
        facts.append(f"in doubt: {parameter.doubt}")
    limits = f" [{'; '.join(facts)}]" if facts else ""
    lines = [f"{indent}{parameter.name:<22} {parameter.doc}{limits}"]
    fields = parameter.item.fields if parameter.item is not None else parameter.fields
    lines += [_parameter(each, indent + "    ") for each in fields]
    return "\n".join(lines)


def as_data(endpoints: Iterable[Endpoint]) -> JSON:
    """The whole catalogue as JSON values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "models": [
            {
                "model": each.name,
                "description": each.doc,
                "since": each.since,
                "default": each.default,
            }
            for each in generations()
        ],
        "endpoints": [
            {
                "endpoint": e.id,
                "model": e.model,
                "mode": e.mode,
                "tier": e.tier,
                "output": e.output,
                "price": price_text(e),
                "price_evidence": e.price_evidence.value,
                "price_source": e.price_source,
                "price_dated": e.price_dated,
                "evidence": e.evidence.value,
                "doubt": e.doubt or None,
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
    optional: dict[str, JSON] = {
        "default": parameter.default,
        "other_names": list(parameter.also) or None,
        "doubt": parameter.doubt or None,
        "open": parameter.open or None,
        "choices": list(parameter.choices) or None,
        "words": dict(parameter.aliases) or None,
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
        "item": None if parameter.item is None else _data(parameter.item),
        "fields": [_data(each) for each in parameter.fields] or None,
    }
    return data | {name: value for name, value in optional.items() if value is not None}
