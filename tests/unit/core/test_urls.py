"""Signed URLs: what only signs is left out, what may choose the object stays."""

from __future__ import annotations

import time

import pytest

from kling_batch.core.jobs import canonical_json, job_key
from kling_batch.core.urls import host_of, unreachable, unsigned, without_signatures

S3 = (
    "https://b.s3.amazonaws.com/cat.png?versionId=7&X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIA%2F20261126&X-Amz-Date={0}&X-Amz-Expires=900"
    "&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t{0}&X-Amz-Signature={0}&x-id=GetObject"
)
SIGNED = {
    S3: "https://b.s3.amazonaws.com/cat.png?versionId=7",
    "https://b.s3.amazonaws.com/a?AWSAccessKeyId=A&Expires={0}&Signature={0}": (
        "https://b.s3.amazonaws.com/a"
    ),
    "https://storage.googleapis.com/b/a?X-Goog-Date={0}&X-Goog-Signature={0}": (
        "https://storage.googleapis.com/b/a"
    ),
    "https://storage.googleapis.com/b/a?GoogleAccessId=x&Expires={0}&Signature={0}&generation=3": (
        "https://storage.googleapis.com/b/a?generation=3"
    ),
    "https://x.blob.core.windows.net/c/a.png?sv=2024-11-04&st={0}&se={0}&sr=b&sp=r&sig={0}%3D": (
        "https://x.blob.core.windows.net/c/a.png"
    ),
    "https://d1.cloudfront.net/a.png?w=3&Policy={0}&Signature={0}&Key-Pair-Id=K": (
        "https://d1.cloudfront.net/a.png?w=3"
    ),
    "https://d1.cloudfront.net/a.png?Expires={0}&Signature={0}&Key-Pair-Id=K": (
        "https://d1.cloudfront.net/a.png"
    ),
    "https://cdn.example/a.png?URLPrefix=x&Expires={0}&KeyName=k&Signature={0}": (
        "https://cdn.example/a.png"
    ),
    "https://o.aliyuncs.com/a?x-oss-process=resize&x-oss-date={0}&x-oss-signature={0}": (
        "https://o.aliyuncs.com/a?x-oss-process=resize"
    ),
    "https://c.myqcloud.com/a?q-sign-time={0}&q-ak=a&q-signature={0}": "https://c.myqcloud.com/a",
    "https://p.supabase.co/storage/v1/object/sign/b/a.png?token=eyJhbGci.e{0}.s{0}": (
        "https://p.supabase.co/storage/v1/object/sign/b/a.png"
    ),
    "https://firebasestorage.googleapis.com/v0/b/p/o/a.png?alt=media&token={0}": (
        "https://firebasestorage.googleapis.com/v0/b/p/o/a.png?alt=media"
    ),
    "https://v.b-cdn.net/a.png?token={0}&expires={0}": "https://v.b-cdn.net/a.png",
    "https://cdn.discordapp.com/attachments/1/2/a.png?ex={0}&is={0}&hm={0}&": (
        "https://cdn.discordapp.com/attachments/1/2/a.png?"
    ),
    "https://me:{0}@host.example:8443/a.png?size=3#top": "https://host.example:8443/a.png?size=3#top",
    "HTTPS://me@ex:{0}@host.example/a": "HTTPS://host.example/a",
}


@pytest.mark.parametrize("url", SIGNED, ids=range(len(SIGNED)))
def test_a_newly_signed_url_is_the_same_input(url):
    first, second = url.format("0a1b2c"), url.format("9f8e7d")

    assert unsigned(first) == SIGNED[url]
    assert job_key("e", {"image_url": first}) == job_key("e", {"image_url": second})
    assert job_key("e", {"image_url": first}) == job_key("e", {"image_url": SIGNED[url]})
    for deep in ({"u": first}, {"list": [{"u": first}]}):
        assert "0a1b2c" not in canonical_json(deep)


