"""Paths as people type them: `~` is a home folder, `./~x` is a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from kling_batch.errors import UsageError
from kling_batch.settings import typed_path


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~/renders", "/home/me/renders"),
        ("~", "/home/me"),
        ("./~x", "~x"),
        ("a/~/b", "a/~/b"),
        ("/abs", "/abs"),
        (Path("rel"), "rel"),
    ],
)
def test_a_leading_tilde_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, written: str | Path, meant: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    assert typed_path(written) == Path(meant)


def test_the_home_folder_of_another_user() -> None:
    assert typed_path("~root/x") == Path("~root").expanduser() / "x"


@pytest.mark.parametrize("written", ["~nobody-of-this-name/x", "~x"])
def test_what_is_no_users_home_says_how_a_file_of_that_name_is_written(written: str) -> None:
    with pytest.raises(UsageError, match=rf"is no home folder here; .* written \./{written}"):
        typed_path(written)
