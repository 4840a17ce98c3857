"""`kling-batch verdict`: approve, reject or pick takes from a script. Nothing is sent or paid."""

from __future__ import annotations

from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_path
from kling_batch.cli.options import JOB, ledger_options, option
from kling_batch.core.verdicts import TYPED_VERDICTS
from kling_batch.errors import ExitCode


@click.command(epilog="Example: kling-batch verdict hero-clip approve")
@JOB
@click.argument("word", type=click.Choice(list(TYPED_VERDICTS)), metavar="VERDICT")
@click.option("--take", type=click.IntRange(1), metavar="N", help="Which take; hero#2 says it, too")
@click.option("--note", default="", metavar="TEXT", help="Why, for whoever reads it later")
@option("--author", metavar="NAME", help="Whose verdict [default: the name you are logged in as]")
@ledger_options
def verdict(
    job: str, word: str, *, take: int | None, note: str, author: str | None, **places: Any
) -> int:
    """Approve, reject or pick finished takes.

    Also beside a running batch. VERDICT is approve, reject, pick or none, which takes the last
    one back. JOB may be a glob:
    every finished take that fits gets the verdict. Of a job with `review:`, its drafts are
    judged. The next run pays for the finals of approved and picked drafts.
    """
    for line in operations.judge(
        ledger_path(places), job, TYPED_VERDICTS[word], take=take, note=note, author=author or ""
    ):
        click.echo(line, err=True)
    return ExitCode.OK
