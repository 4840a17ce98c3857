"""`kling-batch generate` and `video`: one shot, through the same engine and ledger as a batch.

The seed's two scripts: JSON in their output format, plus local paths, on standard output and
everything else on standard error. Typing the command is the consent to pay.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kling_batch.cli.options import (
    limit_options,
    option,
    options_of,
    pairs,
    place_options,
    service_options,
)
from kling_batch.cli.retype import typed
from kling_batch.core.jobs import JobKey
from kling_batch.errors import ExitCode

if TYPE_CHECKING:
    from kling_batch.core.records import File

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
        )
    ):
        command = decorate(command)
    return command


@click.command()
@_common
@click.option(
    "--aspect-ratio", help="square, landscape, portrait, widescreen or a ratio [default: square]"
)
def generate(aspect_ratio: str | None, **values: Any) -> int:
    """Generate an image with Kling O3; the result as JSON on standard output."""
    arguments = {"prompt": values["prompt"], "aspect_ratio": aspect_ratio}
    return _one("generate", "text-to-image", "pro", arguments, values)


@click.command()
@_common
@click.option(
    "--mode",
    required=True,
    metavar="text-to-video|image-to-video|edit|remix",
    help="What to make of what",
)
@click.option("--image-url", metavar="URL|FILE", help="Start image, for image-to-video")
@click.option("--video-url", metavar="URL|FILE", help="Source clip, for edit and remix")
@click.option("--tier", default="pro", show_default=True, help="standard, pro or 4k")
def video(mode: str, tier: str, **values: Any) -> int:
    """Generate or edit a video with Kling O3; the result as JSON on standard output."""
    names = ("prompt", "image_url", "video_url")
    return _one("video", mode, tier, {name: values[name] for name in names}, values)


def _one(
    batch: str, mode: str, tier: str, said: Mapping[str, str | None], values: dict[str, Any]
) -> int:
    from kling_batch.fal.credentials import read_key_file  # noqa: PLC0415
    from kling_batch.manifest.loader import single  # noqa: PLC0415
    from kling_batch.operations.run import Request, execute  # noqa: PLC0415
    from kling_batch.report.display.choose import choose  # noqa: PLC0415 - heavy parts load when needed
    from kling_batch.report.run_report import JobOutcome  # noqa: PLC0415

    read_key_file()
    arguments = {name: value for name, value in said.items() if value is not None}
    arguments |= pairs(values["param"], "--param")
    take = values["take"]
    made = single(
        mode,
        tier,
        arguments,
        batch=batch,
        id=_name(mode, tier, arguments),
        take=take,
        cwd=Path.cwd(),
    )
    display = choose(
        json=False,
        quiet=values["quiet"],
        stream_is_terminal=sys.stderr.isatty(),
        environ=os.environ,
    )
    try:
        report = execute(
            Request(
                batches=(made,),
                options=options_of(values),
                command=typed(),
                display=display,
                single=True,
            )
        )
    finally:
        display.close()
    if report.exit_code is ExitCode.OK:
        if report.lines[0].outcome is JobOutcome.UNCHANGED:
            another = f"--take {values['take'] + 1}"
            click.echo(
                f"already paid for: here is that result; {another} pays for another", err=True
            )
        _hand_out(made.jobs[0].key, Path(report.ledger))
    return report.exit_code


def _name(mode: str, tier: str, arguments: Mapping[str, str]) -> str:
    """A readable id that is the same for the same command."""
    words = re.findall(r"[a-z0-9]+", arguments.get("prompt", "").lower())
    slug = "-".join(words)[:40].strip("-") or mode
    text = json.dumps([mode, tier, sorted(arguments.items())])
    return f"{slug}-{sha256(text.encode()).hexdigest()[:6]}"


def _hand_out(key: JobKey, ledger: Path) -> None:
    """The seed's output format, each file with its local path."""
    from kling_batch.core.lifecycle import State  # noqa: PLC0415
    from kling_batch.ledger.reader import Reader  # noqa: PLC0415
    from kling_batch.output.files import shown  # noqa: PLC0415

    with Reader.open(ledger) as reader:
        paid = [a for a in reader.attempts_of(key) if a.state is State.SUCCEEDED]
        files = [f for f in reader.files_of(paid[-1].id) if not f.superseded]
    paths = {f.index: shown(ledger.parent / f.path) for f in files}
    output = paid[-1].output or _adopted(files)
    click.echo(json.dumps(_with_paths(output, paths), ensure_ascii=False, indent=2))


def _adopted(files: Sequence[File]) -> Any:
    """The same format for files that a person brought: fal has said nothing of them."""
    told = [{"url": "", "content_type": f.content_type, "file_size": f.size} for f in files]
    video = files[0].content_type.startswith("video/")
    return {"video": told[0]} if video else {"images": told}


def _with_paths(output: Any, paths: Mapping[int, str]) -> Any:
    """`path` beside each `url`, in the order in which the files were saved."""
    count = 0

    def walk(value: Any) -> Any:
        nonlocal count
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("url"), str):
            path = paths.get(count)
            count += 1
            return {**value, "path": path} if path else value
        return {name: walk(item) for name, item in value.items()}

    return walk(output)
