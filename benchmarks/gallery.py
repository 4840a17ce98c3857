"""A gallery page of many renders, with files and posters, and a headless Chromium to open it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from kling_batch.core.jobs import JobKey
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.verdicts import Verdict, VerdictRow
from kling_batch.report.gallery import PAGE, RelativeLinks, page_data, render_page
from kling_batch.report.gallery_data import items_of
from kling_batch.report.gallery_entry import Entry, Media
from kling_batch.report.posters import make_posters
from kling_batch.settings import LEDGER_NAME

SIZES = ((1280, 720), (720, 1280), (1024, 1024), (1680, 720), (1024, 768))
PROMPTS = (
    "The sneaker rotating on white marble, soft light from the left, slow push in",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "سيارة حمراء تعبر جسراً فوق البحر عند الغروب، والكاميرا تتبعها ببطء",
    "👟🔥 a sneaker explodes into confetti 🎉👩‍👩‍👧‍👦, snow falls ❄️, shot on 35 mm",
    "A very long prompt. " + "The camera moves along the shelf and shows every bottle once. " * 38,
    "雪の中の侍、崖の上、夕焼け",
)
STATES = ("failed", "in doubt", "waiting", "rendering")
START = datetime(2026, 5, 1, tzinfo=UTC)
MESSAGES = {
    "failed": "The content could not be processed because it was flagged by a content checker",
    "in doubt": "the connection was reset after the request had left",
    "rendering": "rendering at fal",
    "waiting": "",
}


def chromium() -> str:
    """The installed browser; empty: there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), "")


@contextmanager
def browser_page(**context: Any) -> Iterator[Any]:
    """A page of a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser.new_context(**context).new_page()
        finally:
            browser.close()


# -- the page ----------------------------------------------------------------------------------


def pictures(folder: Path, number: int) -> list[Path]:
    """Files of different content: a few are drawn, the others are copies with a byte more."""
    from PIL import Image, ImageDraw

    drawn = []
    for n, (width, height) in enumerate(islice(cycle(SIZES), 20)):
        image = Image.linear_gradient("L").rotate(36 * n).resize((width, height))
        coloured = Image.merge("RGB", (image, image.rotate(180), Image.new("L", image.size, 9 * n)))
        draw = ImageDraw.Draw(coloured)
        draw.ellipse(
            (width // 3, height // 4, 2 * width // 3, 3 * height // 4), fill=(240, 9 * n, 60)
        )
        drawn.append(folder / f"drawn-{n}.jpg")
        coloured.save(drawn[-1], quality=60)
    made = []
    for n, source in zip(range(number), cycle(drawn), strict=False):
        path = folder / f"{n:05}.jpg"
        path.write_bytes(source.read_bytes() + b"%d" % n)
        made.append(path)
    return made


def entries(folder: Path, number: int, videos: tuple[Path, ...] = ()) -> list[Entry]:
    """A season of takes and tiers; one in 25 has no file."""
    return [
        _entry(n, videos[n % len(videos)] if videos and n % 3 == 0 else file)
        for n, file in enumerate(pictures(folder, number))
    ]


def _entry(n: int, file: Path) -> Entry:
    job, of = divmod(n, 3)
    state = JobStatus(STATES[(n // 25) % 4] if n % 25 == 24 else "done")
    done = state is JobStatus.DONE
    return Entry(
        batch=f"spring-{n // 1000}",
        job=f"spin-{job:04}" + ("-pro" if of == 2 else ""),
        take=of + 1 if of < 2 else 1,
        key=JobKey(f"k1:{n:032x}"),
        attempt=n + 1 if state is not JobStatus.WAITING else None,
        state=state,
        mode="text-to-video" if job % 2 else "image-to-video",
        tier="pro" if of == 2 else "standard",
        endpoint="fal-ai/kling-video/o3/standard/text-to-video",
        prompt=f"{PROMPTS[job % len(PROMPTS)]} {job}",
        parameters={"duration": "5", "aspect_ratio": "16:9", "generate_audio": n % 2 == 0},
        message=MESSAGES.get(state.value, ""),
        charged=MicroUSD(420_000 + 1000 * (n % 300) if done else 0),
        exposed=MicroUSD(420_000 if state is JobStatus.IN_DOUBT else 0),
        estimate=MicroUSD(420_000),
        attempts=1 + (n % 11 == 0),
        media=(_media(n, file),) if done else (),
        request_id=f"{n:08x}-0000-4000-8000-000000000000",
        at=f"{START + timedelta(minutes=n):%Y-%m-%d %H:%M}",
        seconds=90 + (n * 37) % 240 if done else None,
        verdict=_verdict(n) if done and n % 9 < 3 else None,
    )


def _media(n: int, file: Path) -> Media:
    kind = "video" if file.suffix == ".mp4" else "image"
    digest = sha256(f"{n} {file}".encode()).hexdigest()
    return Media(path=file, sha256=digest, kind=kind, size=file.stat().st_size)


def _verdict(n: int) -> VerdictRow:
    return VerdictRow(
        id=n + 1,
        job_key=JobKey(f"k1:{n:032x}"),
        attempt_id=n + 1,
        verdict=list(Verdict)[n % 9],
        note="Slower, please" if n % 18 == 0 else "",
        author="Ada",
        at="2026-05-02T10:00:00.000Z",
    )


def write_page(folder: Path, number: int, videos: tuple[Path, ...] = ()) -> Path:
    """A gallery of so many renders, with files and posters."""
    shown = entries(folder, number, videos)
    held = [media for entry in shown for media in entry.media]
    posters = make_posters(folder, ((m.sha256, m.path, m.kind) for m in held))
    data = page_data(
        items_of(shown, RelativeLinks(folder, posters)),
        ledger=folder / LEDGER_NAME,
        title="Spring campaign",
        total="charged $840.00",
        written="2026-05-01 12:30 UTC",
    )
    target = folder / PAGE
    target.write_text(render_page(data), encoding="utf-8")
    return target
