"""Answers that nobody expects, from fal or from what stands between; what they must not break."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trustme
from support.engine import T2V, Rig, make_job, make_jobs
from support.sockets import Exchange, serving

from kling_batch.catalog.registry import cost_of
from kling_batch.core.jobs import Batch
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import (
    FailureKind,
    Fetched,
    Handle,
    RemoteFile,
    Unconfirmed,
    Unfetched,
    Unread,
)
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.emulator import Fault, Settings
from kling_batch.emulator.inprocess import InProcessTransport
from kling_batch.errors import ExitCode, LedgerError
from kling_batch.fal.client import FalQueue, handle_of
from kling_batch.fal.transport import GatewayTransport, connections
from kling_batch.ledger.artifacts import Placed
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader
from kling_batch.output.download import Downloader


def ample() -> Settings:
    return Settings(concurrency=20, media="template")


class Bent(InProcessTransport):
    """The emulator, with one kind of answer changed by the test."""

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        raise NotImplementedError

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if not request.url.host.endswith("fal.media"):
            await answer.aread()
        return self.bend(request, answer)


def is_result(request: httpx.Request) -> bool:
    return request.method == "GET" and request.url.path.split("/")[-2] == "requests"


# -- TLS ----------------------------------------------------------------------------------------


@contextmanager
def damaging() -> Iterator[tuple[int, ssl.SSLContext]]:
    """A TLS server that reads a request and answers with a record that nobody can decrypt."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while listening.fileno() >= 0:
            with suppress(OSError, ValueError):
                raw, _ = listening.accept()
                with server.wrap_socket(raw, server_side=True) as connection:
                    connection.recv(65536)
                    with socket.socket(fileno=os.dup(connection.fileno())) as below:
                        below.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
                        connection.unwrap()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1], client
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


def test_a_damaged_tls_record_is_an_outcome_and_no_exception(tmp_path: Path) -> None:
    async def ask() -> list[Any]:
        with damaging() as (port, context):

            class There(httpx.AsyncHTTPTransport):
                async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                    request.url = request.url.copy_with(host="localhost", port=port)
                    return await super().handle_async_request(request)

            async with httpx.AsyncClient(transport=There(verify=context)) as http:
                queue, found = FalQueue(http), list[Any]()
                file = RemoteFile(url=f"https://localhost:{port}/x.png")
                for call in (
                    lambda: queue.submit(T2V, {"prompt": "x"}),
                    lambda: queue.status(handle_of(T2V, "r")),
                    lambda: Downloader(http).fetch(file, tmp_path / "x.part"),
                ):
                    try:
                        found.append(await call())
                    except OSError as error:
                        found.append(error)
                return found

    told = anyio.run(ask)
    assert [type(one) for one in told] == [Unconfirmed, Unread, Unfetched], told


@pytest.mark.parametrize("where", ["submit", "status", "list", "download"])
def test_a_damaged_tls_record_stops_no_run(tmp_path: Path, where: str) -> None:
    class Damaged(Bent):
        seen = 0

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            kind = "submit" if request.method == "POST" else request.url.path.rsplit("/", 1)[-1]
            kind = "list" if kind == "by-endpoint" else kind
            kind = "download" if request.url.host.endswith("fal.media") else kind
            self.seen += kind == where
            if kind == where and self.seen == 2:
                raise ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]")
            return answer

    faults = [Fault(stage="submit.after", what="reset", nth=2)] if where == "list" else []
    rig = Rig(tmp_path, Settings(concurrency=4, media="template", list_delay=20.0), faults)
    jobs = make_jobs(12)

    run_result = rig.run(jobs, transport=Damaged(rig.world), concurrency=3)

    assert not run_result.stops
    assert rig.states(jobs) == [State.SUCCEEDED] * 12
    assert rig.charges == [1] * 12


# -- a run that never ends ----------------------------------------------------------------------


def test_a_run_ends_although_a_finished_result_can_never_be_read(tmp_path: Path) -> None:
    """COMPLETED, readably, for ever; the result has expired, and the list behind it is broken."""

    async def days(engine: Any) -> None:
        await anyio.sleep(3 * 86400)
        engine.leave(ExitCode.INTERRUPTED, "three days have passed")

    faults = [Fault(stage="result", what="expired"), Fault(stage="list", what="status", status=503)]
    rig = Rig(tmp_path, faults=faults)
    run_result = rig.run(make_jobs(1), stop=days)

    assert not any(stop.code is ExitCode.INTERRUPTED for stop in run_result.stops)


