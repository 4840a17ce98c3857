"""Complete downloads that wait for a store."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from kling_batch.core.outcomes import Fetched
from kling_batch.output import spool

DATA = b"a whole clip"


@pytest.fixture
def fetched(tmp_path: Path) -> Fetched:
    path = tmp_path / ".0123456789ab-0.part"
    path.write_bytes(DATA)
    return Fetched(
        temporary=str(path),
        sha256=sha256(DATA).hexdigest(),
        size=len(DATA),
        ext=".mp4",
        content_type="video/mp4",
    )


def test_what_is_noted_is_found_again(fetched: Fetched) -> None:
    path = Path(fetched.temporary)
    assert spool.complete(path) is None

    spool.note(fetched, 7)

    assert spool.complete(path) == fetched


@pytest.mark.parametrize("data", [None, b"", DATA[:-1], DATA[:-1] + b"?"])
def test_what_has_changed_since_is_not_and_is_removed(
    fetched: Fetched, tmp_path: Path, data: bytes | None
) -> None:
    path = Path(fetched.temporary)
    spool.note(fetched, 7)
    path.with_name(f"{path.name}.from").write_text('"etag"')
    path.unlink() if data is None else path.write_bytes(data)

    assert spool.complete(path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"size": 1}', "\udcff"])
def test_a_damaged_note_is_no_note(fetched: Fetched, text: str) -> None:
    spool.note(fetched, 7)
    note = Path(fetched.temporary).with_suffix(".json")
    note.write_bytes(text.encode("utf-8", "surrogateescape"))

    assert spool.complete(Path(fetched.temporary)) is None


def test_what_is_put_is_dropped_with_its_note(fetched: Fetched, tmp_path: Path) -> None:
    spool.note(fetched, 7)

    spool.drop(Path(fetched.temporary))

    assert list(tmp_path.iterdir()) == []


def test_what_waits_is_listed_with_its_attempt(fetched: Fetched, tmp_path: Path) -> None:
    spool.note(fetched, 7)
    (tmp_path / ".ba9876543210-0.json").write_bytes(b"{}")

    ((attempt, path),) = spool.waiting(tmp_path)

    assert (attempt, path) == (7, Path(fetched.temporary))
    assert spool.token_in(path) == "0123456789ab"
    assert list(spool.waiting(tmp_path / "nowhere")) == []
