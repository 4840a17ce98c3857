"""Inputs of jobs: read once, and by URLs whose signatures are nobody's business but fal's."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from support.books import paid_once
from support.engine import LOST, Rig, account, make_job

from kling_batch.core.jobs import Job, LocalFile
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import UploadError
from kling_batch.emulator import Fault

SIGNED = (
    "https://me:pass-{0}@b.s3.amazonaws.com/cat.png?versionId=1&X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIA-{0}&X-Amz-Date=20261126T000000Z&X-Amz-Expires=900"
    "&X-Amz-SignedHeaders=host&X-Amz-Signature=sig-{0}"
)


def signed(name: str) -> Job:
    return make_job("cat", image_url=SIGNED.format(name))


def files_with(folder: Path, text: str) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


def test_a_newly_signed_input_is_paid_once_and_sent_as_written(rig: Rig) -> None:
    rig.run([signed("one")])

    rig.run([signed("two")])

    paid_once(rig, 1)
    assert [r.payload["image_url"] for r in rig.world.books.accepted] == [SIGNED.format("one")]
    assert rig.states([signed("three")]) == [State.SUCCEEDED]


def test_no_signature_rests_in_the_output_folder(rig: Rig) -> None:
    rig.run([signed("one")])

    assert files_with(rig.folder, "b.s3.amazonaws.com/cat.png?versionId=1")
    for secret in ("sig-one", "pass-one", "AKIA-one"):
        assert files_with(rig.folder, secret) == []


def test_a_lost_answer_is_found_by_the_newly_signed_job(tmp_path: Path) -> None:
    rig = Rig(tmp_path, account(), [LOST])
    rig.run([signed("one")])
    rig.world.faults.clear()

    rig.run([signed("two")])

    assert rig.states([signed("two")]) == [State.SUCCEEDED]
    assert len(rig.world.books.posts) == 1
    paid_once(rig, 1)


def test_what_was_refused_is_sent_again_with_the_present_signature(tmp_path: Path) -> None:
    down = Fault(stage="job", what="fail", error="file_download_error", nth=1)
    rig = Rig(tmp_path, account(), [down])
    rig.run([signed("expired")])
    rig.world.faults.clear()

    rig.run([signed("fresh")], retry=True)

    sent = [r.payload["image_url"] for r in rig.world.books.accepted]
    assert sent == [SIGNED.format("expired"), SIGNED.format("fresh")]
    assert rig.states([signed("fresh")]) == [State.SUCCEEDED]
    assert files_with(rig.folder, "sig-") == []


def test_a_message_of_fal_that_quotes_the_url_is_kept_without_its_signature(tmp_path: Path) -> None:
    body = f'{{"detail": [{{"type": "x", "msg": "cannot load {SIGNED.format("one")}"}}]}}'
    rude = Fault(stage="submit.before", what="status", status=422, body=body)
    rig = Rig(tmp_path, account(), [rude])

    rig.run([signed("one")])

    assert rig.states([signed("one")]) == [State.FAILED]
    assert files_with(rig.folder, "cannot load https://b.s3.amazonaws.com/cat.png")
    assert not any("sig-one" in str(event) for event in rig.events)
    for secret in ("sig-one", "pass-one", "AKIA-one"):
        assert files_with(rig.folder, secret) == []


class EditedBetweenTries:
    """A storage that is down once; somebody edits the file in the pause."""

    def __init__(self, photo: Path) -> None:
        self.photo = photo
        self.uploaded: list[bytes] = []

    async def upload(self, path: Path, data: bytes, content_type: str) -> str:
        self.uploaded.append(data)
        if len(self.uploaded) == 1:
            self.photo.write_bytes(b"another picture")
            raise UploadError("down", passing=True)
        return "https://v3b.fal.media/files/b/x.png"


def test_an_edit_between_two_tries_does_not_change_what_is_uploaded(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"as planned")
    digest = sha256(b"as planned").hexdigest()
    file = LocalFile(path=str(photo), sha256=digest, size=10, content_type="image/png")
    rig = Rig(tmp_path, account(check_inputs=False), uploads=EditedBetweenTries(photo))

    rig.run([make_job("a", image_url=file)])

    assert rig.uploads.uploaded == [b"as planned", b"as planned"]
    paid_once(rig, 1)
