"""`kling-batch generate` and `video`: one shot, through the same engine and ledger as a batch.

The result is JSON in fal's format plus local paths, on standard output; everything else goes to
standard error. Typing the command is the consent to pay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from kling_batch import operations
from kling_batch.cli.displays import displays_of, log_options
from kling_batch.cli.grouped import GroupedCommand
from kling_batch.cli.named_files import check_named_files
from kling_batch.cli.options import (
    limit_options,
    option,
    options_of,
    pairs,
    place_options,
    service_options,
)
from kling_batch.cli.retype import current_command
from kling_batch.errors import ExitCode
from kling_batch.report.display.stream import CutOffError
from kling_batch.report.run_report import JobOutcome

F = TypeVar("F", bound=Callable[..., Any])


def _common(command: F) -> F:
    for decorate in reversed(
        (
            click.option("--prompt", "-p", help="What to render, or how to change it"),
            click.option(
                "--param", "-P", multiple=True, metavar="KEY=VALUE", help="Any API parameter"
            ),
            click.option(
                "--take", type=click.IntRange(1), default=1, help="2 pays for another rendering"
            ),
            option("--retry-failed", is_flag=True, help="Try again if it failed before"),
            service_options,
            place_options,
            limit_options,
            click.option("--quiet", "-q", is_flag=True, help="Only failures on standard error"),
            log_options,
        )
    ):
        command = decorate(command)
    return command


def _model(command: F) -> F:
    return click.option(
        "--model", help="The Kling generation, of those that `kling-batch catalog` lists"
    )(command)


@click.command(
    cls=GroupedCommand, epilog='Example: kling-batch generate -p "A samurai on a cliff" --emulator'
)
@_common
@_model
@click.option(
    "--aspect-ratio", help="square, landscape, portrait, widescreen or a ratio [default: square]"
)
def generate(aspect_ratio: str | None, **values: Any) -> int:
    """Generate one image and print the result as JSON.

    The same command again prints the result that was paid for; --take 2 pays for another.
    """
    arguments = {"prompt": values["prompt"], "aspect_ratio": aspect_ratio}
    return _single("generate", "text-to-image", None, arguments, values)


@click.command(
    cls=GroupedCommand,
    epilog='Example: kling-batch video --mode text-to-video -p "Waves" --emulator',
)
@_common
@_model
@click.option(
    "--mode",
    required=True,
    metavar="text-to-video|image-to-video|edit|remix",
    help="What to render, and from what",
)
@click.option("--image-url", metavar="URL|FILE", help="Start image, for image-to-video")
@click.option("--video-url", metavar="URL|FILE", help="Source clip, for edit and remix")
@click.option("--tier", help="standard, pro or 4k [default: pro]")
def video(mode: str, tier: str | None, **values: Any) -> int:
    """Generate or edit one video and print the result as JSON.

    The same command again prints the result that was paid for; --take 2 pays for another.
    """
    names = ("prompt", "image_url", "video_url")
    return _single("video", mode, tier, {name: values[name] for name in names}, values)


def _single(
    name: str, mode: str, tier: str | None, given: Mapping[str, str | None], values: dict[str, Any]
) -> int:
    arguments = {name: value for name, value in given.items() if value is not None}
    more = pairs(values["param"], "--param")
    if both := sorted(arguments.keys() & more.keys()):
        flag = f"--{both[0].replace('_', '-')}"
        raise click.UsageError(f"--param {both[0]} and {flag} say the same twice: say one of them")
    arguments |= more
    batch = operations.single_batch(
        name, mode, tier, arguments, take=values["take"], model=values["model"]
    )
    options = options_of(values)
    check_named_files({"--log-file": values["log_file"]}, (batch,), options, single=True)
    with (
        displays_of(values) as shown,
        operations.open_run(
            (batch,),
            options,
            command=current_command(),
            display=shown.display,
            single=True,
            trace=shown.trace,
        ) as run,
    ):
        report = run.carry_out()
    if report.exit_code is ExitCode.OK:
        if report.lines[0].outcome is JobOutcome.UNCHANGED:
            another = f"--take {values['take'] + 1}"
            click.echo(
                f"already paid for: here is that result; {another} pays for another", err=True
            )
        result = operations.single_result(batch.jobs[0].key, Path(report.ledger))
        try:
            click.echo(json.dumps(result, ensure_ascii=False, indent=2))
        except CutOffError as error:
            error.kept = "it is paid for and saved: the same command prints it, without paying"
            raise
    return report.exit_code
