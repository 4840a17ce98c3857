"""Files and folders that may not be read or written: a message with the name, and nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.process import environment, run

from kling_batch.cli import main as cli
from kling_batch.emulator import Settings, World
from kling_batch.emulator.server import running

MANIFEST = "version: 1\nname: no\ndefaults: {mode: text-to-image}\njobs:\n"
DONE = "  - {id: done, prompt: the first}\n"
OPEN = "  - {id: open, prompt: the second}\n"

if os.name != "posix":
    pytest.skip("permissions are another matter there", allow_module_level=True)


def obeying() -> list[str]:
    """Words that make a program obey permissions although root has started it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may do everything here")
    caps = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"]


class Folder:
    """One clip is bought and lies here; another job waits."""

    def __init__(self, path: Path, world: World, url: str) -> None:
        self.path, self.world, self.url = path, world, url
        self.outputs = path / "outputs"
        self.folder = self.outputs / "no/text-to-image"
        self.picture = self.folder / "done.png"
        (path / "no.yaml").write_text(MANIFEST + DONE + OPEN)
        words = ("run", "no.yaml", "--only", "done", "--emulator-url", url)
        assert run(*words, cwd=path).returncode == 0

    def invoke(self, *words: str, code: int) -> str:
        done = subprocess.run(
            [*obeying(), sys.executable, "-m", "kling_batch", *words],
            cwd=self.path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    world = World(Settings(profile="instant", media="template"))
    with running(world) as url:
        folder = Folder(tmp_path, world, url)
        yield folder
        for path in (folder.outputs, folder.folder, folder.picture):
            path.chmod(0o755)


@pytest.mark.acceptance
@pytest.mark.parametrize("closed", ["picture", "folder"])
@pytest.mark.parametrize("more", [(), ("--repair",)], ids=["", "repair"])
def test_what_verify_may_not_read_is_a_finding_and_is_not_fetched_over(
    folder: Folder, closed: str, more: tuple[str, ...]
) -> None:
    getattr(folder, closed).chmod(0)

    told = folder.invoke("verify", *more, "--emulator-url", folder.url, code=1)

    assert "no/text-to-image/done.png: cannot be read: Permission denied" in told
    assert "1 finding" in told
    getattr(folder, closed).chmod(0o755)
    assert "everything fits" in folder.invoke("verify", code=0)
    assert list(folder.world.books.charges().values()) == [1]


@pytest.mark.acceptance
def test_a_gallery_that_cannot_be_written_is_a_message(folder: Folder) -> None:
    folder.outputs.chmod(0o555)

    told = folder.invoke("gallery", code=2)

    assert told.startswith("kling-batch: the page cannot be written into outputs:")
    assert "Permission denied" in told
    assert "kling-batch gallery --ledger outputs/ledger.db --output FOLDER" in told


@pytest.mark.acceptance
def test_a_file_that_cannot_be_adopted_is_a_message_and_changes_nothing(folder: Folder) -> None:
    mine = folder.path / "mine.png"
    mine.write_bytes(folder.picture.read_bytes())
    folder.folder.chmod(0o555)

    told = folder.invoke("adopt", "open", "mine.png", code=1)

    assert told.startswith("kling-batch: outputs/no/text-to-image/")
    assert "Permission denied" in told
    assert "is its result now" not in told
    folder.folder.chmod(0o755)
    assert {path.name for path in folder.folder.iterdir()} == {"done.png", "done.png.json"}
    folder.invoke("adopt", "open", "mine.png", code=0)
    assert "everything fits" in folder.invoke("verify", code=0)


FULL = OSError(errno.ENOSPC, "No space left on device", "/out/a.mp4")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FULL, "kling-batch: /out/a.mp4: No space left on device"),
        (ExceptionGroup("tasks", [ExceptionGroup("", [FULL])]), "kling-batch: /out/a.mp4: No sp"),
        (OSError(errno.EXDEV, "Cross-device", "/a", None, "/b"), "kling-batch: /a → /b: Cross"),
        (OSError("odd"), "kling-batch: odd"),
    ],
    ids=["alone", "of a task", "two names", "no name"],
)
def test_what_the_system_refuses_leaves_in_a_message(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "cli", raising(error))

    with pytest.raises(SystemExit) as left:
        cli.main()

    assert left.value.code == 1
    assert capsys.readouterr().err.startswith(told)


def test_a_bug_beside_a_full_disk_stays_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "cli", raising(ExceptionGroup("tasks", [FULL, KeyError("bug")])))

    with pytest.raises(ExceptionGroup):
        cli.main()


def raising(error: Exception) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    monkey = command.main
    command.main = lambda **more: monkey([], **more)  # type: ignore[method-assign]
    return command
