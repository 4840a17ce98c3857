"""Making of one rendition: `make_rendition(source, recipe, target)`, for any process anywhere.

A target appears whole or not at all, and the same call again gives the same file. Must not know
jobs, the ledger, fal or its key. The codecs are imported when they are used.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from kling_batch.output.files import describe_error, digest_of_open, sync_folder
from kling_batch.output.filetype import content_type_of
from kling_batch.renditions.geometry import RenditionError


class Made(TypedDict):
    """What a rendition is: small, and plain JSON."""

    sha256: str
    size: int
    content_type: str


#: Gives a finished temporary file its final name, whole or not at all, and tells what it is.
Place = Callable[[Path, Path], Made]


def make_rendition(
    source: Path,
    recipe: Mapping[str, Any],
    target: Path,
    *,
    threads: int = 0,
    place: Place | None = None,
) -> Made:
    """Make a rendition of a file, and give it its name when it is complete and synced.

    Args:
        source: a saved file; it is only read.
        recipe: what `core.recipes.Recipe.text` says, as JSON.
        target: the final name; what has it is replaced.
        threads: of an encoder; 0: as it likes.
        place: gives the finished file its name; None: in the target's folder, by a rename.

    Raises:
        RenditionError: it cannot be made, in a sentence.
    """
    temporary = temporary_of(target)
    try:
        _make(source, recipe, temporary, threads)
        return (place or place_in_folder)(temporary, target)
    except OSError as error:
        raise RenditionError(describe_error(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def place_in_folder(temporary: Path, target: Path) -> Made:
    """Sync a finished file and rename it to its final name in the same folder."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
        digest = digest_of_open(file)
        size = os.fstat(file.fileno()).st_size
    temporary.replace(target)
    sync_folder(target.parent)
    return Made(sha256=digest, size=size, content_type=content_type_of(target.name))


def remove_leftovers(target: Path) -> None:
    """Remove what killed processes left of this target. Lists its folder, so not for every one."""
    start, end = f".{target.stem}.", f".part{target.suffix}"
    length = len(start) + _TOKEN + len(end)
    for name in os.listdir(target.parent):  # noqa: PTH208 - of a large folder, names are enough
        if len(name) == length and name.startswith(start) and name.endswith(end):
            target.with_name(name).unlink(missing_ok=True)


#: Characters that tell the temporary files of one target apart.
_TOKEN = 8


def temporary_of(target: Path) -> Path:
    """A hidden name beside the target, with its ending: encoders and commands go by that."""
    token = secrets.token_hex(_TOKEN // 2)
    return target.with_name(f".{target.stem}.{token}.part{target.suffix}")


def _make(source: Path, recipe: Mapping[str, Any], temporary: Path, threads: int) -> None:
    if not source.is_file():
        raise RenditionError(f"{source.name} is not here")
    match recipe["kind"]:
        case "command":
            from kling_batch.renditions.command import run_command  # noqa: PLC0415

            run_command(source, recipe, temporary)
        case "still" | "strip":
            from kling_batch.renditions.pictures import make_picture  # noqa: PLC0415

            make_picture(source, recipe, temporary)
        case _:
            from kling_batch.renditions.video import make_video  # noqa: PLC0415

            make_video(source, recipe, temporary, threads=threads)
