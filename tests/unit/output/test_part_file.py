"""Growing files: continued where an earlier try ended, hashed on the way, bounded in memory."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from kling_batch.output.part_file import PartFile

BODY = bytes(range(256)) * 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".x-0.part"


def completed(part: PartFile) -> tuple[bytes, str]:
    file, digest = part.complete()
    file.seek(0)
    try:
        return file.read(), digest
    finally:
        part.close()


@pytest.mark.parametrize("start", [0, 1, 1000, len(BODY)])
def test_the_digest_covers_what_was_there_and_what_came(path: Path, start: int) -> None:
    path.write_bytes(BODY[:start] + b"what an earlier try got wrong")
    part = PartFile(path)

    part.begin(start)
    for n in range(start, len(BODY), 70_000):
        part.add(BODY[n : n + 70_000])
        part.flush()

    assert completed(part) == (BODY, sha256(BODY).hexdigest())


def test_without_a_beginning_the_file_is_what_lies_there(path: Path) -> None:
    path.write_bytes(BODY)

    assert completed(PartFile(path)) == (BODY, sha256(BODY).hexdigest())


def test_what_was_taken_is_kept_when_the_connection_breaks(path: Path) -> None:
    part = PartFile(path)
    part.begin(0)
    part.add(b"half")

    part.close()

    assert path.read_bytes() == b"half"


def test_what_is_useless_leaves_nothing(path: Path) -> None:
    part = PartFile(path)
    part.begin(0)
    part.add(b"half")
    part.flush()
    part.add(b"more")

    part.discard()
    part.close()

    assert not path.exists()


def test_nothing_is_touched_before_something_comes(path: Path) -> None:
    path.write_bytes(BODY)
    part = PartFile(path)
    part.begin(0)

    part.close()

    assert path.read_bytes() == BODY
