"""Outputs in an S3 bucket, with the installed program against a server that speaks S3."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import pytest
from support.process import run, start
from support.s3_server import S3Server, damage, error, reset, s3_server, times

from kling_batch.core.locations import ObjectAddress
from kling_batch.emulator import Settings, World
from kling_batch.emulator.server import running
from kling_batch.output import drivers
from kling_batch.output.objects import ObjectStore
from kling_batch.output.store import put
from kling_batch.report.gallery import RelativeLinks
from kling_batch.report.gallery_entries import Media

ROOT = ObjectAddress("s3://assets/spring")

#: Forty clips are transcoded, and two cores may have other work.
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

MANIFEST = """\
version: 1
output: s3://assets/spring
limits: {doubt_wait: 5s}
defaults: {mode: text-to-video, tier: standard}
jobs:
"""


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


class Place:
    """A folder with a manifest, an emulated account, and a bucket."""

    def __init__(self, folder: Path, s3: S3Server, world: World, address: str, jobs: int) -> None:
        self.folder, self.s3, self.world = folder, s3, world
        text = MANIFEST + "".join(f"  - {{id: j{n}, prompt: words {n}}}\n" for n in range(jobs))
        (folder / "batch.yaml").write_text(text)
        self.words = ("run", "batch.yaml", "--emulator-url", address, "--yes", "-j", "20")

    def run(self, *more: str, **env: str) -> Any:
        env = self.s3.environment(**env)
        return run(*self.words, *more, cwd=self.folder, env=env, timeout=240)

    def judge(self, clips: int) -> None:
        """So many clips with sidecars, whole by checksum, and each paid for once."""
        found = self.s3.objects()
        names = [name for name in found if name.endswith(".mp4")]
        assert len(names) == clips
        assert len(found) == 2 * clips
        for name in names:
            record = json.loads(found[f"{name}.json"])
            assert record["sha256"] == sha256(found[name]).hexdigest()
        assert list(self.world.books.charges().values()) == [1] * clips


@pytest.fixture
def place(tmp_path: Path, s3: S3Server, request: pytest.FixtureRequest) -> Iterator[Place]:
    jobs = getattr(request, "param", 3)
    settings = Settings(concurrency=40, media="template", profile="instant", start_latency=0.0)
    world = World(settings)
    with running(world) as address:
        yield Place(tmp_path, s3, world, address, jobs)


@pytest.mark.parametrize("place", [40], indirect=True)
def test_a_batch_of_forty_in_a_bucket(place: Place) -> None:
    done = place.run()

    assert done.returncode == 0, done.stderr
    place.judge(40)
    assert "s3://assets/spring" in done.stderr
    assert not list((place.folder / "outputs").rglob("*.mp4"))
    head = place.s3.client.head_object(Bucket="assets", Key="spring/batch/text-to-video/j0.mp4")
    assert head["ContentType"] == "video/mp4"
    for path in (place.folder / "outputs").rglob("*"):
        assert not path.is_file() or b"test-secret" not in path.read_bytes()

    before = place.s3.puts()
    again = place.run()

    assert again.returncode == 0, again.stderr
    assert place.s3.puts() == before
    place.judge(40)


@pytest.mark.parametrize("place", [40], indirect=True)
def test_a_kill_in_the_middle_of_puts_costs_nothing(place: Place) -> None:
    def clips() -> dict[str, bytes]:
        return {name: data for name, data in place.s3.objects().items() if name.endswith(".mp4")}

    def slow(_server: S3Server, environ: Any, _start: Any) -> None:
        if environ["REQUEST_METHOD"] == "PUT":
            time.sleep(0.1)

    place.run("--detach")  # so that the kill meets no submission, which would be a doubt
    place.s3.fault = slow
    process = start(*place.words, cwd=place.folder, env=place.s3.environment())
    while len(clips()) < 4 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    there = clips()
    assert 0 < len(there) < 40
    place.s3.fault = None

    done = place.run()

    assert done.returncode == 0, done.stderr
    place.judge(40)
    found = place.s3.objects()
    assert all(found[name] == data for name, data in there.items())
    assert not list((place.folder / "outputs/ledger.db.spool").iterdir())


RENDITIONS = """\
renditions:
  poster: {format: jpg, at: 1s, width: 64}
  web: {format: mp4, height: 36, crf: 35}