# -- bills --------------------------------------------------------------------------------------


def test_a_price_that_an_earlier_run_learnt_is_reckoned_with_by_the_next(tmp_path: Path) -> None:
    rig = Rig(tmp_path, ample())
    jobs = make_jobs(20, estimate=168_000)  # fal bills 0.42 for each: 2.5 times, no alarm
    cap = Cap(limit=MicroUSD(2_000_000), name="max_cost")
    rig.run(jobs[:1], caps=(cap,), cost_of=cost_of)

    rig.run(jobs, caps=(cap,), cost_of=cost_of, concurrency=20)

    assert rig.world.books.total_committed_micro_usd <= 2_000_000


def test_what_is_rendered_without_a_bill_is_reckoned_at_the_price_that_is_known(
    tmp_path: Path,
) -> None:
    class Silent(Bent):
        told = 0

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if "x-fal-billable-units" in answer.headers:
                self.told += 1
                if self.told > 1:
                    del answer.headers["x-fal-billable-units"]
            return answer

    rig = Rig(tmp_path, ample())
    cap = Cap(limit=MicroUSD(2_000_000), name="max_cost")
    jobs = make_jobs(20, estimate=168_000)

    rig.run(jobs, caps=(cap,), cost_of=cost_of, concurrency=1, transport=Silent(rig.world))

    assert rig.world.books.total_committed_micro_usd <= 2_000_000


# -- hostile answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://127.0.0.1:99999/x.mp4", "https://xn--/x.mp4"])
def test_an_odd_file_address_is_an_outcome(tmp_path: Path, url: str) -> None:
    async def ask() -> Any:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await Downloader(http).fetch(RemoteFile(url=url), tmp_path / "x.part")

    assert isinstance(anyio.run(ask), Unfetched)


def test_one_odd_file_address_ends_no_run(tmp_path: Path) -> None:
    class Odd(Bent):
        told = False

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if not is_result(request) or self.told:
                return answer
            self.told = True
            return httpx.Response(200, json={"video": {"url": "https://xn--/x.mp4"}})

    rig = Rig(tmp_path)
    jobs = make_jobs(6)
    rig.run(jobs, transport=Odd(rig.world), concurrency=2)
    assert rig.states(jobs).count(State.SUCCEEDED) == 5


def test_a_deep_payload_in_the_list_breaks_no_run(tmp_path: Path) -> None:
    """Another program's request of the same endpoint."""
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    row = {
        "request_id": "theirs",
        "endpoint_id": T2V,
        "sent_at": "2026-05-01T12:00:01+00:00",
        "status_code": 200,
        "json_input": {"prompt": deep},
    }

    class Deep(Bent):
        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if not request.url.path.endswith("by-endpoint"):
                return answer
            return httpx.Response(200, json={"items": [row], "has_more": False})

    rig = Rig(tmp_path, faults=[Fault(stage="submit.after", what="reset", nth=1)])
    jobs = make_jobs(3)
    rig.run(jobs, transport=Deep(rig.world), doubt_wait=60.0)
    assert sorted(map(str, rig.states(jobs))) == ["in_doubt", "succeeded", "succeeded"]


def test_a_deep_result_ends_no_run(tmp_path: Path) -> None:
    """Python 3.13 reads JSON that is deeper than SQLite's `json_valid` takes."""

    class Deep(Bent):
        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if not is_result(request):
                return answer
            text = answer.text[:-1] + ', "timings": ' + "[" * 3000 + "]" * 3000 + "}"
            return httpx.Response(200, text=text)

    rig = Rig(tmp_path)
    jobs = make_jobs(1)

    async def hour(engine: Any) -> None:
        await anyio.sleep(3600)
        engine.leave(ExitCode.STILL_RUNNING, "an hour")

    rig.run(jobs, transport=Deep(rig.world), stop=hour)
    assert rig.states(jobs)[0] in (State.SUBMITTED, State.IN_DOUBT, State.SUCCEEDED)


# -- the key ------------------------------------------------------------------------------------


def test_a_garbled_header_that_echoes_the_key_is_not_told() -> None:
    def answer(exchange: Exchange) -> None:
        echo = f"You said Authorization {exchange.headers['authorization']}"
        exchange.send(f"HTTP/1.1 200 OK\r\n{echo}\r\n\r\n".encode())

    async def ask(url: str) -> list[Any]:
        async with connections("Key an-id:very-secret", GatewayTransport(url)) as (api, _):
            queue = FalQueue(api)
            return [await queue.status(handle_of(T2V, "r")), await queue.submit(T2V, {})]

    with serving(answer) as server:
        assert "very-secret" not in repr(anyio.run(ask, server.url))


