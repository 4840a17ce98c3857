"""Behind a company's proxy: what it drops and refuses, and what the environment says wrongly."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import httpx
import pytest
import trustme
from fal_client import client as fal_client
from support.cli import run_command
from support.engine import T2V
from support.process import environment
from support.wires import in_process

from kling_batch.core.outcomes import (
    FailureKind,
    NotSent,
    Refused,
    SubmitOutcome,
    Unconfirmed,
)
from kling_batch.fal.classify import classify_submit
from kling_batch.fal.client import FalQueue
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION, secrets_of
from kling_batch.fal.responses import Answer
from kling_batch.fal.transport import (
    BACKUP_CONNECT_TIMEOUT,
    BACKUP_DOMAINS,
    BackupDomains,
    connections,
)
from kling_batch.wire.over_httpx import Departure
from kling_batch.wire.protocol import Reply, Request, Wire, WireError

OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
RESET = struct.pack("ii", 1, 0)


@contextmanager
def proxy(
    serve: Callable[[socket.socket], None], heard: list[bytes] | None = None
) -> Iterator[str]:
    """Its address; each connection to it is served by the test, then reset."""
    listening = socket.create_server(("127.0.0.1", 0))

    def one(client: socket.socket) -> None:
        with client, suppress(OSError):
            first = client.recv(65536)
            if heard is not None:
                heard.append(first)
            serve(client)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=one, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def submit(times: int = 1) -> list[SubmitOutcome]:
    """So many POSTs, one after the other, over the connections of one run."""

    async def ask() -> list[SubmitOutcome]:
        async with connections("Key an-id:a-secret-key") as (api, _):
            queue = FalQueue(api)
            return [await queue.submit(T2V, {"prompt": "x"}) for _ in range(times)]

    return anyio.run(ask)


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda url: monkeypatch.setenv("HTTPS_PROXY", url)


def test_a_proxy_that_drops_the_tunnel_has_sent_nothing(through: Callable[[str], None]) -> None:
    """An answer to CONNECT was lost, and not one to the POST: that is still here."""
    with proxy(lambda _: None) as url:
        through(url)
        (outcome,) = submit()

    assert isinstance(outcome, NotSent), outcome


def test_a_tunnel_that_breaks_before_tls_stands_has_sent_nothing(
    through: Callable[[str], None],
) -> None:
    with proxy(lambda client: client.sendall(OPEN)) as url:
        through(url)
        (outcome,) = submit()

    assert isinstance(outcome, NotSent), outcome


def test_a_hundred_broken_tunnels_leave_room_for_the_next(through: Callable[[str], None]) -> None:
    """httpcore keeps the places of tunnels that never stood; they must not be counted."""
    with proxy(lambda client: client.sendall(OPEN)) as url:
        through(url)
        outcomes = submit(130)

    assert not [each for each in outcomes if "Pool" in str(each)]
    assert all(isinstance(each, NotSent) for each in outcomes)


def test_a_post_that_left_through_a_tunnel_and_lost_its_answer_is_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: Callable[[str], None]
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("queue.fal.run").configure_cert(server)
    bodies: list[bytes] = []

    def swallow(client: socket.socket) -> None:
        client.sendall(OPEN)
        with server.wrap_socket(client, server_side=True) as tunnel:
            bodies.append(tunnel.recv(65536))

    with proxy(swallow) as url:
        through(url)
        (outcome,) = submit()

    assert bodies
    assert bodies[0].startswith(b"POST /fal-ai/kling-video")
    assert isinstance(outcome, Unconfirmed), outcome


def test_a_transport_that_tells_nothing_leaves_it_open() -> None:
    assert not Departure("POST").never_began


# -- fal's second domain ---------------------------------------------------------------------------


class Told:
    """A wire whose every request ends as told; keeps the hosts that were asked, and how."""

    def __init__(self, *errors: WireError) -> None:
        self.errors, self.seen = list(errors), list[Request]()

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Reply]:
        self.seen.append(request)
        raise self.errors.pop(0)
        yield

    @property
    def hosts(self) -> list[str]:
        return [httpx.URL(request.url).host for request in self.seen]


REFUSED = WireError("ConnectError", "refused", began=False, connected=False)
LOST = WireError("ReadError", "reset")
UNTUNNELLED = WireError("ProxyError", "407", began=False)


def asked(wire: Wire, url: str = "https://queue.fal.run/x") -> WireError:
    async def ask() -> WireError:
        try:
            async with BackupDomains(wire).send(Request("POST", url)):
                raise AssertionError("no error")
        except WireError as error:
            return error

    return anyio.run(ask)


@pytest.mark.parametrize(
    ("errors", "hosts", "told"),
    [
        ([LOST], 1, LOST),
        ([UNTUNNELLED], 1, UNTUNNELLED),
        ([REFUSED, LOST], 2, LOST),
        ([REFUSED, UNTUNNELLED], 2, UNTUNNELLED),
        ([REFUSED, WireError("ConnectError", "too", began=False, connected=False)], 2, REFUSED),
    ],
)
def test_only_what_did_not_connect_goes_to_the_other_domain(
    errors: list[WireError], hosts: int, told: WireError
) -> None:
    wire = Told(*errors)

    assert asked(wire) is told
    assert wire.hosts == ["queue.fal.run", "queue.falrun.com"][:hosts]
    assert {request.timeouts.connect for request in wire.seen} == {5.0}


def test_other_hosts_have_no_second_domain() -> None:
    wire = Told(REFUSED)

    assert asked(wire, "https://api.fal.ai/v1/x") is REFUSED
    assert (wire.hosts, wire.seen[0].timeouts.connect) == (["api.fal.ai"], 15.0)


def test_the_second_domains_are_those_of_fals_client() -> None:
    assert fal_client._BACKUP_DOMAINS == BACKUP_DOMAINS
    assert fal_client._BACKUP_DOMAIN_CONNECT_TIMEOUT == BACKUP_CONNECT_TIMEOUT


# -- a proxy with a password -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [b"407 Proxy Authentication Required", b"403 Forbidden", b"502 x"]
)
def test_a_proxy_that_refuses_the_tunnel_has_sent_nothing_and_its_password_is_not_reported(
    through: Callable[[str], None], answer: bytes
) -> None:
    asked_for: list[bytes] = []

    def refuse(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n")

    with proxy(refuse, asked_for) as url:
        through(url.replace("http://", "http://user:pass%20word@"))
        (outcome,) = submit()

    assert isinstance(outcome, NotSent), outcome
    assert "pass" not in repr(outcome)
    assert asked_for[0].startswith(b"CONNECT queue.fal.run:443 ")
    assert b"proxy-authorization: basic dxnlcjpwyxnzihdvcmq=" in asked_for[0].lower()
    assert b"a-secret-key" not in asked_for[0]


# -- what the environment says ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HTTPS_PROXY", "socks5://127.0.0.1:1", "the proxy that the environment names"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:1", "pip install 'kling-batch[socks]'"),
        ("HTTPS_PROXY", "::::", "the proxy that the environment names"),
        ("HTTPS_PROXY", "http://127.0.0.1:99999", "there is no port 99999"),
        ("ALL_PROXY", "http://127.0.0.1:0x50", "the proxy that the environment names"),
        ("https_proxy", "ftp://proxy.example", "cannot be reached by `ftp`"),
        ("HTTPS_PROXY", "http://", "there is no host"),
        ("SSL_CERT_FILE", "nowhere.pem", "SSL_CERT_FILE=nowhere.pem: No such file"),
        ("SSL_CERT_FILE", "m.yaml", "SSL_CERT_FILE=m.yaml: "),
    ],
)
def test_surroundings_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    (tmp_path / "m.yaml").write_text(
        "version: 1\njobs: [{id: a, mode: text-to-image, prompt: x}]\n"
    )
    env = environment(FAL_KEY="an-id:a-secret-key", **{name: value})

    done = run_command("run", "m.yaml", "--yes", cwd=tmp_path, env=env)

    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "value",
    ["fd00::/8,localhost", "[::1]", "::1,10.0.0.0/8", "*.example.com, fe80::1%eth0", "a b,[", "*"],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_entry_of_no_proxy_is_an_obstacle(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    async def ask() -> None:
        async with connections("Key an-id:a-secret-key"):
            httpx.AsyncClient()  # as fal-client makes them for uploads

    anyio.run(ask)

    assert os.environ[name] == value


@pytest.mark.parametrize("error", [OverflowError, ValueError, RuntimeError, KeyError])
@pytest.mark.parametrize("left", [False, True])
def test_what_never_left_is_no_doubt_whatever_the_exception(
    error: type[Exception], left: bool
) -> None:
    class Breaking(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            trace = request.extensions["trace"]
            await trace("connection.connect_tcp.started", {})
            if left:
                await trace("http11.send_request_headers.started", {})
            raise error("broken")

    async def ask() -> SubmitOutcome:
        wire = in_process(Breaking())
        async with connections("Key an-id:a-secret-key", wire=wire) as (api, _):
            return await FalQueue(api).submit(T2V, {"prompt": "x"})

    assert isinstance(anyio.run(ask), Unconfirmed if left else NotSent)


def test_an_unknown_certificate_names_the_variable_that_makes_it_known(
    tmp_path: Path, through: Callable[[str], None]
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("queue.fal.run").configure_cert(server)

    def inspect(client: socket.socket) -> None:
        client.sendall(OPEN)
        with suppress(ssl.SSLError), server.wrap_socket(client, server_side=True) as tunnel:
            tunnel.recv(65536)

    with proxy(inspect) as url:
        through(url)
        (outcome,) = submit()

    assert isinstance(outcome, NotSent)
    assert "set SSL_CERT_FILE" in outcome.reason


def test_a_page_of_a_proxy_is_named_as_one() -> None:
    page = b"<!DOCTYPE html><html><head><title>Access\n denied</title></head>" + b"x" * 9000

    outcome = classify_submit(Answer(403, {}, page), lambda _: pytest.fail("no request"))

    assert isinstance(outcome, Refused)
    assert outcome.failure.kind is FailureKind.UNROUTED
    assert outcome.failure.message.startswith('HTTP 403: a web page ("Access denied")')


def test_what_the_emulator_is_shown_is_cut_out_of_nothing() -> None:
    """A prompt may hold any word, and a lost submission is found again by its prompt."""
    assert secrets_of(DUMMY_AUTHORIZATION) == ()
    assert secrets_of("Key an-id:a-secret-key") == ("an-id:a-secret-key", "a-secret-key")