@pytest.mark.parametrize(
    "text",
    [
        "https://host/a.png",
        "https://host/get?token=1234",  # it may choose the object
        "https://host/a?expires=1&sig=2",
        "https://host/a?signature=x",
        "https://host/a?se=1&sp=2&st=3&sv=4",
        "https://host/a?Expires=5",
        "https://host/a@b/c.png?x=me:pass@host",
        "https://host/a?",
        "https://host/a?b&&c=",
        "a prompt about https://me:pw@host/x",
        "ftp://me:pw@host/x",
        "data:image/png;base64,AAAA",
        "https://",
        "https://[::1",
        "",
    ],
)
def test_every_other_text_stays_as_it_is(text):
    assert unsigned(text) == text


def test_an_object_that_a_parameter_chooses_stays_another_one():
    one, two = S3.format("a"), S3.format("a").replace("versionId=7", "versionId=8")

    assert job_key("e", {"u": one}) != job_key("e", {"u": two})


def test_signatures_in_a_message_are_left_out():
    text = 'could not fetch "https://me:pw@h/a?AWSAccessKeyId=A&Signature=S&Expires=1", see https://b/c'

    assert without_signatures(text) == 'could not fetch "https://h/a", see https://b/c'


@pytest.mark.parametrize("scheme", ["ftp", "s3", "sftp", "https", "svn+ssh"])
def test_no_password_of_an_address_is_in_a_message(scheme):
    text = f"see {scheme}://me:sec@ret@h/x@y.png and a@b"

    assert without_signatures(text) == f"see {scheme}://h/x@y.png and a@b"


@pytest.mark.parametrize("text", ["a." * 100_000 + "://", "://a" * 50_000, "@" * 99_999 + "://"])
def test_a_long_text_takes_no_longer_than_it_is_long(text):
    begun = time.process_time()
    without_signatures(text)
    assert time.process_time() - begun < 2


def test_an_accent_is_the_same_letter_however_it_is_composed():
    composed, decomposed = "caf\u00e9", "cafe\u0301"

    assert job_key("e", {"prompt": composed}) == job_key("e", {"prompt": decomposed})
    assert canonical_json({"p": [f"\n\u0301{decomposed}"]}) == f'{{"p":["\\n\u0301{composed}"]}}'


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://localhost:8000/a.png", "own network (`localhost`)"),
        ("https://127.0.0.1/a.png", "own network"),
        ("https://user:pw@10.1.2.3/a.png", "own network (`10.1.2.3`)"),
        ("https://172.20.0.1/a", "own network"),
        ("https://192.168.1.5:9000/a", "own network"),
        ("https://169.254.169.254/latest", "own network"),
        ("https://[::1]/a", "own network"),
        ("https://[fd00::1]/a", "own network"),
        ("https://nas/a.png", "own network (`nas`)"),
        ("https://nas.local./a.png", "own network"),
        ("https://minio.internal/a.png", "own network"),
        ("https://host.example/my cat.png", "%20"),
        ("https://host.example/a\tb", "%20"),
        ("https://[::1", "no valid address"),
    ],
)
def test_what_fal_could_not_fetch_is_known_by_its_text(url, why):
    assert why in unreachable(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://host.example/my%20cat.png",
        "https://8.8.8.8/a",
        "https://[2606:4700::1111]/a",
        "https://v3.fal.media/files/b/x.png?y=localhost",
        "data:image/png;base64,AA AA",
        "photo of localhost.png",
    ],
)
def test_what_fal_may_fetch_is_passed_on(url):
    assert unreachable(url) == ""


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://V3.fal.media:443/a?b#c", "v3.fal.media"),
        ("https://user:word@127.0.0.1:80/", "127.0.0.1"),
        ("https://fal.media./a", "fal.media."),
        ("https://[::1]/a", "::1"),
        *(
            (odd, "")
            for odd in ("https://[", "https:///a", "https://a..b/", "https://.b/", "x", "")
        ),
        (f"https://{'a' * 64}.b/", ""),
    ],
)
def test_the_host_of_an_address_is_one_that_can_be(url: str, host: str) -> None:
    assert host_of(url) == host
