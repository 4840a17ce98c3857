"""A store in memory whose driver can fail, and a rig that puts its files there."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from kling_batch.core.locations import ObjectAddress
from kling_batch.output.objects import ObjectStore
from kling_batch.output.store import OutputStore
from support.engine import Rig

ROOT = ObjectAddress("memory://assets/spring")


@contextmanager
def empty_memory() -> Iterator[None]:
    """The store in memory, which all tests of a process share, empty before and after."""
    _clear_memory()
    yield
    _clear_memory()


def _clear_memory() -> None:
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


class LastingStore(MemoryFileSystem):
    """The same store in memory, under the scheme of one that outlives a program.

    An output is not taken in `memory://`. The scheme is a real store's, because only of those that
    are known a put is whole or not at all.
    """

    protocol = "adl"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("adl://", "memory://"))


fsspec.register_implementation("adl", LastingStore, clobber=True)


class FailingStore(MemoryFileSystem):
    """Memory behind a driver that raises what a test says; `flaky://` has no atomic put."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    #: Called with the name of the operation and the path; may raise.
    fail: Callable[[str, str], None] = staticmethod(lambda _what, _path: None)
    calls: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("flaky://", "memory://"))

    def _asked(self, what: str, path: str) -> None:
        type(self).calls.append(what)
        type(self).fail(what, path)

    def put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        self._asked("put", rpath)
        super().put_file(lpath, rpath, **more)

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        self._asked("ls", path)
        return super().ls(path, detail=detail, **more)

    def pipe_file(self, path: str, value: bytes, **more: Any) -> None:
        self._asked("pipe", path)
        super().pipe_file(path, value, **more)

    @classmethod
    def clear(cls) -> None:
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.calls.clear()
        cls.fail = staticmethod(lambda _what, _path: None)


fsspec.register_implementation("flaky", FailingStore, clobber=True)


class StoreRig(Rig):
    """A rig whose outputs are in a store; ledger and spool are in the folder."""

    root = ROOT

    def store(self) -> OutputStore:
        return OutputStore({"test": self.root}, self.folder, self.folder / "spool")

    def objects(self) -> dict[str, bytes]:
        """Everything that is in the store, by its name below the root."""
        fs, path = fsspec.core.url_to_fs(self.root.url)
        found = fs.find(path) if fs.exists(path) else []
        return {name.removeprefix(f"{path}/"): fs.cat_file(name) for name in found}

    def clips(self) -> list[str]:
        return sorted(name for name in self.objects() if name.endswith(".mp4"))

    def spooled(self) -> list[str]:
        spool = self.folder / "spool"
        return sorted(path.name for path in spool.iterdir()) if spool.is_dir() else []


def full(_what: str, path: str) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", path)


def at(rig: StoreRig, name: str) -> ObjectAddress:
    return rig.root / name


def change(rig: StoreRig, name: str, data: bytes) -> None:
    """What somebody else puts in the place of an object."""
    fs, path = fsspec.core.url_to_fs(at(rig, name).url)
    fs.pipe_file(path, data)


def digest_in_store(rig: StoreRig, name: str) -> str:
    return ObjectStore().digest(at(rig, name))


__all__ = ["FailingStore", "Path", "StoreRig", "at", "change", "digest_in_store", "full"]
