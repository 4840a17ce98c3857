"""Proxies of the environment: whom they serve is what httpx, and so fal-client, says."""

from __future__ import annotations

import httpx
import pytest

from kling_batch.errors import UsageError
from kling_batch.wire.addresses import address_of
from kling_batch.wire.environment import proxies

PROXY = "http://127.0.0.1:9"
HOSTS = ("queue.fal.run", "fal.run", "v3b.fal.media", "api.fal.ai", "notfal.run", "localhost")
ADDRESSES = (*(f"https://{host}/x" for host in HOSTS), "https://[::1]/x", "https://127.0.0.1/x")
EXCEPTIONS = (
    "",
    "*",
    "fal.run",
    ".fal.run",
    "*.fal.run",
    "queue.fal.run",
    "FAL.RUN , api.fal.ai",
    "http://queue.fal.run",
    "https://queue.fal.run",
    "localhost",
    "127.0.0.1",
    "::1",
    "10.0.0.0/8,fal.media",
    "notqueue.fal.run",
    "run",
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"])
@pytest.mark.parametrize("exceptions", EXCEPTIONS)
def test_a_proxy_serves_whom_it_serves_in_httpx(
    monkeypatch: pytest.MonkeyPatch, name: str, exceptions: str
) -> None:
    monkeypatch.setenv(name, PROXY)
    monkeypatch.setenv("NO_PROXY", exceptions)
    client = httpx.AsyncClient()
    found = proxies()

    for address in ADDRESSES:
        url = httpx.URL(address)
        direct = client._transport_for_url(url) is client._transport
        assert (found.choose(address_of(address)) is None) == direct, address


@pytest.mark.parametrize("entry", ["queue.fal.run:443", "[::1]", "10.0.0.0/8", "fd00::/8", "a b,["])
def test_an_odd_exception_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", entry)

    assert proxies().choose(address_of("https://v3b.fal.media/x")) is not None
    direct = proxies().choose(address_of("https://queue.fal.run/x")) is None
    assert direct == entry.endswith(":443")


def test_a_proxys_password_travels_in_a_header_and_stands_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://us%20er:p%40ss@proxy.example:3128")

    proxy = proxies().choose(address_of("https://queue.fal.run/x"))

    assert proxy is not None
    assert proxy.address == "http://proxy.example:3128"
    auth = httpx.BasicAuth("us er", "p@ss")._auth_header
    assert proxy.headers == {"Proxy-Authorization": auth}


@pytest.mark.parametrize(
    "address",
    [
        *("http://u:secret@h:99999", "ftp://u:secret@h", "http://u:secret@"),
        *("http://u:secret@h:0x5", "http://u:secret/word@h:80", "u:secret/word@h:80"),
    ],
)
def test_an_impossible_proxy_is_reported_without_its_password(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", address)

    with pytest.raises(UsageError) as caught:
        proxies()

    assert "secret" not in str(caught.value)
