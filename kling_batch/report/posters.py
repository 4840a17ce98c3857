"""Posters: small JPEG images of renders, made from the files and kept by their digest.

A page shows posters and opens a file itself only on demand. Each worker holds one decoded frame.
A file that cannot be decoded has no poster, which is no error. Must not know jobs or the ledger.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.output.store import fetch

#: Folder of the posters, in the output folder.
FOLDER = ".posters"
#: Longest side, in pixels: a card is about 300 wide, on dense screens twice as many.
LONGEST = 640
QUALITY = 80
#: Decoders use more than one core by themselves.
WORKERS = 2
#: Where in a video the frame is taken: its first frames are often black.
POSITION = 0.25
#: Frames decoded on the way there at most, where a video has few key frames: two seconds of it.
MOST_FRAMES = 48
#: What shows through transparent images.
GROUND = (27, 27, 26)


def poster_path(output: Path, digest: str) -> Path:
    """Where the poster of a file with this SHA-256 is kept."""
    return output / FOLDER / poster_name(digest)


def poster_name(digest: str) -> str:
    """The name of the poster of a file with this SHA-256."""
    return f"{digest[:32]}.jpg"


def poster_of(path: Location, kind: str) -> bytes | None:
    """The poster of an image or video as JPEG; None where it cannot be decoded."""
    if isinstance(path, ObjectAddress):
        return _poster_of_object(path, kind)
    try:
        if kind == "image":
            return _encoded(_reduced(path))
        return _encoded(_frame(path)) if kind == "video" else None
    except Exception:  # noqa: BLE001 - decoders raise anything over a strange file
        return None


def _poster_of_object(at: ObjectAddress, kind: str) -> bytes | None:
    """The same of an object in a store, which is fetched for it."""
    if kind not in ("image", "video"):
        return None
    with tempfile.TemporaryDirectory(prefix="kling-batch-") as folder:
        copy = Path(folder) / at.name
        try:
            fetch(at, copy)
        except OSError:
            return None  # the page says where it is all the same
        return poster_of(copy, kind)


def _reduced(path: Path) -> Any:
    from PIL import Image, ImageOps  # noqa: PLC0415 - only where there is something to decode

    with Image.open(path) as image:
        image.draft("RGB", (LONGEST, LONGEST))  # JPEG decoders can leave out what is not needed
        upright = ImageOps.exif_transpose(image)
        upright.thumbnail((LONGEST, LONGEST))
        if "A" not in upright.getbands() and "transparency" not in upright.info:
            return upright.convert("RGB")
        ground = Image.new("RGBA", upright.size, (*GROUND, 255))
        return Image.alpha_composite(ground, upright.convert("RGBA")).convert("RGB")


def _frame(path: Path) -> Any:
    import av  # noqa: PLC0415 - only where there is something to decode

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        wanted = 0.0
        if container.duration:
            wanted = (container.start_time or 0) / 1e6 + container.duration * POSITION / 1e6
            container.seek(int(wanted * 1e6))  # to the key frame before: often the first of all
        stream.codec_context.skip_frame = "NONREF"
        frames = islice(container.decode(stream), MOST_FRAMES)
        frame = next(frames)
        while (frame.time or 0.0) < wanted and (later := next(frames, None)) is not None:
            frame = later
        scale = min(1.0, LONGEST / max(frame.width, frame.height))
        size = [max(1, round(side * scale)) for side in (frame.width, frame.height)]
        return frame.to_image(width=size[0], height=size[1])


def _encoded(image: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def keep_poster(output: Path, digest: str, path: Location, kind: str) -> bytes | None:
    """The poster of a file from the folder, or made and put there.

    Where the folder cannot be written, it is made each time.
    """
    target = poster_path(output, digest)
    with suppress(OSError):
        return target.read_bytes()
    poster = poster_of(path, kind)
    if poster is not None:
        with suppress(OSError):
            _write(target, poster)
    return poster


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def make_posters(
    output: Path,
    files: Iterable[tuple[str, Location, str]],
    on_progress: Callable[[int, int], None] | None = None,
) -> set[str]:
    """The digests of all files (digest, path, kind) that have a poster now.

    Args:
        output: the folder that holds the posters.
        files: may name a digest twice.
        on_progress: is told how many of the missing ones are done, and of how many.
    """
    wanted = {digest: (path, kind) for digest, path, kind in files}
    held = {digest for digest in wanted if poster_path(output, digest).is_file()}
    missing = [digest for digest in wanted if digest not in held]

    def make(digest: str) -> bool:
        path, kind = wanted[digest]
        made = keep_poster(output, digest, path, kind)
        return made is not None and poster_path(output, digest).is_file()

    with ThreadPoolExecutor(WORKERS) as workers:
        for done, (digest, made) in enumerate(
            zip(missing, workers.map(make, missing), strict=True), start=1
        ):
            if made:
                held.add(digest)
            if on_progress is not None:
                on_progress(done, len(missing))
    return held
