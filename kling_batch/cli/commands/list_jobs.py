"""`kling-batch list`: jobs of the ledger, filtered and sorted, also during a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import click

from kling_batch.catalog import index
from kling_batch.cli.ledgers import ledger_of_manifests
from kling_batch.cli.manifests import load_manifests
from kling_batch.cli.options import PATH, ledger_options, usd
from kling_batch.core.diagnostics import nearest
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.quantities import MicroUSD, format_time, parse_duration
from kling_batch.core.verdicts import TYPED_VERDICTS, Verdict
from kling_batch.errors import ExitCode, UsageError
from kling_batch.ledger import job_counts
from kling_batch.ledger.job_list import (
    MOST_ROWS,
    SORTS,
    JobFilter,
    has_tags,
    job_status,
    known_states,
)
from kling_batch.ledger.queries import batch_names, service_of
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.renditions import current_renditions
from kling_batch.ledger.verdicts import latest_verdicts
from kling_batch.report import list_view
from kling_batch.report.display.page import Page, utc_now
from kling_batch.report.made_values import with_values
from kling_batch.report.verdicts import verdict_of
from kling_batch.settings import EMULATOR


def _words(
    context: click.Context,  # noqa: ARG001 - click's signature
    option: click.Parameter,  # noqa: ARG001
    given: tuple[str, ...],
) -> tuple[str, ...]:
    """Words of an option that may be repeated, and hold several with commas between them."""
    return tuple(word.strip() for each in given for word in each.split(","))


def _state(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> list[str]:
    """Words of states, in any case, with `-` or `_` for a blank."""
    known, found = known_states(), []
    for word in _words(context, option, given):
        plain = word.lower()
        match = next((k for k in (plain, re.sub("[-_]", " ", plain)) if k in known), None)
        if match is None:
            raise _unknown("state", word, tuple(JobStatus), nearest(plain, known))
        found.append(match)
    return found


def _verdict(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> list[str]:
    """Verdicts, also as they are typed to give them (`approve`)."""
    found = []
    for word in _words(context, option, given):
        plain = TYPED_VERDICTS.get(word.lower(), word.lower())
        if plain not in tuple(Verdict):
            raise _unknown("verdict", word, tuple(Verdict), nearest(plain, tuple(Verdict)))
        found.append(plain)
    return found


def _unknown(what: str, word: str, known: Sequence[str], hint: str) -> click.BadParameter:
    there = f"there is no {what} {word!r}; there are: {', '.join(known)}"
    return click.BadParameter(there + (f"; {hint}" if hint else ""))


def _since(context: click.Context, option: click.Parameter, text: str | None) -> str | None:  # noqa: ARG001 - click's signature
    """`2h`, `7d` before now, or a date or time."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = utc_now() - timedelta(seconds=parse_duration(text))
        except (ValueError, OverflowError):
            raise click.BadParameter(
                f"{text!r} is no time; write 2h, 7d, 2026-11-26 or 2026-11-26T18:00"
            ) from None
    # A time without a zone is this machine's.
    return format_time((moment if moment.tzinfo else moment.astimezone()).astimezone(UTC))


_Range = tuple[MicroUSD | None, MicroUSD | None]


def _cost(context: click.Context, option: click.Parameter, text: str | None) -> _Range:  # noqa: ARG001 - click's signature
    """`0.50`, `<1`, `0.10..0.50` → the least and the most."""
    if text is None:
        return None, None
    low, dots, high = text.partition("..")
    if dots:
        return (usd(low) if low.strip() else None), (usd(high) if high.strip() else None)
    sign = next((s for s in (">=", "<=", ">", "<", "=") if text.strip().startswith(s)), ">=")
    amount = usd(text.strip().removeprefix(sign))
    ranges: dict[str, _Range] = {
        ">=": (amount, None),
        ">": (MicroUSD(amount + 1), None),
        "<=": (None, amount),
        "<": (None, MicroUSD(amount - 1)),
        "=": (amount, amount),
    }
    return ranges[sign]


