"""How a run is stopped: Ctrl-C, SIGTERM, a closed terminal, a deadline, a reader that goes away.

The real program, with a terminal and without; the emulator's books say what it cost.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.cli import still_open
from support.process import environment, run, start

from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.server import running
from kling_batch.ledger.reader import Reader

MANIFEST = "version: 1\nname: stop\ndefaults: {mode: text-to-video, tier: standard}\njobs:\n"

#: Seconds that a busy machine may need; a POST that hangs is waited for much longer.
LONG = 60.0

#: Makes its standard input the controlling terminal, then becomes the program.
_IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'kling_batch', *sys.argv[1:]])"
)


class Terminal:
    """The program in a terminal of its own, its leader: closing the window hangs it up."""

    def __init__(self, *words: str | Path, cwd: Path) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, *map(str, words)],
            cwd=cwd,
            env=environment(TERM="xterm", COLUMNS="100", LINES="30"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._said = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # the other side is closed
            while data := os.read(self._master, 65536):
                self._said += data

    @property
    def text(self) -> str:
        return self._said.decode(errors="replace")

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def close_window(self) -> None:
        os.close(self._master)

    def end(self, seconds: float = 30) -> int:
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code


class Piped:
    """The program as cron starts it."""

    def __init__(self, *words: str | Path, cwd: Path) -> None:
        self.process = start(*words, cwd=cwd)
        self.text = ""

    def type(self, keys: bytes) -> None:
        assert keys == b"\x03"
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 30) -> int:
        out, err = self.process.communicate(timeout=seconds)
        self.text = out + err
        return self.process.returncode


class Place:
    """A folder, a manifest, an emulated account whose renders take long."""

    def __init__(self, folder: Path, world: World, url: str, jobs: int = 6) -> None:
        self.folder, self.world = folder, world
        rows = "".join(f"  - {{id: job-{n}, prompt: 'clip number {n}'}}\n" for n in range(jobs))
        (folder / "stop.yaml").write_text(MANIFEST + rows)
        self.words = ("run", "stop.yaml", "--emulator-url", url, "--rate", "50/s")
        self.jobs = jobs
        self._started: list[subprocess.Popen[str] | subprocess.Popen[bytes]] = []

    def start(self, kind: Callable[..., Terminal | Piped], *more: str) -> Terminal | Piped:
        program = kind(*self.words, *more, cwd=self.folder)
        self._started.append(program.process)
        return program

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def wait(self, condition: Callable[[], object]) -> None:
        for _ in range(600):
            if condition():
                return
            time.sleep(0.02)
        raise AssertionError("it never came to that")

    def posts(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.world.books.posts) >= count

    def doubts(self) -> int:
        with Reader.open(self.folder / "outputs/ledger.db") as ledger:
            sql = "select count(*) as n from attempts where state in ('submitting', 'in_doubt')"
            return int(next(ledger.db.query(sql))["n"])

    def open_requests(self) -> set[str]:
        with Reader.open(self.folder / "outputs/ledger.db") as ledger:
            return ledger.request_ids()

    def finish(self, folder: Path | None = None) -> None:
        """Everything renders now, and the same command again ends with every file, paid once."""
        self.world.faults.clear()
        self.world.settings.service_times = {}
        self.world.complete_now()
        folder = folder or self.folder
        done = run(*self.words, cwd=folder)
        assert done.returncode == 0, done.stderr
        self.all_is_here(folder)

    def all_is_here(self, folder: Path | None = None) -> None:
        outputs = (folder or self.folder) / "outputs"
        clips = [path for path in outputs.rglob("*.mp4") if not path.name.startswith(".")]
        assert len(clips) == self.jobs
        assert list(self.world.books.charges().values()) == [1] * self.jobs
        assert len(self.world.books.accepted) == self.jobs

    def nothing_is_lost(self) -> None:
        """Every request that was accepted is known by its id, and none is in doubt."""
        assert self.open_requests() == {r.request_id for r in self.world.books.accepted}
        assert self.doubts() == 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    settings = Settings(
        concurrency=8, media="template", profile="instant", service_times={"standard": 600.0}
    )
    world = World(settings)
    with running(world) as url:
        place = Place(tmp_path, world, url)
        yield place
        place.close()


KINDS = pytest.mark.parametrize("kind", [Terminal, Piped])


@KINDS
def test_ctrl_c_lets_posts_get_their_answers_and_says_how_to_go_on(
    place: Place, kind: type
) -> None:
    place.world.faults.add(Fault(stage="submit.after", what="delay", seconds=1.0))
    program = place.start(kind, "--concurrency", "3")
    place.wait(place.posts(3))

    program.type(b"\x03")

    assert program.end() == 130
    assert len(place.world.books.accepted) == 3
    place.nothing_is_lost()
    assert still_open(program.text) == 3
    assert "3 waiting" in program.text
    assert "kling-batch run stop.yaml" in program.text
    assert "Traceback" not in program.text
    place.finish()


@pytest.mark.acceptance
@KINDS
def test_ctrl_c_twice_leaves_at_once_and_nothing_is_lost(place: Place, kind: type) -> None:
    place.world.faults.add(Fault(stage="submit.after", what="hang", nth=3))
    program = place.start(kind, "--concurrency", "3")
    place.wait(place.posts(3))
    program.type(b"\x03")
    time.sleep(0.5)
    assert program.process.poll() is None, "the POST in flight was not waited for"

    program.type(b"\x03")

    assert program.end(LONG) == 130
    assert "Traceback" not in program.text
    place.finish()
    assert place.doubts() == 0


def test_sigterm_leaves_in_order(place: Place) -> None:
    program = place.start(Piped)
    place.wait(place.posts(6))

    program.process.terminate()

    assert program.end(5) == 143
    assert still_open(program.text) == 6
    place.nothing_is_lost()


@pytest.mark.acceptance
def test_sigterm_does_not_wait_for_a_post_that_hangs(place: Place) -> None:
    place.world.faults.add(Fault(stage="submit.after", what="hang", nth=2))
    program = place.start(Piped)
    place.wait(place.posts(6))

    program.process.terminate()

    with pytest.raises(subprocess.TimeoutExpired):
        program.process.wait(5)  # it gives the POST the time that a CI system gives it
    assert program.end(LONG) == 143
    assert place.doubts() == 1
    place.finish()


@pytest.mark.acceptance
def test_a_closed_window_lets_posts_get_their_answers(place: Place) -> None:
    place.world.faults.add(Fault(stage="submit.after", what="delay", seconds=1.0))
    program = place.start(Terminal)
    assert isinstance(program, Terminal)
    place.wait(place.posts(6))

    program.close_window()

    assert program.end() == 130
    place.nothing_is_lost()
    assert len(place.open_requests()) == 6


@pytest.mark.acceptance
def test_being_hung_up_twice_is_no_second_ctrl_c(place: Place) -> None:
    """A shell passes the signal on, and the kernel sends it again when the shell ends."""
    place.world.faults.add(Fault(stage="submit.after", what="delay", seconds=1.0))
    program = place.start(Piped)
    place.wait(place.posts(6))

    for _ in range(2):
        program.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)

    assert program.end() == 130
    place.nothing_is_lost()


@pytest.mark.acceptance
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_what_the_parent_has_ignored_stays_ignored(place: Place, number: signal.Signals) -> None:
    """`nohup`, and `&` in a script, set a signal to be ignored; the night's run goes on."""
    ignoring = (
        f"import os, signal, sys; signal.signal({int(number)}, signal.SIG_IGN); "
        "os.execv(sys.executable, [sys.executable, '-m', 'kling_batch', *sys.argv[1:]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", ignoring, *place.words],
        cwd=place.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    place.wait(place.posts(6))

    process.send_signal(number)
    time.sleep(0.3)
    place.world.complete_now()

    _, told = process.communicate(timeout=30)
    assert process.returncode == 0, told
    place.all_is_here()


