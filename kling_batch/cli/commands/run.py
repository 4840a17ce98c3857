"""`kling-batch run`: from manifest to files. The same command again resumes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
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
from kling_batch.cli.named_files import check_named_files
from kling_batch.cli.options import (
    PATH,
    limit_options,
    option,
    options_of,
    place_options,
    scheduler_option,
    schema_option,
    selection_options,
    service_options,
)
from kling_batch.cli.retype import current_command
from kling_batch.core.jobs import Batch
from kling_batch.core.quantities import format_time
from kling_batch.errors import ManifestError, UsageError
from kling_batch.operations.handled_signals import raised
from kling_batch.planning import saved_plan
from kling_batch.planning.plan import Plan
from kling_batch.report.run_report import RunReport
from kling_batch.settings import RunOptions, resolve

#: Options that name a file to be written.
_WRITTEN = ("junit", "summary", "log-file")


@click.command(cls=GroupedCommand, epilog="Example: kling-batch run manifest.yaml --emulator")
@click.argument("manifests", nargs=-1, required=True, type=PATH, metavar="MANIFEST...")
@service_options
@schema_option
@place_options
@scheduler_option
@limit_options
@selection_options
@click.option("--retry-failed", is_flag=True, help="Try failed and cancelled jobs again")
@option("--yes", "-y", is_flag=True, help="Pay without asking")
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
    with raised(), _told_to_ci(values, manifests) as ci:
        real = not (values["emulator"] or values["emulator_url"])
        if real and not values["quiet"]:
            for check in operations.check_key_file():
                click.echo(f"warning: {check.message}", err=True)
        batches, options = load_manifests(manifests, values["variables"]), options_of(values)
        ci.check(batches, options)
        with (
            displays_of(values, as_json=values["as_json"]) as shown,
            operations.open_run(
                batches,
                options,
                command=current_command(),
                display=shown.display,
                ask=_ask if sys.stdin.isatty() and sys.stderr.isatty() else None,
                select=selection_of(values),
                check_plan=_check_of(values["plan_file"], options.service),
                trace=shown.trace,
            ) as opened,
        ):
            report = opened.carry_out()
        ci.tell(report)
    return report.exit_code


class _Ci:
    """The files that a run writes for CI, and what of them may be written."""

    def __init__(self, values: dict[str, Any], manifests: Sequence[Path]) -> None:
        self._values = values
        self._files = values["junit"], values["summary"]
        self.wanted = any(self._files) or "GITHUB_ACTIONS" in os.environ
        #: Why a file must stay; of a run that is refused before, by what is known of its options.
        options = options_of(values)._replace(collect=False, detach=False)
        read = [*manifests, *filter(None, [values["plan_file"]])]
        named = operations.NamedFiles(resolve((), options).ledger, read=read)
        self._refusal: Callable[[Path], str] = named.refusal

    def check(self, batches: Sequence[Batch], options: RunOptions) -> None:
        """Refuse the run where a named file would replace what is needed."""
        written = {f"--{name}": self._values[name.replace("-", "_")] for name in _WRITTEN}
        self._refusal = lambda _file: "may be needed"
        read = self._values["plan_file"]
        self._refusal = check_named_files(written, batches, options, read=read)

    def tell(self, report: RunReport) -> None:
        """Write those of a run that has a report."""
        if self.wanted:
            # With parsers of HTML and XML.
            from kling_batch.report.ci import write_ci  # noqa: PLC0415

            write_ci(report, *self._files, os.environ, refusal=self._refusal)

    def tell_stop(self, error: BaseException) -> None:
        """Write why a run has no report."""
        from kling_batch.operations.services import now  # noqa: PLC0415 - with the ledger
        from kling_batch.report.ci import Stop, write_ci_of_stop  # noqa: PLC0415

        annotated = isinstance(error, ManifestError)
        stop = Stop(*reasons_of(error), time=format_time(now()), annotated=annotated)
        write_ci_of_stop(stop, *self._files, os.environ, refusal=self._refusal)


@contextmanager
def _told_to_ci(values: dict[str, Any], manifests: Sequence[Path]) -> Iterator[_Ci]:
    """The files for CI; where the run ends without a report, they say why there is none."""
    ci = _Ci(values, manifests)
    try:
        yield ci
    except BaseException as error:
        if ci.wanted:
            ci.tell_stop(error)
        raise


def _check_of(file: Path | None, service: str) -> Callable[[Plan], None] | None:
    """Compares the plan of this run with the saved one."""
    if file is None:
        return None
    try:
        saved = saved_plan.read(file.read_text(encoding="utf-8-sig"), str(file), service)
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
