"""The review server: who may ask, which files it hands out, and what a verdict changes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.engine import Rig, make_job

from kling_batch.core.jobs import Job
from kling_batch.core.verdicts import Verdict
from kling_batch.emulator import Settings
from kling_batch.errors import LedgerError
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import latest_verdicts, record_verdict, verdict_history
from kling_batch.review.app import LONGEST_BODY, TOKEN_HEADER, create_app
from kling_batch.review.board import Board

TOKEN = "the-token"
HOST = "127.0.0.1:8766"
NOW = datetime(2026, 5, 2, 10, tzinfo=UTC)


@dataclass
class Server:
    """A review of a rendered batch; each call is a request of its own."""

    rig: Rig
    board: Board
    app: Any

    def ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
                return await client.request(method, url, **more)

        return anyio.run(asked)

    def get(self, path: str, **more: Any) -> httpx.Response:
        mark = "&" if "?" in path else "?"
        return self.ask("GET", f"{path}{mark}token={TOKEN}", **more)

    def post(self, sent: Any, **headers: str) -> httpx.Response:
        return self.ask("POST", "/verdict", json=sent, headers={TOKEN_HEADER: TOKEN, **headers})

    @property
    def epoch(self) -> str:
        return self.board.epoch

    def state(self, since: int = 0) -> dict[str, Any]:
        return dict(self.get(f"/state?since={since}&epoch={self.epoch}").json())

    def labelled(self, label: str) -> dict[str, Any]:
        (found,) = [item for item in self.state()["items"] if item["label"] == label]
        return dict(found)

    def judgement(self, label: str, verdict: str = "approve", **more: Any) -> dict[str, Any]:
        item = self.labelled(label)
        return {
            "key": item["key"],
            "attempt": item["attempt"],
            "expected": item.get("judgement", 0),
            "verdict": verdict,
            "author": "Ada",
            **more,
        }

    def verdicts(self) -> dict[str, str]:
        with Reader.open(self.rig.ledger_path) as reader:
            return {row.job_key: row.verdict.value for row in latest_verdicts(reader).values()}


JOBS = [make_job("clip"), make_job("clip", take=2), make_job("other", prompt="another")]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    rig.run(JOBS)
    board = Board(rig.ledger_path, TOKEN)
    board.refresh()
    return Server(rig, board, create_app(board, tmp_path, TOKEN, "someone", lambda: NOW))


# -- who may ask -------------------------------------------------------------------------------


PATHS = ("/", "/state", "/file/x/y", "/poster/x.jpg", "/nowhere")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["", "?token=", "?token=the-token2", "?token=%F0%9F%98%80"])
def test_nothing_without_the_token(server: Server, path: str, query: str) -> None:
    answer = server.ask("GET", path + query)

    assert answer.status_code == 403
    assert "spring" not in answer.text
    assert "kling-batch review" in answer.text
    assert TOKEN not in answer.text


def test_a_wrong_token_gets_a_page_for_people(server: Server) -> None:
    answer = server.ask("GET", "/?token=old")

    assert answer.headers["content-type"].startswith("text/html")
    assert "Open the address that `kling-batch review` printed" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.test"},
        {"host": "evil.test:8766"},
        {"host": "127.0.0.1.evil.test"},
        {"host": "["},
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_no_other_site_may_ask_or_judge(server: Server, headers: dict[str, str]) -> None:
    sent = server.judgement("clip")

    assert server.get("/state", headers=headers).status_code == 403
    assert server.post(sent, **headers).status_code == 403
    assert server.verdicts() == {}


def test_a_link_from_elsewhere_opens_the_page_but_posts_nothing(server: Server) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    assert server.get("/", headers=headers).status_code == 200
    assert server.post(server.judgement("clip"), **headers).status_code == 403


def test_a_verdict_needs_the_token_in_a_header_and_json(server: Server) -> None:
    sent = server.judgement("clip")

    for answer, status in (
        (server.ask("POST", f"/verdict?token={TOKEN}", json=sent), 403),
        (server.ask("POST", "/verdict", json=sent, headers={TOKEN_HEADER: "x"}), 403),
        (server.ask("POST", "/verdict", data=sent, headers={TOKEN_HEADER: TOKEN}), 415),
        (server.get("/verdict"), 405),
        (server.ask("POST", "/", json=sent, headers={TOKEN_HEADER: TOKEN}), 405),
        (server.ask("PUT", f"/verdict?token={TOKEN}", json=sent), 405),
    ):
        assert answer.status_code == status
    assert server.verdicts() == {}


def test_the_page_may_only_do_what_it_needs(server: Server) -> None:
    answer = server.get("/")

    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "connect-src 'self'" in policy
    assert policy.endswith("frame-ancestors 'none'")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


# -- files -------------------------------------------------------------------------------------


def test_files_are_served_with_ranges_and_posters_are_made(server: Server) -> None:
    (media,) = server.labelled("clip")["media"]
    whole = server.ask("GET", "/" + media["url"])
    part = server.ask("GET", "/" + media["url"], headers={"range": "bytes=4-7"})
    poster = server.ask("GET", "/" + media["poster"])

    assert whole.content == (server.rig.folder / "test/clip.mp4").read_bytes()
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    assert (part.status_code, part.content) == (206, whole.content[4:8])
    assert poster.content.startswith(b"\xff\xd8")
    assert len(list((server.rig.folder / ".posters").iterdir())) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/file/ledger.db/ledger.db",
        "/file/..%2f..%2fetc%2fpasswd/x",
        "/file/%2e%2e/ledger.db",
        "/file//etc/passwd",
        "/poster/..%2fledger.jpg",
        "/ledger.db",
    ],
)
def test_only_files_of_the_ledger_are_served(server: Server, path: str) -> None:
    assert server.get(path).status_code == 404


def test_a_file_that_is_gone_is_not_found(server: Server) -> None:
    (media,) = server.labelled("clip")["media"]
    (server.rig.folder / "test/clip.mp4").unlink()

    assert server.ask("GET", "/" + media["url"]).status_code == 404
    assert server.ask("GET", "/" + media["poster"]).status_code == 404


def test_a_file_that_was_replaced_is_not_shown_as_the_saved_one(server: Server) -> None:
    (media,) = server.labelled("clip")["media"]
    (server.rig.folder / "test/clip.mp4").write_bytes(b"something else")

    assert server.ask("GET", "/" + media["url"]).status_code == 404
    assert server.ask("GET", "/" + media["poster"]).status_code == 404
    assert not (server.rig.folder / ".posters").exists()


# -- verdicts ----------------------------------------------------------------------------------


def test_a_verdict_is_recorded_and_reported(server: Server) -> None:
    before = server.state()
    sent = server.judgement("clip", "reject", note="  too fast ", since=before["version"])

    told = server.post(sent).json()
    (item,) = told["items"]
    assert (item["label"], item["verdict"], item["note"]) == ("clip", "rejected", "too fast")
    assert (item["author"], item["judged"]) == ("Ada", "2026-05-02 10:00")
    assert told["version"] > before["version"]
    assert "order" not in told
    assert server.verdicts() == {JOBS[0].key: "rejected"}


def test_a_pick_takes_the_place_of_another(server: Server) -> None:
    server.post(server.judgement("clip", "approve"))
    server.post(server.judgement("clip", "pick"))
    since = server.state()["version"]

    told = server.post(server.judgement("clip#2", "pick", since=since)).json()
    assert {item["label"]: item["verdict"] for item in told["items"]} == {
        "clip": "approved",
        "clip#2": "picked",
    }


def test_what_others_decide_is_seen(server: Server) -> None:
    version = server.state()["version"]
    assert "items" not in server.state(version)

    record_verdict(server.rig.ledger_path, JOBS[2].key, Verdict.APPROVED, "", "Bea", at=NOW)

    (item,) = server.state(version)["items"]
    assert (item["label"], item["verdict"], item["author"]) == ("other", "approved", "Bea")


def test_a_verdict_on_what_was_judged_meanwhile_is_refused(server: Server) -> None:
    mine = server.judgement("clip", "approve")
    record_verdict(server.rig.ledger_path, JOBS[0].key, Verdict.REJECTED, "", "Bea", at=NOW)

    answer = server.post(mine)
    assert answer.status_code == 409
    assert answer.json()["error"].startswith("Bea has judged clip meanwhile")
    assert answer.json()["news"]["items"]
    assert server.verdicts() == {JOBS[0].key: "rejected"}


def test_a_verdict_on_another_render_is_refused(server: Server) -> None:
    answer = server.post(server.judgement("clip", attempt=99))

    assert answer.status_code == 409
    assert "has been rendered anew since" in answer.json()["error"]
    assert server.verdicts() == {}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"verdict": "love"}, 409),
        ({"key": "k1:unknown"}, 409),
        ({"key": 5}, 400),
        ({"attempt": "1"}, 400),
        ({"attempt": True}, 400),
        ({"note": ["a"]}, 400),
        ({"note": "x" * 10_001}, 409),
        ({"note": "x" * LONGEST_BODY}, 413),
    ],
)
def test_what_is_no_verdict_is_refused_in_words(
    server: Server, changes: dict[str, Any], status: int
) -> None:
    answer = server.post(server.judgement("clip") | changes)

    assert answer.status_code == status
    assert answer.json()["error"]
    assert server.verdicts() == {}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b"5", b'{"key": "a"}', b"[" * 99_999]
)
def test_other_bodies_are_refused_in_words(server: Server, body: bytes) -> None:
    headers = {TOKEN_HEADER: TOKEN, "content-type": "application/json"}
    answer = server.ask("POST", "/verdict", content=body, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("not a verdict")


def test_the_author_is_the_one_of_the_server_where_the_page_names_none(server: Server) -> None:
    server.post(server.judgement("clip", author="  "))

    with Reader.open(server.rig.ledger_path) as reader:
        assert [row.author for row in verdict_history(reader, JOBS[0].key)] == ["someone"]


def test_a_note_keeps_what_people_write(server: Server) -> None:
    note = "Größer 👟\nسيارة </script>"
    server.post(server.judgement("clip", "none", note=note))

    item = server.labelled("clip")
    assert item["note"] == note
    assert "verdict" not in item


def test_verdicts_are_taken_beside_a_run_that_holds_the_ledger(server: Server) -> None:
    with server.rig.ledger():
        assert server.post(server.judgement("clip")).status_code == 200

    assert server.verdicts() == {JOBS[0].key: "approved"}


# -- a ledger that changes ---------------------------------------------------------------------


def test_a_page_is_reported_only_what_is_new(server: Server) -> None:
    version = server.state()["version"]
    jobs: list[Job] = [*JOBS, make_job("fresh", prompt="fresh")]
    server.rig.run(jobs)

    told = server.state(version)
    assert [item["label"] for item in told["items"]] == ["fresh"]
    assert len(told["order"]) == 4
    assert "items" not in server.state(told["version"])


def test_a_number_of_no_use_is_none(server: Server) -> None:
    for since in ("9" * 5000, "-1", "1e3", "x", "\u0663"):
        assert server.get(f"/state?since={since}").status_code == 200


def test_another_server_starts_anew(server: Server) -> None:
    told = server.get("/state?since=99&epoch=before").json()

    assert told["epoch"] == server.epoch
    assert "items" not in told


def test_a_ledger_that_is_gone_is_a_message(server: Server) -> None:
    for path in server.rig.folder.glob("ledger.db*"):
        path.unlink()

    assert server.get("/state").status_code == 503
    assert "there is no ledger here" in server.get("/").text
    with pytest.raises(LedgerError):
        server.board.refresh()


def test_who_may_not_write_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **more: mode != os.W_OK and allowed(path, mode, **more)
    )

    answer = server.post(server.judgement("clip"))
    assert answer.status_code == 403
    assert "You may look, but not judge" in answer.json()["error"]
    assert "You may look, but not judge" in server.get("/").text
    assert server.verdicts() == {}
