"""Large pieces past the system's cache: the same bytes, whatever the file system takes of them."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_batch.output.blocks import BLOCK, PAGE, Block, Blocks
from kling_batch.output.part_file import PartFile
from kling_batch.output.uncached import LARGE

BODY = random.Random(3).randbytes(BLOCK + LARGE + 3 * PAGE + 123)

pytestmark = pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no O_DIRECT")


def received(
    path: Path,
    sizes: Sequence[int] = (),
    *,
    first: Sequence[int] = (),
    start: int = 0,
    cached: bool = False,
) -> str:
    """Receive `BODY` from `start` on, as a download does; the digest of the file.

    `first`: sizes of what comes by itself; `sizes`: of what is read into the block.
    """
    path.write_bytes(BODY[:start])
    block, at = Block(), start
    part = PartFile(path, block, cached=cached)
    part.begin(start)
    for size in first:
        part.add(BODY[at : at + size])
        at = min(len(BODY), at + size)
    for size in [*sizes, *[len(BODY)] * 4]:
        memory = block.after(at - start)
        piece = BODY[at : at + min(size, len(memory) - 1)]
        memory[: len(piece)] = piece
        part.add(memory[: len(piece)])
        part.flush()
        at += len(piece)
    digest = part.complete()[1]
    part.close()
    return digest


def is_whole(path: Path, digest: str) -> bool:
    return path.read_bytes() == BODY and digest == sha256(BODY).hexdigest()


class Writes:
    """Counts what is written past the cache; `most` bytes at a time, if the system takes any."""

    def __init__(self, most: int = len(BODY), *, refuse: int | None = None) -> None:
        self.most, self.refuse, self.written = most, refuse, 0
        self._pwrite = os.pwrite

    def __call__(self, handle: int, data: memoryview, offset: int) -> int:
        # No gap: what went through the cache before would be lost with the power.
        assert offset == self.written
        assert len(data) % PAGE == 0
        if self.refuse is not None:
            raise OSError(self.refuse, os.strerror(self.refuse))
        written = self._pwrite(handle, data[: self.most], offset)
        self.written += written
        return written


def takes_direct(folder: Path) -> bool:
    try:
        os.close(os.open(folder / "direct", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("first", [[], [1], [100, PAGE], [66_700], [LARGE, 5]], ids=str)
def test_whole_pages_go_past_the_cache_however_the_body_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: list[int]
) -> None:
    if not takes_direct(tmp_path):
        pytest.skip("the file system of temporary files has no direct writes")
    writes = Writes()
    monkeypatch.setattr(os, "pwrite", writes)

    assert is_whole(tmp_path / "part", received(tmp_path / "part", first=first))

    # All but an end that is no whole page or too short.
    assert writes.written >= len(BODY) - LARGE


@pytest.mark.parametrize("start", [1, PAGE, LARGE, len(BODY) - LARGE])
def test_what_goes_on_where_another_try_ended_goes_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """As what came before may have."""
    writes = Writes()
    monkeypatch.setattr(os, "pwrite", writes)

    assert is_whole(tmp_path / "part", received(tmp_path / "part", start=start))

    assert writes.written == 0


def test_a_file_that_is_read_again_soon_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes()
    monkeypatch.setattr(os, "pwrite", writes)

    assert is_whole(tmp_path / "part", received(tmp_path / "part", cached=True))

    assert writes.written == 0


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EOPNOTSUPP, errno.EIO])
def test_what_the_file_system_does_not_take_is_written_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    monkeypatch.setattr(os, "pwrite", Writes(refuse=error))

    assert is_whole(tmp_path / "part", received(tmp_path / "part"))


def test_a_file_that_cannot_be_opened_so_is_written_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on file systems that know no direct writes."""
    opened = os.open

    def refuse(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)

    assert is_whole(tmp_path / "part", received(tmp_path / "part"))


@settings(max_examples=60, deadline=None)
@given(
    first=st.lists(st.integers(1, 300_000), max_size=4),
    start=st.one_of(st.just(0), st.integers(0, len(BODY))),
    sizes=st.lists(st.integers(0, BLOCK), max_size=6),
    most=st.sampled_from([PAGE, 10 * PAGE, 100_001, len(BODY)]),
)
def test_a_file_has_the_bytes_that_came_wherever_they_begin_and_end(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[int],
    start: int,
    sizes: list[int],
    most: int,
) -> None:
    path = tmp_path_factory.mktemp("parts") / "part"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", Writes(most))
        digest = received(path, sizes, first=first, start=start)

    assert is_whole(path, digest)


def test_blocks_are_used_again_and_never_by_two_at_once() -> None:
    blocks = Blocks()

    with blocks.one() as first, blocks.one() as second:
        assert first is not second
    with blocks.one() as again, blocks.one() as other, blocks.one() as third:
        assert {again, other} == {first, second}
        assert third not in (first, second)
