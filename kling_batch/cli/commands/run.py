"""`kling-batch run`: from manifest to files. The same command again resumes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.displays import displays_of, log_options
from kling_batch.cli.failures import reasons_of
from kling_batch.cli.grouped import GroupedCommand
from kling_batch.cli.manifests import load_manifests, selection_of
from kling_batch.cli.options import (
    PATH,
    limit_options,
    options_of,
    place_options,
    scheduler_option,
    schema_option,
    selection_options,
    service_options,
)
from kling_batch.cli.retype import current_command
from kling_batch.core.quantities import format_time
from kling_batch.errors import ManifestError, UsageError
from kling_batch.operations.handled_signals import raised
from kling_batch.planning import saved_plan
from kling_batch.planning.plan import Plan
from kling_batch.report.run_report import RunReport


@click.command(cls=GroupedCommand, epilog="Example: kling-batch run manifest.yaml --emulator")
@click.argument("manifests", nargs=-1, required=True, type=PATH, metavar="MANIFEST...")
@service_options
@schema_option
@place_options
@scheduler_option
@limit_options
@selection_options
@click.option("--retry-failed", is_flag=True, help="Try failed and cancelled jobs again")
@click.option("--yes", "-y", is_flag=True, envvar="KLING_BATCH_YES", help="Pay without asking")
@click.option(
    "--detach", is_flag=True, help="Submit everything, then leave (exit 6); collect later"
)
@click.option("--collect", is_flag=True, help="Collect what is open at fal, buy nothing")
@click.option("--json", "as_json", is_flag=True, help="Events as NDJSON on standard output")
@click.option("--quiet", "-q", is_flag=True, help="Only failures and the summary")
@click.option(
    "--plan",
    "plan_file",
    type=PATH,
    help="Pay only for what this reviewed plan shows (else exit 8)",
)
@log_options
@click.option("--junit", type=PATH, help="Write a JUnit XML file")
@click.option("--summary", type=PATH, help="Write a Markdown summary")
def run(manifests: tuple[Path, ...], **values: Any) -> int:
    """Render what is new, collect what is open, pay for nothing twice.

    Jobs of MANIFEST that are done stay as they are. The same command again resumes a run.
    """
    with raised(), _told_to_ci(values) as tell:
        real = not (values["emulator"] or values["emulator_url"])
        if real and not values["quiet"]:
            for check in operations.check_key_file():
                click.echo(f"warning: {check.message}", err=True)
        batches = load_manifests(manifests, values["variables"])
        with (
            displays_of(values, as_json=values["as_json"]) as shown,
            operations.open_run(
                batches,
                options_of(values),
                command=current_command(),
                display=shown.display,
                ask=_ask if sys.stdin.isatty() and sys.stderr.isatty() else None,
                select=selection_of(values),
                check_plan=_check_of(values["plan_file"]),
                trace=shown.trace,
            ) as opened,
        ):
            report = opened.carry_out()
        tell(report)
    return report.exit_code


@contextmanager
def _told_to_ci(values: Mapping[str, Any]) -> Iterator[Callable[[RunReport], None]]:
    """What writes the files for CI of a report; without one, they say why there is none."""
    files = values["junit"], values["summary"]
    if not any(files) and "GITHUB_ACTIONS" not in os.environ:
        yield lambda _report: None
        return
    # With parsers of HTML and XML.
    from kling_batch.report.ci import Stop, write_ci, write_ci_of_stop  # noqa: PLC0415

    try:
        yield lambda report: write_ci(report, *files, os.environ)
    except BaseException as error:
        from kling_batch.operations.services import now  # noqa: PLC0415 - with the ledger

        annotated = isinstance(error, ManifestError)
        stop = Stop(*reasons_of(error), time=format_time(now()), annotated=annotated)
        write_ci_of_stop(stop, *files, os.environ)
        raise


def _check_of(file: Path | None) -> Callable[[Plan], None] | None:
    """Compares the plan of this run with the saved one."""
    if file is None:
        return None
    try:
        saved = saved_plan.read(file.read_text(encoding="utf-8-sig"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
    return lambda plan: saved_plan.check(plan, saved, str(file))


def _ask(planned: operations.PlannedRun, question: str) -> bool:
    """Ask at the terminal, after what a person should know before the answer."""
    # Both load rich, which most runs do without.
    from kling_batch.report.display.page import Page  # noqa: PLC0415
    from kling_batch.report.payment_question import before_paying  # noqa: PLC0415

    page = Page.of(sys.stderr, os.environ)
    told = before_paying(
        page,
        planned.plan,
        planned.settings,
        planned.typical_seconds,
        coverage=planned.coverage,
        account=planned.account,
        warnings=planned.warnings,
    )
    # click adds its own choice of answers to the last line.
    room = None if page.width is None else max(10, page.width - len(" [y/N]: "))
    *lines, last = replace(page, width=room).folded(question)
    page.write([*told, *lines], sys.stderr)
    return click.confirm(last, default=False, err=True)
