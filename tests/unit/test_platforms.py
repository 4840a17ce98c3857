"""What only POSIX has, and what file systems lack, is met by another way: simulated here."""

from __future__ import annotations

import ast
import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from support.books import paid_once
from support.cli import Workspace
from support.engine import Rig, make_job

import kling_batch
from kling_batch.operations.handled_signals import Signals
from kling_batch.operations.received_signals import receiver
from kling_batch.output.files import relative_to, sync_folder
from kling_batch.output.store import OutputStore
from kling_batch.shown_location import shown

#: Modules that Windows does not have.
POSIX_ONLY = frozenset({"fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "syslog"})
PACKAGE = Path(kling_batch.__file__).parent


def test_no_module_imports_what_windows_does_not_have() -> None:
    found = [
        f"{path.name}: {name}"
        for path in PACKAGE.rglob("*.py")
        for node in _unguarded(ast.parse(path.read_text("utf-8")))
        for name in _imported(node)
        if name.partition(".")[0] in POSIX_ONLY
    ]

    assert found == []


def _unguarded(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those in a `try` that goes on after an ImportError."""
    for child in ast.iter_child_nodes(node):
        guarded = isinstance(child, ast.Try) and any(
            isinstance(handler.type, ast.Name) and handler.type.id == "ImportError"
            for handler in child.handlers
        )
        if not guarded:
            yield child
            yield from _unguarded(child)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def no_loop_signals(*_numbers: int) -> None:
    """As the event loop of Windows answers."""
    raise NotImplementedError


def test_a_run_needs_no_signals_of_the_event_loop(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anyio, "open_signal_receiver", no_loop_signals)
    monkeypatch.delattr(signal, "SIGHUP")

    workspace.run()

    assert workspace.charges() == [1, 1]


def test_signals_arrive_without_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anyio, "open_signal_receiver", no_loop_signals)
    before = signal.getsignal(signal.SIGTERM)

    async def first() -> signal.Signals:
        with receiver(Signals.PROCESS) as signals:
            assert signals is not None
            os.kill(os.getpid(), signal.SIGTERM)
            with anyio.fail_after(5):
                async for number in signals:
                    return number
        raise AssertionError

    assert anyio.run(first) is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EPERM, None])
def test_on_a_disk_without_hard_links_a_second_name_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    def link(*_args: object, **_more: object) -> None:
        if code is None:
            raise NotImplementedError
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    rig = Rig(tmp_path)
    one = make_job("one", prompt="same")

    rig.run([one, make_job("two", prompt="same")])

    assert rig.files() == ["test/one.mp4", "test/two.mp4"]
    paid_once(rig, 1)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS])
def test_a_folder_that_cannot_be_synced_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fsync(_handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    sync_folder(tmp_path)


def test_a_folder_that_cannot_be_opened_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    sync_folder(tmp_path)


def test_a_broken_disk_is_still_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)


def test_a_path_on_another_drive_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relpath(*_args: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    clip = tmp_path / "clip.mp4"
    store = OutputStore({}, tmp_path / "ledger")

    assert relative_to(clip, "C:") == clip.as_posix()
    assert shown(clip) == str(clip)
    assert store.located(store.stored(clip)) == clip
