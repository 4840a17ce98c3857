"""`kling-batch run`: the whole way from manifest to files. Again is how it is resumed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kling_batch.cli.options import (
    PATH,
    limit_options,
    options_of,
    place_options,
    selection_options,
    service_options,
)
from kling_batch.cli.retype import typed
from kling_batch.errors import UsageError

if TYPE_CHECKING:
    from kling_batch.planning.plan import Plan


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=PATH, metavar="MANIFEST...")
@service_options
@place_options
@limit_options
@selection_options
@click.option("--retry-failed", is_flag=True, help="Try failed and cancelled jobs again")
@click.option("--yes", "-y", is_flag=True, envvar="KLING_BATCH_YES", help="Pay without asking")
@click.option("--detach", is_flag=True, help="Submit, then leave (exit 6); run again to collect")
@click.option("--json", "as_json", is_flag=True, help="Events as NDJSON on standard output")
@click.option("--quiet", "-q", is_flag=True, help="Only failures and the summary")
@click.option("--plan", "plan_file", type=PATH, help="Only what this reviewed plan says (exit 8)")
@click.option("--junit", type=PATH, help="Write a JUnit XML file")
@click.option("--summary", type=PATH, help="Write a Markdown summary")
def run(manifests: tuple[Path, ...], **values: Any) -> int:
    """Render what is new in MANIFEST, collect what is open, pay for nothing twice."""
    from kling_batch.cli.manifests import chosen, load_all  # noqa: PLC0415 - heavy: load late
    from kling_batch.fal.credentials import read_key_file, told_of_others  # noqa: PLC0415
    from kling_batch.operations.run import Request, execute  # noqa: PLC0415
    from kling_batch.report.display.choose import choose  # noqa: PLC0415

    read_key_file()
    real = not (values["emulator"] or values["emulator_url"])
    if real and not values["quiet"] and (told := told_of_others()):
        click.echo(f"warning: {told}", err=True)
    batches = load_all(manifests, values["variables"])
    display = choose(
        json=values["as_json"],
        quiet=values["quiet"],
        stream_is_terminal=sys.stderr.isatty(),
        environ=os.environ,
    )
    try:
        report = execute(
            Request(
                batches=batches,
                options=options_of(values),
                command=typed(),
                display=display,
                ask=_ask if sys.stdin.isatty() and sys.stderr.isatty() else None,
                only=chosen(values),
                approve=_approval(values["plan_file"]),
            )
        )
    finally:
        display.close()
    if values["junit"] or values["summary"] or "GITHUB_ACTIONS" in os.environ:
        from kling_batch.report.ci import write_ci  # noqa: PLC0415

        write_ci(report, values["junit"], values["summary"], os.environ)
    return report.exit_code


def _approval(file: Path | None) -> Callable[[Plan], None] | None:
    """Holds the plan of this run against the one on paper."""
    if file is None:
        return None
    from kling_batch.planning import saved_plan as planfile  # noqa: PLC0415

    try:
        bound = planfile.read(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
    return lambda plan: planfile.check(plan, bound, str(file))


def _ask(question: str) -> bool:
    return click.confirm(question, default=False, err=True)
