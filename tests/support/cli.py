"""Commands in this process, and a folder to type them in beside a running emulator.

An interpreter per command is what `support.process` is for: signals, kills, closed streams.
"""

from __future__ import annotations

import gc
import io
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import fal_client.client

from kling_batch.cli.main import main
from kling_batch.core.lifecycle import State
from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.server import running
from kling_batch.ledger.reader import Reader
from support.process import SIGNALS, environment

# -- the command line in this process ------------------------------------------------------------


def run_command(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What `support.process.run` gives, without the start of an interpreter.

    An exception that the program does not turn into a message is the test's failure.
    """
    command = ["kling-batch", *map(str, words)]
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        Path(os.devnull).open(encoding="utf-8") as nothing,
        _process_state(),
    ):
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env or environment())
        sys.argv = command
        sys.stdin = nothing
        sys.stdout, sys.stderr = _stream(out, "strict"), _stream(err, "backslashreplace")
        streams = sys.stdout, sys.stderr
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code
        finally:
            for stream in streams:
                stream.flush()
                stream.detach()
        assert isinstance(code, int), code
        return subprocess.CompletedProcess(command, code, _text(out), _text(err))


def _stream(file: IO[bytes], errors: str) -> io.TextIOWrapper:
    """A standard stream as an interpreter makes it for a pipe."""
    return io.TextIOWrapper(
        file, encoding="utf-8", errors=errors, newline="", line_buffering=errors != "strict"
    )


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return io.TextIOWrapper(io.BytesIO(file.read()), encoding="utf-8").read()


@contextmanager
def _process_state() -> Iterator[None]:
    """Gives back what a command may change and an interpreter would take with it."""
    names = ("argv", "stdin", "stdout", "stderr")
    attributes = {name: getattr(sys, name) for name in names}
    environ, folder = dict(os.environ), Path.cwd()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    hosts = {name: getattr(fal_client.client, name) for name in ("REST_URL", "CDN_URL")}
    try:
        yield
    finally:
        for name, value in attributes.items():
            setattr(sys, name, value)
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(folder)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for name, value in hosts.items():
            setattr(fal_client.client, name, value)
        gc.unfreeze()


# -- a folder to type them in --------------------------------------------------------------------

HEAD = "version: 1\nname: trial\ndefaults: {mode: text-to-image}\njobs:\n"
HERO, OTHER = "  - {id: hero, prompt: first}\n", "  - {id: other, prompt: second}\n"

#: Two jobs, ready to run.
MANIFEST = """\
version: 1
defaults: {mode: text-to-image}
jobs:
  - {id: one, prompt: the first}
  - {id: two, prompt: the second}
"""

ONE = MANIFEST.partition("  - {id: two")[0]
EDITED = MANIFEST.replace("the first", "the first but better")

#: The first job's first render is refused by fal's content policy.
POLICY = Fault(stage="job", what="fail", error="content_policy_violation", prompt="first", times=1)


def still_open(text: str) -> int:
    """How many jobs a summary counts as queued or rendering."""
    (jobs,) = re.findall(r"  jobs   (.*?)  cost   ", text, re.DOTALL)
    return sum(int(number) for number in re.findall(r"(\d+) (?:queued|rendering)\b", jobs))


VIDEOS = """\
version: 1
name: {name}
{head}defaults: {{mode: text-to-video, tier: standard}}
jobs:
"""


class Workspace:
    """A folder with a manifest, an emulated account, and commands that run in it."""

    def __init__(self, folder: Path, world: World, url: str, file: str) -> None:
        self.folder, self.world, self.url = folder, world, url
        #: The manifest that `put` writes and `run` runs.
        self.file = file

    # -- the manifest --

    def put(self, text: str) -> None:
        (self.folder / self.file).write_text(text)

    def write(self, *jobs: str) -> None:
        """Rows under the head of a batch of images."""
        self.put(HEAD + "".join(jobs))

    def videos(self, *jobs: str, name: str = "trial", head: str = "") -> None:
        """A batch of videos, each job in the words between its braces."""
        rows = "".join(f"  - {{{job}}}\n" for job in jobs)
        (self.folder / f"{name}.yaml").write_text(VIDEOS.format(name=name, head=head) + rows)

    # -- commands --

    def run(self, *more: str, code: int = 0, manifest: str = "") -> str:
        return self.invoke(
            "run", manifest or self.file, "--emulator-url", self.url, *more, code=code
        )

    def plan(self, *more: str, manifest: str = "") -> str:
        """What the run would do."""
        return self.invoke("plan", manifest or self.file, "--emulator-url", self.url, *more)

    def invoke(self, *words: str, code: int = 0) -> str:
        """One command; everything that it printed."""
        done = run_command(*words, cwd=self.folder)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def type(self, step: str, code: int = 0) -> str:
        """A command as it was printed, taken apart by a shell."""
        return self.invoke(*words_of(step, self.folder), code=code)

    # -- what came of it --

    def pictures(self) -> list[str]:
        return sorted(p.name for p in (self.folder / "outputs").rglob("*.png"))

    def prompts(self) -> list[str]:
        """What fal accepted, by its own books."""
        return sorted(request.prompt for request in self.world.books.accepted)

    def charges(self) -> list[int]:
        return sorted(self.world.books.charges().values())

    def open_key(self) -> str:
        with Reader.open(self.folder / "outputs/ledger.db") as reader:
            states = (State.SUBMITTING, State.IN_DOUBT, State.SUBMITTED)
            ((_, key, _, _),) = reader.open_attempts(*states)
        return key

    def last_command(self, ledger: str = "outputs/ledger.db") -> str:
        """The last run's command, as the ledger has it."""
        with Reader.open(self.folder / ledger) as reader:
            rows = list(reader.db.query("select command from runs order by id desc limit 1"))
        return str(rows[0]["command"])

    def finish(self) -> None:
        """Everything renders at once from now on."""
        self.world.settings.service_times = {}
        self.world.complete_now()


def key_of(workspace: Workspace, prompt: str) -> str:
    """The key of the job with this prompt, also where it left the manifest."""
    with closing(sqlite3.connect(workspace.folder / "outputs/ledger.db")) as db:
        sql = "select key from jobs where json_extract(arguments, '$.prompt') = ?"
        return str(db.execute(sql, [prompt]).fetchone()[0])


def words_of(step: str, folder: Path) -> list[str]:
    """The words of one `kling-batch` command, by the rules of a shell in that folder."""
    script = f'kling-batch() {{ printf "%s\\0" "$@"; }}\n{step}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith("\0"), f"not one command: {step}"
    return done.stdout.removesuffix("\0").split("\0")


@contextmanager
def workspace_in(folder: Path, file: str, **settings: Any) -> Iterator[Workspace]:
    """A workspace with a running emulator."""
    values = {"profile": "instant", "media": "template", "concurrency": 8, **settings}
    world = World(Settings(**values))
    with running(world) as url:
        yield Workspace(folder, world, url, file)
