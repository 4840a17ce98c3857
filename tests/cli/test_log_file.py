"""`--verbose` and `--log-file`: everything that happens, and no secret."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from support.cli import HERO, OTHER, POLICY, Workspace, run_command
from support.process import environment

from kling_batch.emulator import Fault
from kling_batch.wire.logged import public

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ([a-z_]+): ")


def kinds(text: str) -> list[str]:
    """What each line is about; every line has date and time."""
    found = [STAMP.match(line) for line in text.splitlines()]
    assert None not in found, text
    return [match[1] for match in found if match]


def test_the_log_has_every_request_and_every_event(workspace: Workspace) -> None:
    workspace.write(HERO, OTHER)
    workspace.world.faults.add(POLICY)

    workspace.run("--log-file", "run.log", code=1)

    text = (workspace.folder / "run.log").read_text()
    found = kinds(text)
    assert found.count("started") == found.count("saved") == found.count("failed") == 1
    assert text.count(" http: POST ") == found.count("submitted") == 2
    for request in workspace.world.books.accepted:
        assert f"request_id={request.request_id}" in text
        assert re.search(rf"http: GET \S+/{request.request_id}/status 20[02] in \d", text)
    assert "report: " in text


def test_a_second_run_is_appended(workspace: Workspace) -> None:
    workspace.write(HERO)
    workspace.run("--log-file", "run.log")
    first = (workspace.folder / "run.log").read_text()

    workspace.run("--log-file", "run.log")

    second = (workspace.folder / "run.log").read_text()
    assert second.startswith(first)
    assert kinds(second[len(first) :]) == ["report"]


def test_an_error_ends_the_log(workspace: Workspace) -> None:
    workspace.write(HERO)

    workspace.invoke("run", workspace.file, "--yes", "--log-file", "run.log", code=3)

    assert kinds((workspace.folder / "run.log").read_text()) == ["error"]


def test_verbose_is_that_log_on_standard_error(workspace: Workspace) -> None:
    workspace.write(HERO)

    done = run_command(
        "run", workspace.file, "--emulator-url", workspace.url, "-v", cwd=workspace.folder
    )

    assert done.stdout == ""
    assert {"started", "http", "submitted", "saved", "report"} <= {*kinds(done.stderr)}


def test_verbose_leaves_standard_output_to_json(workspace: Workspace) -> None:
    workspace.write(HERO)

    done = run_command(
        *("run", workspace.file, "--emulator-url", workspace.url, "-v", "--json"),
        cwd=workspace.folder,
    )

    assert all(line.startswith("{") for line in done.stdout.splitlines())
    assert "saved" in kinds(done.stderr)


def test_the_log_has_neither_key_nor_signatures(workspace: Workspace) -> None:
    workspace.write(f"  - {{id: a, mode: image-to-video, prompt: b, image_url: '{SIGNED}'}}\n")

    done = run_command(
        *("run", workspace.file, "--emulator-url", workspace.url, "--log-file", "run.log", "-v"),
        cwd=workspace.folder,
        env={**environment(), "FAL_KEY": "an-id:hunter2-secret"},
    )

    assert done.returncode == 0, done.stderr
    text = (workspace.folder / "run.log").read_text() + done.stderr
    assert "http: POST" in text
    for secret in ("hunter2", "abc123", "Authorization"):
        assert secret not in text


SIGNED = "https://user:hunter2@bucket.s3.amazonaws.com/a.png?X-Amz-Signature=abc123"


@pytest.fixture(scope="module")
def sample() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (512, 512)).save(out, "png")
    return out.getvalue()


def test_reads_of_the_list_and_uploads_are_reported(workspace: Workspace, sample: bytes) -> None:
    (workspace.folder / "cat.png").write_bytes(sample)
    workspace.write("  - {id: a, mode: image-to-video, tier: pro, prompt: b, image_url: cat.png}\n")

    workspace.run("--log-file", "run.log")

    text = (workspace.folder / "run.log").read_text()
    (told,) = re.findall(r"http: upload of cat\.png, (\d+) bytes: (\S+) in \d+\.\d{3} s\n", text)
    (paid,) = workspace.world.books.accepted
    assert told == (str(len(sample)), paid.payload["image_url"])
    listed = [line for line in text.splitlines() if "requests/by-endpoint" in line]
    assert listed, text
    assert kinds(listed[0]) == ["http"]
    assert text.index(listed[0]) < text.index("started: ")


def test_an_upload_that_fails_is_reported_with_its_reason(
    workspace: Workspace, sample: bytes
) -> None:
    (workspace.folder / "cat.png").write_bytes(sample)
    workspace.write("  - {id: a, mode: image-to-video, tier: pro, prompt: b, image_url: cat.png}\n")
    workspace.world.faults.add(Fault(stage="upload", what="status", status=403))

    workspace.run("--log-file", "run.log", code=4)

    text = (workspace.folder / "run.log").read_text()
    assert re.search(r"http: upload of cat\.png, \d+ bytes: failed after \d+\.\d{3} s: .*403", text)
    assert workspace.charges() == []


def test_a_log_that_cannot_be_written_costs_nothing(workspace: Workspace) -> None:
    workspace.write(HERO)

    text = workspace.run("--log-file", "nowhere/run.log", code=2)

    assert "nowhere/run.log: the log cannot be written: No such file" in text
    assert workspace.charges() == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a:b@v3.fal.media/files/x.png?token=1#2", "https://v3.fal.media/files/x.png"),
        ("https://queue.fal.run/a/b", "https://queue.fal.run/a/b"),
        ("https://host?x=@/", "https://host"),
        ("nonsense", "nonsense"),
    ],
)
def test_an_address_without_its_secrets(url: str, shown: str) -> None:
    assert public(url) == shown
