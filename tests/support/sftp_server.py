"""A server that speaks SFTP (asyncssh) on a port, for one user with a key, with faults."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

from support.process import environment

#: Called with the name of the operation and the path of the file before it; may raise.
Fault = Callable[[str, str], None]


class SFTPHost:
    """One server, whose files are below a folder; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        """Nothing is served yet; keys and a home for the client are made."""
        self.files, self.home = folder / "files", folder / "home"
        self.fault: Fault | None = None
        #: Operations with their paths.
        self.calls: list[tuple[str, str]] = []
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._port = 0
        self._stop: Callable[[], None] = lambda: None
        ssh = self.home / ".ssh"
        ssh.mkdir(parents=True)
        self.files.mkdir()
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(ssh / "id_ed25519")
        (ssh / "id_ed25519").chmod(0o600)
        self._user = key.convert_to_public()

    @property
    def address(self) -> str:
        """The address of the root, as a manifest has it."""
        return f"sftp://someone@127.0.0.1:{self._port}"

    def known(self) -> str:
        """The line that `ssh` writes about this server once a person has accepted it."""
        public = self._host_key.export_public_key().decode().strip()
        return f"[127.0.0.1]:{self._port} {public}\n"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a program that has a key for this server, and knows the server."""
        (self.home / ".ssh/known_hosts").write_text(self.known())
        return environment(HOME=str(self.home), **more)

    def asked(self, what: str, path: bytes) -> None:
        self.calls.append((what, os.fsdecode(path)))
        if self.fault is not None:
            self.fault(what, os.fsdecode(path))

    def start(self) -> None:
        """Serve, on the same port as before."""
        serving: Future[tuple[int, Callable[[], None]]] = Future()
        threading.Thread(target=lambda: asyncio.run(self._serve(serving)), daemon=True).start()
        self._port, self._stop = serving.result(30)

    def stop(self) -> None:
        """End at once, with every connection."""
        self._stop()

    async def _serve(self, serving: Future[tuple[int, Callable[[], None]]]) -> None:
        connections: list[Any] = []

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: Any) -> None:
                connections.append(conn)

        loop, ended, closed = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        server = await asyncssh.listen(
            "127.0.0.1",
            self._port,
            server_host_keys=[self._host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(
                self._user.export_public_key().decode()
            ),
            server_factory=Server,
            sftp_factory=lambda channel: _Files(self, channel),
            reuse_address=True,
        )

        def stop() -> None:
            if not closed.is_set():
                loop.call_soon_threadsafe(ended.set)
                closed.wait(30)

        serving.set_result((server.get_port(), stop))
        await ended.wait()
        server.close()
        for connection in connections:
            connection.abort()
            await connection.wait_closed()
        await server.wait_closed()
        closed.set()


class _Files(asyncssh.SFTPServer):
    def __init__(self, host: SFTPHost, channel: Any) -> None:
        super().__init__(channel, chroot=str(host.files))
        self._host = host
        self._names: dict[int, bytes] = {}

    def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
        self._host.asked("open", path)
        file = super().open(path, pflags, attrs)
        self._names[id(file)] = path
        return file

    def read(self, file_obj: Any, offset: int, size: int) -> Any:
        self._host.asked("read", self._names[id(file_obj)])
        return super().read(file_obj, offset, size)

    def write(self, file_obj: Any, offset: int, data: bytes) -> Any:
        self._host.asked("write", self._names[id(file_obj)])
        return super().write(file_obj, offset, data)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> Any:
        self._host.asked("rename", newpath)
        return super().posix_rename(oldpath, newpath)


@contextmanager
def sftp_server(folder: Path) -> Iterator[SFTPHost]:
    """A running server; its files are in the folder."""
    host = SFTPHost(folder)
    host.start()
    try:
        yield host
    finally:
        host.fault = None
        host.stop()