jobs:
"""


def with_renditions(place: Place, text: str = RENDITIONS) -> None:
    file = place.folder / "batch.yaml"
    head, _, jobs = file.read_text().partition("jobs:\n")
    file.write_text(head.partition("renditions:")[0] + text + jobs)


def judge_renditions(place: Place, clips: int) -> dict[str, bytes]:
    """Two renditions of each clip, as its sidecar says, and each clip paid for once."""
    found = place.s3.objects()
    made = {n: d for n, d in found.items() if n.endswith((".poster.jpg", ".web.mp4"))}
    sidecars = [json.loads(data) for name, data in found.items() if name.endswith(".json")]
    assert len(found) == 4 * clips
    assert (len(made), len(sidecars)) == (2 * clips, clips)
    noted = [each for record in sidecars for each in record["renditions"].values()]
    digests = {name.rpartition("/")[2]: sha256(data).hexdigest() for name, data in made.items()}
    assert {each["file"]: each["sha256"] for each in noted} == digests
    assert list(place.world.books.charges().values()) == [1] * clips
    assert list((place.folder / "outputs/ledger.db.spool").iterdir()) == []
    return made


@pytest.mark.parametrize("place", [40], indirect=True)
def test_forty_clips_in_a_bucket_have_eighty_renditions(place: Place) -> None:
    with_renditions(place)

    done = place.run()

    assert done.returncode == 0, done.stderr
    assert "renditions: 80 made" in done.stderr
    made = judge_renditions(place, 40)
    name = next(name for name in made if name.endswith(".poster.jpg"))
    head = place.s3.client.head_object(Bucket="assets", Key=name)
    assert head["ContentType"] == "image/jpeg"

    requests = len(place.s3.requests)
    again = place.run()
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr
    assert {method for method, _ in place.s3.requests[requests:]} == {"GET"}
    assert len(place.s3.requests) - requests < 10  # listings of one folder

    with_renditions(place, RENDITIONS.replace("crf: 35", "crf: 40"))
    changed = place.run()
    assert changed.returncode == 0, changed.stderr
    assert "renditions: 40 made" in changed.stderr
    after = judge_renditions(place, 40)
    assert {n for n in made if made[n] != after[n]} == {n for n in made if n.endswith(".web.mp4")}

    verify = run("verify", cwd=place.folder, env=place.s3.environment(), timeout=240)
    assert "40 files, 80 renditions: everything fits" in verify.stderr


def test_a_store_that_refuses_renditions_fails_no_job(place: Place) -> None:
    with_renditions(place)
    refuse = error("403 Forbidden", "AccessDenied")

    def posters(server: S3Server, environ: Any, start_response: Any) -> Any:
        poster = environ["PATH_INFO"].endswith(".jpg") and environ["REQUEST_METHOD"] == "PUT"
        return refuse(server, environ, start_response) if poster else None

    place.s3.fault = posters
    failed = place.run()

    assert failed.returncode == 1, failed.stderr
    assert "3 of 3 jobs done" in failed.stderr
    assert "3 made, 3 not made" in failed.stderr
    assert "the store refuses access" in failed.stderr
    assert "Traceback" not in failed.stderr

    place.s3.fault = None
    done = place.run()

    assert done.returncode == 0, done.stderr
    assert "renditions: 3 made" in done.stderr
    judge_renditions(place, 3)


def test_a_kill_while_renditions_are_put_leaves_whole_ones(place: Place) -> None:
    with_renditions(place)
    killed = []

    def slow(_server: S3Server, environ: Any, _start: Any) -> None:
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith(".jpg"):
            killed.append(environ["PATH_INFO"])
            time.sleep(2)

    place.s3.fault = slow
    process = start(*place.words, cwd=place.folder, env=place.s3.environment())
    while not killed and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    place.s3.fault = None

    done = place.run()

    assert done.returncode == 0, done.stderr
    judge_renditions(place, 3)


def test_a_lost_ledger_is_recovered_from_the_bucket(place: Place) -> None:
    assert place.run().returncode == 0
    for path in (place.folder / "outputs").iterdir():
        path.unlink() if path.is_file() else path.rmdir()
    before = place.s3.puts()

    done = place.run("--no-reuse")

    assert done.returncode == 0, done.stderr
    assert "recovered" in done.stderr
    assert place.s3.puts() == before
    place.judge(3)


def test_verify_notices_a_changed_object_and_repairs_it(place: Place) -> None:
    assert place.run().returncode == 0
    env = place.s3.environment()
    key = "spring/batch/text-to-video/j1.mp4"
    whole = place.s3.objects()[key]
    place.s3.change(key, b"x" * len(whole))

    verify = ("verify", "--emulator-url", place.words[3])
    found = run(*verify, cwd=place.folder, env=env)
    assert found.returncode == 1
    assert found.stdout == f"s3://assets/{key}: the content has changed since it was saved\n"

    repaired = run(*verify, "--repair", cwd=place.folder, env=env)

    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert place.s3.objects()[key] == whole
    assert list(place.world.books.charges().values()) == [1] * 3


@pytest.mark.parametrize(
    "fault",
    [
        times(3, error("503 Slow Down", "SlowDown")),
        times(2, reset),
        times(2, damage),
        times(2, error("500 Internal", "InternalError")),
    ],
    ids=["throttled", "reset", "damaged", "failing"],
)
def test_a_store_that_fails_for_a_while_ends_with_whole_objects(place: Place, fault: Any) -> None:
    place.s3.fault = fault

    done = place.run()

    assert done.returncode == 0, done.stderr
    place.judge(3)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (error("403 Forbidden", "AccessDenied"), "the store refuses access"),
        (error("507 Insufficient Storage", "XMinioStorageFull"), "the store is full"),
        (error("404 Not Found", "NoSuchBucket"), "there is no s3://assets any more"),
    ],
    ids=["refused", "full", "gone"],
)
def test_a_store_that_refuses_files_keeps_them_here(place: Place, fault: Any, words: str) -> None:
    place.s3.fault = times(10_000, fault)

    failed = place.run()

    # The first file stops the run; on a busy machine, a render may be open by then.
    still_open = "Still with the emulator" in failed.stderr
    assert failed.returncode == (6 if still_open else 1), failed.stderr
    assert words in failed.stderr
    assert "is safe on this machine" in failed.stderr
    assert "Traceback" not in failed.stderr
    paid = len(place.world.books.charges())
    assert paid > 0

    place.s3.fault = None
    done = place.run()

    assert done.returncode == 0, done.stderr
    place.judge(3)


def test_without_credentials_or_bucket_nothing_is_sent(place: Place) -> None:
    missing = place.run("--output", "s3://elsewhere/x")
    assert (missing.returncode, "there is no s3://elsewhere" in missing.stderr) == (1, True)

    env = {k: v for k, v in place.s3.environment().items() if "ACCESS_KEY" not in k}
    refused = run(*place.words, cwd=place.folder, env=env)
    assert refused.returncode == 1
    assert "the store refuses access" in refused.stderr
    assert "Traceback" not in refused.stderr + missing.stderr

    dead = place.run(AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert dead.returncode == 1
    assert "Could not connect" in dead.stderr
    assert place.world.books.charges() == {}


# -- the store alone -----------------------------------------------------------------------------


@pytest.fixture
def files(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The store in this process, with the credentials of the server."""
    for name, value in s3.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    drivers._shared.cache_clear()
    yield ObjectStore()
    drivers._shared.cache_clear()