def test_timeout_leaves_with_6_and_the_next_run_collects(place: Place) -> None:
    done = run(*place.words, "--timeout", "1s", cwd=place.folder)

    assert done.returncode == 6, done.stderr
    assert still_open(done.stderr) == 6
    place.finish()


def test_detached_work_is_collected_from_a_copy_of_the_folder(place: Place, tmp_path: Path) -> None:
    done = run(*place.words, "--detach", cwd=place.folder)
    assert done.returncode == 6, done.stderr
    assert len(place.world.books.accepted) == 6
    elsewhere = tmp_path / "another machine"
    elsewhere.mkdir()
    shutil.copytree(place.folder / "outputs", elsewhere / "outputs")
    shutil.copy(place.folder / "stop.yaml", elsewhere)
    shutil.rmtree(place.folder / "outputs")

    place.finish(elsewhere)


# -- standard streams ----------------------------------------------------------------------------


@pytest.mark.acceptance
def test_a_reader_that_leaves_early_breaks_nothing(place: Place) -> None:
    place.world.settings.service_times = {}
    with start(*place.words, "--json", cwd=place.folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        process.stdout.close()
        told = process.stderr.read()

    assert first["event"] == "started"
    assert process.returncode == 0, told
    assert "Traceback" not in told
    place.all_is_here()


@pytest.mark.acceptance
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_standard_output_that_was_closed_before_the_start(place: Place, more: str) -> None:
    place.world.settings.service_times = {}
    command = ["sh", "-c", f'exec "$0" -m kling_batch "$@" {more} >&-', sys.executable]

    done = subprocess.run(
        [*command, *place.words],
        cwd=place.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    place.all_is_here()


# -- before anything was sent ----------------------------------------------------------------------


@contextmanager
def fed_slowly(path: Path) -> Iterator[Callable[[], None]]:
    """A manifest that is being read, and has no end.

    Opening it to write waits for who opens it to read; that an answer is taken out of the pipe,
    for who is past all that Python loads on the way to the first line.
    """
    os.mkfifo(path)
    opened: list[int] = []

    def being_read() -> None:
        handle = os.open(path, os.O_WRONLY)
        opened.append(handle)
        os.write(handle, b"id,mode,prompt\n")
        for _ in range(500):
            if struct.unpack("i", fcntl.ioctl(handle, termios.FIONREAD, bytes(4))) == (0,):
                return
            time.sleep(0.01)
        raise AssertionError("nobody reads it")

    try:
        yield being_read
    finally:
        for handle in opened:
            os.close(handle)


@pytest.mark.parametrize("command", ["run", "plan", "validate"])
def test_ctrl_c_while_loading_is_130_without_a_traceback(tmp_path: Path, command: str) -> None:
    with fed_slowly(tmp_path / "stop.csv") as being_read:
        program = Piped(command, "stop.csv", cwd=tmp_path)
        being_read()

        program.type(b"\x03")

        assert program.end(10) == 130
    assert "Traceback" not in program.text
    assert not (tmp_path / "outputs").exists()
