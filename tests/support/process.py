"""The installed program from outside: run it, kill it, put it behind a TLS stand-in for fal."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import trustme

FAL_HOSTS = (
    "queue.fal.run",
    "queue.falrun.com",
    "rest.fal.ai",
    "v3.fal.media",
    "v3b.fal.media",
    "api.fal.ai",
)

#: The signals by which a shell, a scheduler or a closing terminal stops a program.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


def default_signals_in_children() -> None:
    """Lets every program that is started from here begin with the default handlers.

    Who ignores a signal (`nohup`, `&` in a script) hands that on to its children, and a test that
    sends one would wait in vain. A handler that does nothing is not inherited, and this process
    goes on to ignore the signal.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def compiled_modules_are_kept() -> None:
    """Lets interpreters that are started from here share what they compile.

    With `PYTHONDONTWRITEBYTECODE` in the environment (containers, some CI runners) each of them
    would compile the whole program again, which is most of a short command's time.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = Path(__file__).parents[2] / ".pytest_cache/pycache"
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(folder))


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    for name in list(kept):
        if name.startswith(("FAL_", "KLING_BATCH_", "GITHUB_")) or name in ("CI", "SSL_CERT_FILE"):
            del kept[name]
    return kept | {"PYTHONWARNINGS": "error", **extra}


def start(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kling_batch", *map(str, words)],
        cwd=cwd,
        env=dict(env or environment()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 90
) -> subprocess.CompletedProcess[str]:
    with start(*words, cwd=cwd, env=env) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"no end after {timeout} s\n{out}\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """SIGKILL the program if it is still there; whether it was."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@contextmanager
def tls_stand_in(folder: Path, *settings: str) -> Iterator[dict[str, str]]:
    """An emulator that answers on fal's own host names over TLS; yields the client's environment.

    Reached as any program reaches fal from behind a company's proxy: HTTPS_PROXY and
    SSL_CERT_FILE.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert(*FAL_HOSTS, "localhost")
    bundle, cert, key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(str(bundle))
    certificate.cert_chain_pems[0].write_to_path(str(cert))
    certificate.private_key_pem.write_to_path(str(key))
    port = free_port()
    words = ("--port", str(port), "--certfile", str(cert), "--keyfile", str(key), *settings)
    process = start("emulator", *words, cwd=folder)
    try:
        wait_for(port, process)
        with connect_proxy(port) as proxy:
            yield environment(
                FAL_KEY="test-key-id:test-key-secret",
                SSL_CERT_FILE=str(bundle),
                HTTPS_PROXY=f"http://127.0.0.1:{proxy}",
                EMULATOR=f"https://localhost:{port}",
            )
    finally:
        process.terminate()
        process.communicate(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[str]) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError("the emulator does not listen")


@contextmanager
def connect_proxy(target: int) -> Iterator[int]:
    """An HTTP CONNECT proxy that leads every host to one local port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=tunnel, args=(client,), daemon=True).start()

    def tunnel(client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                chunk = client.recv(4096)
                if not chunk:
                    return
                head += chunk
            with socket.create_connection(("127.0.0.1", target)) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                pair = {client: server, server: client}
                while True:
                    for ready in select.select(list(pair), [], [])[0]:
                        try:
                            data = ready.recv(65536)
                        except OSError:
                            return
                        if not data:
                            return
                        pair[ready].sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)  # wakes the accept; close alone does not
        listening.close()
        thread.join(5)