def test_a_large_file_is_put_in_parts_and_read_back_by_nobody(
    files: ObjectStore, s3: S3Server, tmp_path: Path
) -> None:
    data = bytes(range(256)) * (80 * 1024)  # 20 MiB: three parts
    (tmp_path / "clip").write_bytes(data)
    digest = sha256(data).hexdigest()

    put(tmp_path / "clip", ROOT / "clip.mp4", digest)

    assert s3.puts() == 3
    head = s3.client.head_object(Bucket="assets", Key="spring/clip.mp4")
    assert (head["ETag"].endswith('-3"'), head["ContentLength"]) == (True, len(data))
    before = len(s3.requests)
    assert files.digest(ROOT / "clip.mp4") == digest
    put(tmp_path / "clip", ROOT / "clip.mp4", digest)  # it is there
    assert {method for method, _ in s3.requests[before:]} == {"HEAD"}

    s3.change("spring/clip.mp4", data[:-1] + b"?")
    assert files.digest(ROOT / "clip.mp4") == sha256(data[:-1] + b"?").hexdigest()


def test_a_copy_keeps_digest_and_kind(files: ObjectStore, s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"a clip")
    put(tmp_path / "clip", ROOT / "clip.mp4", sha256(b"a clip").hexdigest())

    kept = files.back_up(ROOT / "clip.mp4")

    assert kept is not None
    assert s3.objects()[kept.url.removeprefix("s3://assets/")] == b"a clip"
    assert files.digest(kept) == sha256(b"a clip").hexdigest()


def test_links_are_signed_and_end(files: ObjectStore, s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"a clip")
    put(tmp_path / "clip", ROOT / "clip.mp4", sha256(b"a clip").hexdigest())

    link = RelativeLinks(tmp_path, expires=60).file(
        Media(path=ROOT / "clip.mp4", sha256="0", kind="video")
    )

    assert link.startswith(s3.address)
    assert "test-secret" not in link
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == b"a clip"
