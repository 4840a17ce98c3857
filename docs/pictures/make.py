"""The pictures of README.md: the live view and the gallery of a batch on the emulator.

A first run renders a part of it, so that the second knows how long renders take; some takes are
judged, so that the gallery shows it.

    .venv/bin/pip install -e '.[docs]'
    .venv/bin/python docs/pictures/make.py

The program runs in a pseudo-terminal of its own, whose screen becomes an SVG; the gallery is looked
at by a headless Chromium. Nothing is asked of the network. Must not reach into the program: it is
shown as people see it.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pyte
from PIL import Image
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).with_name("kling-batch")
COLUMNS, LINES = 100, 18
#: The picture is taken while something renders and about half of the jobs are done.
MOMENT = re.compile(r"  rendering.*\b[5-7] of 12\b", re.DOTALL)
#: Commands before and after the run of the first picture.
BEFORE = [
    ["run", "spring.yaml", "--quiet", "--only", "spin-shoe", "--only", "mood-dawn"],
]
AFTER = [
    ["verdict", "hero-still", "pick", "--take", "2"],
    ["verdict", "hero-still", "reject", "--take", "1"],
    ["verdict", "spin-*", "approve"],
    ["gallery", "spring.yaml"],
]
#: Bytes of a picture at most, since README.md loads all of them.
MOST_BYTES = 200_000


def main() -> None:
    """Render the batch once, and write both pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(HERE / "spring.yaml", folder)
        for words in BEFORE:
            subprocess.run([PROGRAM, *words, "--emulator"], cwd=folder, check=True)
        (HERE / "live.svg").write_text(live_view(folder), "utf-8")
        for words in AFTER:
            subprocess.run([PROGRAM, *words, "--emulator"], cwd=folder, check=True)
        (HERE / "gallery.webp").write_bytes(gallery(folder / "outputs-emulator/gallery.html"))
    for picture in (HERE / "live.svg", HERE / "gallery.webp"):
        size = picture.stat().st_size
        print(f"{picture.name}: {size:,} bytes")  # noqa: T201
        if size > MOST_BYTES:
            sys.exit(f"{picture.name} has more than {MOST_BYTES:,} bytes")


# -- the live view -------------------------------------------------------------------------------


def live_view(folder: Path) -> str:
    """The screen in the middle of a run, as SVG; the run is waited for."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    command = [str(PROGRAM), "run", "spring.yaml", "--emulator"]
    picture = None
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        environ = {name: value for name, value in os.environ.items() if name not in ("CI", "LINES")}
        os.execve(PROGRAM, command, environ | {"TERM": "xterm-256color"})  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    for data in _until_quiet(terminal):
        stream.feed(data)
        if picture is None and MOMENT.search("\n".join(screen.display)):
            picture = _svg(screen, "kling-batch run spring.yaml --emulator")
    _, status = os.waitpid(child, 0)
    if picture is None or status:
        sys.exit(f"the run did not come to the moment of the picture (status {status})")
    return picture


def _until_quiet(terminal: int) -> list[bytes]:
    """What the program writes, in pieces that each end where it paused."""
    pieces: list[bytes] = []
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        piece = b""
        try:
            while select.select([terminal], [], [], 0.05 if piece else 30)[0]:
                piece += os.read(terminal, 65536)
        except OSError:  # the other end is closed
            return [*pieces, piece]
        pieces.append(piece)
    sys.exit("the run did not end")


def _svg(screen: pyte.Screen, title: str) -> str:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    last = max(y for y, line in enumerate(screen.display) if line.strip())
    for y in range(last + 1):
        row = screen.buffer[y]
        text = Text(no_wrap=True, overflow="crop")
        for x in range(COLUMNS):
            cell = row[x]
            text.append(cell.data, _style(cell))
        console.print(text)
    svg = console.export_svg(title=title, theme=DIMMED_MONOKAI, unique_id="live")
    # The font that rich names is on a server; every system has one of fixed width.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace(
        "Fira Code", "ui-monospace, Menlo, Consolas"
    )


def _style(cell: pyte.screens.Char) -> str:
    """The look of a cell in the words of rich."""
    color = {"brown": "yellow", "default": ""}.get(cell.fg, cell.fg)
    color = re.sub(r"^bright(?=[a-z])", "bright_", color.replace("brown", "yellow"))
    if re.fullmatch(r"[0-9a-f]{6}", color):
        color = f"#{color}"
    return " ".join(filter(None, ["bold" if cell.bold else "", color]))


# -- the gallery ---------------------------------------------------------------------------------


def gallery(page: Path) -> bytes:
    """The page as a browser shows it, as WebP."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        sys.exit("the gallery is drawn by chromium, which is not installed")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "gallery.png"
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1280,1000"]
        subprocess.run(
            [
                browser,
                *options,
                "--virtual-time-budget=8000",
                f"--screenshot={shot}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        image = Image.open(shot).convert("RGB")
        written = io.BytesIO()
        image.save(written, "WEBP", quality=80, method=6)
        return written.getvalue()


if __name__ == "__main__":
    main()