# -- torn reads --------------------------------------------------------------------------------


def test_standings_beside_a_run_are_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    (job,) = make_jobs(1)
    with rig.ledger() as ledger:
        ledger.begin_run(command="t", batches=["test"], pid=1, version="0", cap=None)
        ledger.register(Batch(name="test", source="t", jobs=(job,)))
        number = ledger.intend(job, {}, tries=1)
        assert isinstance(number, int)
        handle = Handle(request_id="r", response_url="", status_url="", cancel_url="")
        ledger.record(number, Event.SUBMIT_ACCEPTED, handle=handle)
        ledger.record(number, Event.REMOTE_COMPLETED, output={})
        with Reader.open(rig.ledger_path) as reader:
            plain, count = reader.db.execute, 0

            def meanwhile(*words: Any) -> Any:
                nonlocal count
                count += 1
                if count == 2:  # between two of its queries the run saves the file
                    item = Fetched(
                        temporary="", sha256="0" * 64, size=1, ext=".mp4", content_type="video/mp4"
                    )
                    placed = Placed(index=0, path="a.mp4", fetched=item, url="")
                    ledger.save_artifacts(ledger.attempt(number), [placed])
                return plain(*words)

            monkeypatch.setattr(reader.db, "execute", meanwhile)
            assert job.key in reader.standings(), "a paid job looks new"


# -- Retry-After -------------------------------------------------------------------------------


def test_a_stopped_run_does_not_wait_for_the_rates_line(tmp_path: Path) -> None:
    """One 429 with a hint of an hour; then the price alarm ends the buying."""
    hour = {"Retry-After": "3600"}
    throttle = Fault(stage="submit.before", what="status", status=429, headers=hour, nth=2)
    rig = Rig(tmp_path, ample(), faults=[throttle])
    begun = rig.now()
    run_result = rig.run(make_jobs(6, estimate=100_000), concurrency=6, cost_of=cost_of)
    assert [stop.code for stop in run_result.stops] == [ExitCode.BUDGET]
    assert (rig.now() - begun).total_seconds() < 600


# -- a lie about a size ------------------------------------------------------------------------


def test_a_server_that_declares_gigabytes_stops_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fal's own result says how big the file is; its file server says 7 GB, once, of one file."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * 1024**3))

    class Liar(Bent):
        told = False

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if request.url.host.endswith("fal.media") and not self.told:
                self.told = True
                answer.headers["content-length"] = str(7 * 1024**3)
            return answer

    rig = Rig(tmp_path, Settings(concurrency=2, media="template"))
    jobs = make_jobs(6)
    run_result = rig.run(jobs, transport=Liar(rig.world), concurrency=2)
    assert not run_result.stops


# -- an outage is no verdict -------------------------------------------------------------------


def test_an_outage_that_answers_404_pages_to_posts_settles_no_job(tmp_path: Path) -> None:
    page = Fault(stage="submit.before", what="status", status=404, body="<html>Not Found", times=5)
    rig = Rig(tmp_path, faults=[page])
    jobs = make_jobs(5)
    rig.run(jobs)
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 5


def test_a_page_that_answers_for_one_job_stops_no_other(tmp_path: Path) -> None:
    """An endpoint that a gateway does not know is this job's trouble alone."""
    page = Fault(stage="submit.before", what="status", status=404, body="Not Found", prompt="job-7")
    rig = Rig(tmp_path, faults=[page])
    jobs = make_jobs(9)

    run_result = rig.run(jobs, concurrency=2)

    assert not run_result.stops
    assert rig.states(jobs).count(State.SUCCEEDED) == 8
    rig.world.faults.clear()
    rig.run(jobs)
    assert rig.states(jobs) == [State.SUCCEEDED] * 9


def test_an_odd_status_address_ends_no_run(tmp_path: Path) -> None:
    class Odd(Bent):
        told = False

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            if request.method != "POST" or self.told:
                return answer
            self.told = True
            return httpx.Response(
                200, json=answer.json() | {"status_url": "https://xn--.fal.run/x"}
            )

    rig = Rig(tmp_path)
    jobs = make_jobs(6)

    async def later(engine: Any) -> None:
        await anyio.sleep(600)
        engine.leave(ExitCode.STILL_RUNNING, "ten minutes")

    rig.run(jobs, transport=Odd(rig.world), concurrency=2, stop=later)

    assert rig.states(jobs).count(State.SUCCEEDED) == 5


