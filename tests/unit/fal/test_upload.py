"""Bringing inputs to fal: whatever its storage answers is a message about one job, no crash."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import anyio
import fal_client.client
import pytest
from PIL import Image
from support.process import environment, run
from support.sockets import Exchange, serving

from kling_batch.core.outcomes import UploadError
from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.server import running
from kling_batch.fal.upload import FalUploader, _file_name

ADDRESS = "https://v3.fal.media/files/b/in/photo.png"
SECRET = "a:very-secret-key"


@pytest.fixture(autouse=True)
def _one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REST_URL", "CDN_URL"):
        monkeypatch.setattr(fal_client.client, name, getattr(fal_client.client, name))
    monkeypatch.setattr(fal_client.client, "MAX_ATTEMPTS", 1)


#: Every request of the last upload.
seen: list[Exchange] = []


def upload(folder: Path, status: int, body: bytes, file_url: object = None) -> str:
    """One upload; every answer is `body`, or with `file_url` a good one that gives it."""
    photo = folder / "photo.png"

    def handle(exchange: Exchange) -> None:
        seen.append(exchange)
        good = {
            "token": "t",
            "token_type": "Bearer",
            "base_url": server.url,
            "expires_at": "2099-01-01T00:00:00+00:00",
            "access_url": file_url,
        }
        if file_url is not None:
            exchange.answer(200, json.dumps(good).encode())
        else:
            exchange.answer(status, body)

    with serving(handle) as server:
        uploader = FalUploader(f"Key {SECRET}", gateway=server.url)
        return anyio.run(partial(uploader.upload, photo, b"pixels-of-the-input", "image/png"))


NONSENSE = [
    b"[]",
    b"null",
    b'"x"',
    b"7",
    b"{}",
    b"",
    b"<html>",
    b'{"token": null}',
    b'{"access_url": 5}',
    b'{"upload_url": 5, "file_url": 5}',
    b'{"upload_url": "http://[", "file_url": "x"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", NONSENSE, ids=[body[:40].decode() or "-" for body in NONSENSE])
@pytest.mark.parametrize("status", [200, 403])
def test_an_answer_that_makes_no_sense_is_reported_in_one_line(
    tmp_path: Path, status: int, body: bytes
) -> None:
    with pytest.raises(UploadError) as caught:
        upload(tmp_path, status, body)

    told = str(caught.value)
    assert told.startswith("photo.png could not be uploaded: ")
    assert len(told) < 300
    assert "\n" not in told
    for private in (SECRET, "pixels", "[[["):
        assert private not in told


def test_fals_own_sentence_is_reported_and_its_echo_of_the_request_is_not(tmp_path: Path) -> None:
    with pytest.raises(UploadError, match=r"HTTP 403: no room left for you$"):
        upload(tmp_path, 403, b'{"detail": "no room\\nleft for you"}')
    with pytest.raises(UploadError, match=r"HTTP 403$"):
        upload(tmp_path, 403, b"<Error>StringToSign: GET very-secret</Error>")
    with pytest.raises(UploadError, match=r"HTTP 422$"):
        upload(tmp_path, 422, b'{"detail": [{"msg": "bad", "input": "pixels-of-the-input"}]}')


@pytest.mark.parametrize(
    "odd", [5, ["https://x"], "", "photo.png", "http://v3/x", "https://\ud83d"]
)
def test_what_is_no_address_never_gets_into_a_paid_request(tmp_path: Path, odd: object) -> None:
    assert upload(tmp_path, 500, b"", ADDRESS) == ADDRESS

    with pytest.raises(UploadError, match="no address"):
        upload(tmp_path, 500, b"", odd)


@pytest.mark.parametrize(
    ("name", "content_type", "expected"),
    [
        ("a.png", "image/png", "a.png"),
        ("a.JPEG", "image/jpeg", "a.JPEG"),
        ("a.jpg", "image/png", "a.png"),
        ("é.tar.jpg", "video/mp4", "_.tar.mp4"),
        ("plain", "image/jpeg", "plain.jpg"),
        ("a.bin", "application/octet-stream", "a.bin"),
    ],
)
def test_the_name_at_fal_has_the_suffix_of_the_content(
    name: str, content_type: str, expected: str
) -> None:
    assert _file_name(Path(name), content_type) == expected


@pytest.mark.parametrize("status", [403, 500, 502])
def test_the_key_is_shown_to_fals_own_storage_alone_whatever_fails(
    tmp_path: Path, status: int
) -> None:
    """fal-client's other ways put the file on a foreign host, with the key in a header."""
    seen.clear()
    with pytest.raises(UploadError):
        upload(tmp_path, status, b"busy")

    assert seen
    assert [request.line for request in seen if "initiate" in request.line] == []
    assert {request.line.split("/")[1] for request in seen} == {"rest.fal.ai"}


@pytest.mark.parametrize("body", ["[]", "null", '"x"', "7"])
def test_a_storage_that_talks_nonsense_fails_its_job_and_no_other(
    tmp_path: Path, body: str
) -> None:
    Image.new("RGB", (400, 400)).save(tmp_path / "photo.png")
    (tmp_path / "up.yaml").write_text(
        "version: 1\ndefaults: {tier: standard}\njobs:\n"
        "  - {id: moved, mode: image-to-video, image_url: photo.png, prompt: go}\n"
        "  - {id: other, mode: text-to-video, prompt: other}\n"
    )
    world = World(Settings(profile="instant", media="template"))
    world.faults.add(Fault(stage="upload", what="status", status=200, body=body))
    # fal-client's older way leaves a connection open, for which it has no `close`.
    env = environment(PYTHONWARNINGS="default::DeprecationWarning")
    with running(world) as url:
        words = ("run", "up.yaml", "--emulator-url", url)
        done = run(*words, cwd=tmp_path, env=env)
        assert [post.prompt for post in world.books.accepted] == ["other"]
        world.faults.clear()
        again = run(*words, cwd=tmp_path, env=env)

    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "photo.png could not be uploaded" in done.stderr
    # No attempt was made and nothing was paid for it: the next run simply goes on.
    assert again.returncode == 0, again.stderr
    assert list(world.books.charges().values()) == [1, 1]


def test_an_upload_refused_with_an_echo_tells_no_key(
    tmp_path: Path,
) -> None:
    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = f"Authorization: {self.headers['Authorization']} is not welcome"
            body = json.dumps({"detail": said}).encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    data = b"\x89PNG\r\n\x1a\n" + b"0" * 100
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        async def upload() -> str:
            url = f"http://127.0.0.1:{server.server_port}"
            uploader = FalUploader("Key an-id:very-secret", gateway=url)
            with pytest.raises(UploadError) as caught:
                await uploader.upload(tmp_path / "a.png", data, "image/png")
            return str(caught.value)

        told = anyio.run(upload)
        server.shutdown()
    assert "very-secret" not in told


def test_a_run_on_fal_after_one_on_an_emulator_uploads_to_fal() -> None:
    fals = (fal_client.client.REST_URL, fal_client.client.CDN_URL)

    FalUploader(gateway="http://127.0.0.1:1")
    assert fal_client.client.REST_URL.startswith("http://127.0.0.1:1/")

    FalUploader("Key id:secret")
    assert fals == (fal_client.client.REST_URL, fal_client.client.CDN_URL)
