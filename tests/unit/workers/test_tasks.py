"""Tasks of a worker, over real sockets: whatever happens they answer, and leave no half file."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.sockets import Exchange, serving

from kling_batch import __version__
from kling_batch.core.outcomes import Fetched, RemoteFile
from kling_batch.workers import tasks
from kling_batch.workers.tasks import FetchOrder, PutOrder

PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 500 + b"\0\0\0\0IEND\xaeB`\x82"
FILE = RemoteFile(url="https://v3b.fal.media/files/out.png?sig=secret", content_type="image/png")


def never() -> bool:
    return False


def order(folder: Path, gateway: str, **changes: Any) -> FetchOrder:
    known = FetchOrder(
        version=__version__,
        file=FILE,
        temporary=str(folder / ".0123456789ab-0.part"),
        gateway=gateway,
        seconds=20,
    )
    return replace(known, **changes)


def gives(exchange: Exchange) -> None:
    exchange.answer(200, PNG, Content_Type="image/png")


def test_each_execution_has_a_file_of_its_own(tmp_path: Path) -> None:
    with serving(gives) as server:
        wanted = order(tmp_path, server.url)
        answers = [tasks.fetch(wanted, spool=tmp_path / "spool", stop=never) for _ in range(2)]

    paths = [Path(answer["fetched"]["temporary"]) for answer in answers]
    assert len(set(paths)) == 2
    for path, answer in zip(paths, answers, strict=True):
        assert path.parent == tmp_path
        assert path.read_bytes() == PNG
        assert answer["fetched"]["sha256"] == sha256(PNG).hexdigest()
        assert answer["fetched"]["ext"] == ".png"
    assert "authorization" not in server.requests[0].headers
    assert not (tmp_path / ".0123456789ab-0.part").exists()


def resets(exchange: Exchange) -> None:
    exchange.reset()


def missing(exchange: Exchange) -> None:
    exchange.answer(404)


def half(exchange: Exchange) -> None:
    exchange.answer(200, PNG[:100], length=len(PNG), Content_Type="image/png")


@pytest.mark.parametrize(
    ("handler", "kind"), [(resets, "unfetched"), (missing, "gone"), (half, "unfetched")]
)
def test_what_fails_is_a_value_and_leaves_nothing(tmp_path: Path, handler: Any, kind: str) -> None:
    with serving(handler) as server:
        answer = tasks.fetch(order(tmp_path, server.url), spool=tmp_path, stop=never)

    assert kind in answer
    assert "secret" not in str(answer)
    assert list(tmp_path.iterdir()) == []


def test_what_raises_is_a_value_without_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ValueError(FILE.url)

    monkeypatch.setattr(tasks.Downloader, "fetch", broken)

    answer = tasks.fetch(order(tmp_path, "http://127.0.0.1:1"), spool=tmp_path, stop=never)

    assert answer == {"error": "ValueError"}


def test_another_version_refuses(tmp_path: Path) -> None:
    wanted = order(tmp_path, "http://127.0.0.1:1", version="0.0.1")

    for answer in (
        tasks.fetch(wanted, spool=tmp_path, stop=never),
        tasks.put(put_order(wanted, tmp_path / "x"), spool=tmp_path, stop=never),
    ):
        assert answer == {"refused": f"it has kling-batch {__version__}, and this machine 0.0.1"}


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    wanted = order(tmp_path / "not-mounted", "http://127.0.0.1:1")

    answer = tasks.fetch(wanted, spool=tmp_path, stop=never)

    assert answer == {"absent": str(tmp_path / "not-mounted")}
    assert list(tmp_path.iterdir()) == []


def stalls(exchange: Exchange) -> None:
    exchange.stall()


def test_a_slow_server_is_given_up_in_time(tmp_path: Path) -> None:
    with serving(stalls) as server:
        wanted = order(tmp_path, server.url, seconds=0.2)
        answer = tasks.fetch(wanted, spool=tmp_path, stop=never)

    assert answer == {"error": "it took more than 0 s"}
    assert list(tmp_path.iterdir()) == []


def test_work_that_nobody_waits_for_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "STOP_SECONDS", 0.05)
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) == 2

    with serving(stalls) as server:
        answer = tasks.fetch(order(tmp_path, server.url), spool=tmp_path, stop=stop)

    assert answer == {"error": "the run that wanted it has ended"}
    assert len(asked) == 2
    assert list(tmp_path.iterdir()) == []


# -- puts --------------------------------------------------------------------------------------


def put_order(wanted: FetchOrder, path: Path) -> PutOrder:
    fetched = Fetched(
        temporary=str(path),
        sha256=sha256(PNG).hexdigest(),
        size=len(PNG),
        ext=".png",
        content_type="image/png",
    )
    fetch = replace(wanted, temporary=None)
    return PutOrder(fetch=fetch, fetched=fetched, target="memory://workers/a/out.png")


def content() -> bytes:
    data: bytes = MemoryFileSystem().cat_file("/workers/a/out.png")
    return data


@pytest.mark.parametrize("here", [PNG, None, PNG[:-1], PNG.replace(b"p", b"q")])
def test_a_file_is_put_and_fetched_again_where_it_is_not_here_or_has_changed(
    tmp_path: Path, here: bytes | None
) -> None:
    MemoryFileSystem.store.clear()
    spool = tmp_path / "spool"
    path = tmp_path / "fetched.part"
    if here is not None:
        path.write_bytes(here)
    with serving(gives) as server:
        wanted = put_order(order(tmp_path, server.url), path)
        answer = tasks.put(wanted, spool=spool, stop=never)

    assert answer["put"]["path"] == "memory://workers/a/out.png"
    assert content() == PNG
    assert len(server.requests) == (0 if here == PNG else 1)
    assert not path.exists()
    assert not list(spool.glob(".*")) if spool.exists() else here == PNG


def test_a_put_twice_is_one_object(tmp_path: Path) -> None:
    with serving(gives) as server:
        wanted = put_order(order(tmp_path, server.url), tmp_path / "x")
        answers = [tasks.put(wanted, spool=tmp_path / "spool", stop=never) for _ in range(2)]

    assert answers[0] == answers[1]
    assert content() == PNG


def test_another_file_than_before_is_not_put(tmp_path: Path) -> None:
    MemoryFileSystem.store.clear()
    other = PNG.replace(b"p", b"q")

    with serving(lambda e: e.answer(200, other, Content_Type="image/png")) as server:
        wanted = put_order(order(tmp_path, server.url), tmp_path / "x")
        answer = tasks.put(wanted, spool=tmp_path / "spool", stop=never)

    assert answer == {"error": "fal sent another file than before"}
    assert not MemoryFileSystem().exists("/workers/a/out.png")
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_nobody_came_back_for_is_removed_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    with serving(gives) as server:
        wanted = order(tmp_path, server.url, temporary=None)
        first = tasks.fetch(wanted, spool=spool, stop=never)["fetched"]["temporary"]
        tasks.fetch(wanted, spool=spool, stop=never)
        assert Path(first).exists()
        later = time.time() + 2 * 86400
        monkeypatch.setattr(tasks.time, "time", lambda: later)

        tasks.fetch(wanted, spool=spool, stop=never)

    assert len(list(spool.iterdir())) == 1


def test_the_code_of_a_worker_loads_neither_client_nor_ledger() -> None:
    code = "import sys, kling_batch.workers.tasks; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    loaded = set(done.stdout.split())
    out_of_reach = ("fal_client", "sqlite3", "sqlite_utils", "dotenv")
    out_of_reach += ("kling_batch.fal", "kling_batch.ledger", "kling_batch.manifest")
    assert [name for name in loaded if name.startswith(out_of_reach)] == []
    assert "kling_batch.workers.tasks" in loaded
