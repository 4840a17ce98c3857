"""Locations: paths and addresses of objects."""

from __future__ import annotations

import pytest

from kling_batch.core.locations import ObjectAddress, address_of, is_address


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("s3://b/x", True),
        ("memory://x", True),
        ("arrow_hdfs://x/y", True),
        ("outputs", False),
        ("C:\\x", False),
        ("a/b:/", False),
    ],
)
def test_what_is_an_address(text: str, yes: bool) -> None:
    assert is_address(text) is yes


def test_an_address_has_the_pure_part_of_a_path() -> None:
    at = address_of("S3://bucket/folder/") / "clips/a.b.mp4"

    assert str(at) == "s3://bucket/folder/clips/a.b.mp4"
    assert (at.scheme, str(at.root)) == ("s3", "s3://bucket")
    assert (at.name, at.stem, at.suffix) == ("a.b.mp4", "a.b", ".mp4")
    assert str(at.parent) == "s3://bucket/folder/clips"
    assert at.with_name("x") == ObjectAddress("s3://bucket/folder/clips/x")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sftp://me:word@host/x", "password"),
        ("http://host/x", "no store"),
        ("file:///x", "written as a path"),
        ("s3:///x", "no bucket"),
        ("s3://b/x?y=1", "plain address"),
        ("s3://b/\x07", "plain address"),
        ("s3://b/simplecache::x", "plain address"),
        ("simplecache::s3://b/x", "plain address"),
        ("x://b/y", "plain address"),
        ("s3://127.0.0.1:9000/assets/x", "`127.0.0.1:9000` is no bucket.*into AWS_ENDPOINT_URL"),
        ("S3A://me@assets/x", "`me@assets` is no bucket"),
        ("s3://my assets/x", "`my assets` is no bucket"),
        ("memory://", "no bucket"),
        ("Memory://assets", "is lost when this program ends"),
    ],
)
def test_addresses_that_cannot_be_used(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as raised:
        address_of(text)
    assert "me:word" not in str(raised.value)


def test_what_is_no_bucket_elsewhere_is_an_address() -> None:
    for text in (
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/assets/x",
        "abfs://assets@account.dfs.core.windows.net/x",
        "sftp://me@host:2222/x",
        "s3://assets/take [1]: a@b",
    ):
        assert str(address_of(text)) == text