@pytest.mark.parametrize("status", [429, 403])
def test_who_has_only_stood_in_line_has_not_been_refused(tmp_path: Path, status: int) -> None:
    """Over an hour behind others; then one blip, which is no reason to give up at once."""
    body = json.dumps({"detail": "User is locked. Reason: Exhausted balance"})
    blip = Fault(stage="submit.before", what="status", status=status, body=body, nth=70)
    rig = Rig(tmp_path, Settings(concurrency=100, media="template"), faults=[blip])
    jobs = make_jobs(75)

    run_result = rig.run(jobs, rate=1 / 60, concurrency=100)

    assert not run_result.stops
    assert rig.states(jobs) == [State.SUCCEEDED] * 75


def test_what_is_put_off_for_longer_than_an_hour_is_left_to_the_next_run(tmp_path: Path) -> None:
    hint = {"Retry-After": "2000"}
    busy = Fault(stage="submit.before", what="status", status=429, headers=hint)
    rig = Rig(tmp_path, faults=[busy])
    begun = rig.now()

    rig.run(make_jobs(1))

    assert (rig.now() - begun).total_seconds() < 3600
    assert len(rig.world.books.posts) == 2


# -- estimates -------------------------------------------------------------------------------------


def test_an_estimate_that_was_a_slip_tells_nothing_about_those_of_today(tmp_path: Path) -> None:
    """A `price:` a hundred times too low, put right since: the render was not too dear."""
    rig = Rig(tmp_path, ample())
    cap = Cap(limit=MicroUSD(40_000_000), name="max_cost")
    rig.run([make_job("slip", estimate=4_200)], caps=(cap,), cost_of=cost_of)
    jobs = [make_job("slip"), *make_jobs(10)]

    run_result = rig.run(jobs, caps=(cap,), cost_of=cost_of)

    assert not run_result.stops
    assert rig.states(jobs) == [State.SUCCEEDED] * 11


def test_a_price_that_is_known_to_be_another_is_told_where_it_meets_the_cap(tmp_path: Path) -> None:
    rig = Rig(tmp_path, ample())
    jobs = make_jobs(3)
    rig.run(jobs[:1], cost_of=lambda _e, _u: MicroUSD(840_000))

    run_result = rig.run(jobs, caps=(Cap(limit=MicroUSD(1_000_000)),), cost_of=cost_of)

    assert "have cost 2.0 times their estimate" in run_result.stops[0].reason
    assert len(rig.world.books.posts) == 1


def test_tries_are_counted_over_a_pause_that_nobody_lived_through(tmp_path: Path) -> None:
    """`attempts: 2`: no trace, then a 429, Ctrl-C in its pause, and the next run."""
    lost = [Fault(stage="submit.before", what="reset", nth=n) for n in (1, 3, 4, 5)]
    busy = Fault(
        stage="submit.before", what="status", status=429, headers={"Retry-After": "600"}, nth=2
    )
    rig = Rig(tmp_path, faults=[*lost, busy])
    jobs = make_jobs(1)

    async def leave(engine: Any) -> None:
        while "throttled" not in rig.kinds():  # noqa: ASYNC110 - nobody tells when
            await anyio.sleep(1)
        engine.leave(ExitCode.INTERRUPTED, "stop")

    for stop in (leave, None):
        rig.run(jobs, stop=stop, on_doubt="resubmit", doubt_wait=20.0, attempts=2)

    with rig.ledger() as ledger:
        kinds = [a.failure.kind for a in ledger.attempts_of(jobs[0].key) if a.failure]
    assert kinds.count(FailureKind.NO_TRACE) == 2


# -- a disk that refuses twice ---------------------------------------------------------------------


def test_a_ledger_that_is_full_behind_a_name_that_is_refused_stops_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    first = make_job("first")
    rig.run([first])
    names = [first._replace(id=name, path=f"test/{name}{{output}}{{ext}}") for name in ("b", "c")]
    (tmp_path / "test/b.mp4").mkdir()

    def full(*_: object) -> None:
        raise LedgerError("database or disk is full")

    monkeypatch.setattr(Ledger, "place", full)

    run_result = rig.run(names)

    assert run_result.stopped_by() == (ExitCode.LEDGER,)
