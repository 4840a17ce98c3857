"""Outputs on a server with SSH, with the installed program against a server that speaks SFTP."""

from __future__ import annotations

import json
import threading
import time
from hashlib import sha256
from pathlib import Path

import paramiko
import pytest
from support.process import run
from support.sftp_server import SFTPHost, sftp_server

from kling_batch.core.locations import ObjectAddress
from kling_batch.emulator import Settings, World
from kling_batch.emulator.server import running
from kling_batch.output import drivers
from kling_batch.output.objects import ObjectStore
from kling_batch.output.store import put
from kling_batch.output.store_errors import StoreError

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

MANIFEST = """\
version: 1
output: {root}
limits: {{doubt_wait: 5s}}
defaults: {{mode: text-to-video, tier: standard}}
"""
RENDITIONS = "renditions: {poster: {format: jpg, at: 1s, width: 64}}\n"
JOBS = 6


def stops_in_the_middle(host: SFTPHost) -> None:
    """The server ends while the fourth block of a clip is written, and is back at once."""
    blocks = iter(range(4))

    def restart() -> None:
        host.stop()
        host.start()

    def fault(what: str, path: str) -> None:
        if what == "write" and path.endswith(".mp4.part") and next(blocks, None) == 3:
            threading.Thread(target=restart).start()

    host.fault = fault


def judge(host: SFTPHost, folder: Path) -> None:
    """Every clip is whole under its name, with a sidecar and a poster."""
    names = sorted(path.name for path in folder.iterdir())
    wanted = [f"j{n}{end}" for n in range(JOBS) for end in (".mp4", ".mp4.json", ".poster.jpg")]
    assert names == sorted(wanted)
    for clip in folder.glob("*.mp4"):
        record = json.loads(clip.with_name(f"{clip.name}.json").read_text())
        poster = record["renditions"]["poster"]
        assert record["sha256"] == sha256(clip.read_bytes()).hexdigest()
        assert poster["sha256"] == sha256((folder / poster["file"]).read_bytes()).hexdigest()


def test_a_batch_on_a_server_with_ssh(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    world = World(Settings(media="template", profile="instant", start_latency=0.0))
    with sftp_server(tmp_path) as host, running(world) as address:
        root = f"{host.address}/spring"
        head = MANIFEST.format(root=root)
        jobs = "jobs:\n" + "".join(f"  - {{id: j{n}, prompt: words {n}}}\n" for n in range(JOBS))
        (here / "batch.yaml").write_text(head + jobs)
        words = ("run", "batch.yaml", "--emulator-url", address, "--yes")
        known = host.environment()
        folder = host.files / "spring/batch/text-to-video"

        (host.home / ".ssh/known_hosts").write_text("")
        stranger = run(*words, cwd=here, env=known)
        assert (stranger.returncode, "is not in known_hosts" in stranger.stderr) == (1, True)
        keyless = run(*words, cwd=here, env={**host.environment(), "HOME": str(here)})
        assert (keyless.returncode, "the store refuses access" in keyless.stderr) == (1, True)
        assert world.books.charges() == {}

        stops_in_the_middle(host)
        done = run(*words, cwd=here, env=host.environment())
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr + stranger.stderr + keyless.stderr
        assert "Socket exception" not in done.stderr
        assert list(world.books.charges().values()) == [1] * JOBS

        (here / "batch.yaml").write_text(head + RENDITIONS + jobs)
        made = run(*words, cwd=here, env=known)
        assert (made.returncode, "renditions: 6 made" in made.stderr) == (0, True), made.stderr
        judge(host, folder)
        calls = len(host.calls)
        again = run(*words, cwd=here, env=known)
        assert (again.returncode, "nothing to do" in again.stderr) == (0, True)
        assert len(host.calls) == calls

        changed = folder / "j1.mp4"
        clip = changed.read_bytes()
        changed.write_bytes(b"x" * len(clip))
        verify = ("verify", "--emulator-url", address)
        found = run(*verify, "--repair", cwd=here, env=known)
        assert "text-to-video/j1.mp4: the content has changed since it was saved" in found.stdout
        assert changed.read_bytes() == clip
        (kept,) = folder.glob("j1.????????.mp4")
        assert kept.read_bytes() == b"x" * len(clip)
        kept.unlink()
        judge(host, folder)

        for path in (here / "outputs").iterdir():
            path.unlink() if path.is_file() else path.rmdir()
        found = run(*words, "--no-reuse", cwd=here, env=known)
        assert (found.returncode, "6 recovered" in found.stderr) == (0, True)
        assert list(world.books.charges().values()) == [1] * JOBS


def test_a_connection_ends_with_its_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sftp_server(tmp_path) as host:
        monkeypatch.setenv("HOME", host.environment()["HOME"])
        at = ObjectAddress(host.address)
        for _ in range(3):
            thread = threading.Thread(target=lambda: ObjectStore().listed(at))
            thread.start()
            thread.join()
            deadline = time.monotonic() + 10
            while any(isinstance(each, paramiko.Transport) for each in threading.enumerate()):
                assert time.monotonic() < deadline, "the connection goes on"
                time.sleep(0.01)


def test_a_server_that_ends_while_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the reader fails; a thread that asks ahead would print its own traceback, an error."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"a clip" * 10_000_000)
    digest = sha256(clip.read_bytes()).hexdigest()
    with sftp_server(tmp_path) as host:
        monkeypatch.setenv("HOME", host.environment()["HOME"])
        at = ObjectAddress(f"{host.address}/spring/clip.mp4")
        put(clip, at, digest)
        reads = iter(range(2))
        host.fault = lambda what, _path: (
            threading.Thread(target=host.stop).start()
            if what == "read" and next(reads, None) == 1
            else None
        )
        with pytest.raises(StoreError) as ended:
            ObjectStore().digest(at)
        assert ended.value.passing
        while any("prefetch" in thread.name for thread in threading.enumerate()):
            time.sleep(0.01)


def test_a_server_that_stops_answering_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "_ANSWER", 1.0)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"a clip" * 100_000)
    digest = sha256(clip.read_bytes()).hexdigest()
    with sftp_server(tmp_path) as host:
        monkeypatch.setenv("HOME", host.environment()["HOME"])
        answering = threading.Event()
        host.fault = lambda _what, _path: answering.wait(30) and None
        at = ObjectAddress(f"{host.address}/spring/clip.mp4")
        with pytest.raises(StoreError, match="did not answer in time") as given_up:
            put(clip, at, digest)
        answering.set()
        assert given_up.value.passing
        assert not (host.files / "spring/clip.mp4").exists()

        put(clip, at, digest)

        assert (host.files / "spring/clip.mp4").read_bytes() == clip.read_bytes()
