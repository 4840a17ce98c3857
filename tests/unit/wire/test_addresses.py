"""Tests of addresses: the short way reads what httpx reads."""

from __future__ import annotations

import httpx
import pytest

from kling_batch.wire import addresses
from kling_batch.wire.addresses import address_of
from kling_batch.wire.protocol import AddressError

PLAIN = [
    "https://queue.fal.run/fal-ai/kling-video/o3/standard/text-to-video",
    "https://queue.fal.run/fal-ai/kling-video/requests/0f-9a_B~/status",
    "http://v3b.fal.media/files/b/x/..y.mp4",
    "https://v3.fal.media/files/a.b/c..d.mp4",
]
OTHERS = [
    "HTTPS://queue.fal.run/x",
    "https://Queue.Fal.Run/x",
    "https://queue.fal.run",
    "https://queue.fal.run/",
    "https://queue.fal.run:443/x",
    "https://queue.fal.run:8443/x",
    "https://v3.fal.media/a/../b",
    "https://v3.fal.media/./b",
    "https://v3.fal.media/a//b",
    "https://v3.fal.media/a b%20c%zz",
    "https://v3.fal.media/ä.mp4",
    "https://v3.fal.media/a?sig=x+y%2F/&e=1",
    "https://v3.fal.media/a#part",
    "https://user:pass@v3.fal.media/a",
    "https://xn--bcher-kva.example/a",
    "https://bücher.example/a",
    "https://127.0.0.1/a",
    "https://[::1]/a",
    "https://localhost/a",
    "https://v3.fal.media/" + "a" * 5000,
]


@pytest.mark.parametrize("url", PLAIN + OTHERS)
def test_an_address_is_what_httpx_makes_of_it(url: str) -> None:
    expected = httpx.URL(url)

    found = address_of(url)

    assert found == (str(expected), expected.scheme, expected.host, expected.port)


@pytest.mark.parametrize("url", PLAIN[:2])
def test_fals_own_addresses_need_no_parser(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    address_of.cache_clear()
    monkeypatch.delattr(addresses, "parsed")

    assert address_of(url).text == url


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://a.example/x", "https:///x", "https://a.example:99999/x", "https://a\n.b/"],
)
def test_an_address_without_a_server_is_refused(url: str) -> None:
    with pytest.raises(AddressError):
        address_of(url)