def _columns(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:  # noqa: ARG001 - click's signature
    if text is None:
        return list_view.USUAL
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if name not in list_view.COLUMNS:
            hint = nearest(name, list_view.COLUMNS)
            known = ", ".join(list_view.COLUMNS)
            raise click.BadParameter(
                f"there is no column {name!r}; there are: {known}" + (f"; {hint}" if hint else "")
            )
    if not names:
        raise click.BadParameter("name at least one column")
    return names


def _must_exist(reader: Reader, which: JobFilter) -> None:
    """Modes and tiers that neither the ledger nor the catalogue has are slips of typing."""
    if not (which.modes or which.tiers):
        return
    kinds = job_counts.kinds(reader)
    for name, given, here, everywhere in (
        ("mode", which.modes, [kind.mode for kind in kinds], index.modes()),
        ("tier", which.tiers, [kind.tier for kind in kinds], index.tiers()),
    ):
        for word in given:
            if word not in here and word not in everywhere:
                hint = nearest(word, (*here, *everywhere)) or "there are: " + ", ".join({*here})
                raise UsageError(f"no job has the {name} {word!r}; {hint}")


@click.command("list", epilog="Example: kling-batch list --state failed --sort time --limit 20")
@click.argument("manifests", nargs=-1, type=PATH, metavar="[MANIFEST...]")
@click.option(
    "--state", "states", multiple=True, callback=_state, help="Only in this state (failed, …)"
)
@click.option("--mode", "modes", multiple=True, callback=_words, help="Only of this mode")
@click.option("--tier", "tiers", multiple=True, callback=_words, help="Only of this tier")
@click.option(
    "--verdict",
    "wanted",
    multiple=True,
    callback=_verdict,
    help="Only with this verdict (approved, …)",
)
@click.option("--tag", "tags", multiple=True, help="Only with this tag")
@click.option("--text", default="", help="Only with this in id, prompt or failure")
@click.option("--since", callback=_since, metavar="TIME", help="Only tried since (2h, 2026-11-26)")
@click.option(
    "--cost", callback=_cost, metavar="USD", help="Only of this price: 0.50 or more, <1, 0.1..0.5"
)
@click.option(
    "--sort", type=click.Choice([*SORTS]), default="name", show_default=True, help="Order"
)
@click.option("--reverse", is_flag=True, help="The other way round")
@click.option("--limit", type=click.IntRange(0, MOST_ROWS), help="At most this many")
@click.option(
    "--columns",
    callback=_columns,
    metavar="A,B,…",
    help=f"Of: {', '.join(list_view.COLUMNS)} [default: {','.join(list_view.USUAL)}]",
)
@ledger_options
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a header")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line")
def list_(
    manifests: tuple[Path, ...],
    *,
    columns: tuple[str, ...],
    cost: tuple[MicroUSD | None, MicroUSD | None],
    reverse: bool,
    wanted: list[str],
    as_csv: bool,
    as_json: bool,
    **values: Any,
) -> int:
    """List the jobs: state, price, name, prompt.

    Several values of one filter (--state done,failed) are alternatives; several filters must all
    fit.
    """
    if as_csv and as_json:
        raise UsageError("--csv or --json, not both")
    batches = load_manifests(manifests, (), warn=False) if manifests else ()
    names = tuple(batch.name for batch in batches) or None
    filters = ("states", "modes", "tiers", "tags", "text", "since", "sort", "limit")
    which = JobFilter(
        batches=names,
        least=cost[0],
        most=cost[1],
        backwards=reverse,
        **{name: values.pop(name) for name in filters},
    )
    with Reader.open(ledger_of_manifests(manifests, values, batches)) as reader:
        if which.tags and not has_tags(reader):
            raise UsageError("this ledger has no tags yet: the next run records them")
        _must_exist(reader, which)
        emulated = service_of(reader) == EMULATOR
        verdicts = latest_verdicts(reader)
        rows = job_status(reader, which._replace(limit=None) if wanted else which)
        rows = with_values(reader, rows)
        if wanted:
            fitting = (row for row in rows if verdict_of(row, verdicts) in wanted)
            rows = islice(fitting, which.limit)
        if as_json:
            made = list_view.by_job(current_renditions(reader))
            lines = list_view.as_json_lines(rows, verdicts, made, emulated=emulated)
        elif as_csv:
            lines = list_view.as_csv(rows, columns)
        else:
            page = Page.standard()
            several = len(batch_names(reader)) > 1
            page.write(list_view.as_table(rows, columns, page, emulated=emulated, several=several))
            return ExitCode.OK
        for line in lines:
            click.echo(line)
    return ExitCode.OK
