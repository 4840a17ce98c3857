"""The emulator on real sockets: broken connections, downloads, signals, TLS, fal's own client."""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import fal_client
import fal_client.client
import httpx
import pytest
import trustme

from kling_batch.emulator import EmulatorError, Fault, Settings, World
from kling_batch.emulator.server import running, serve

T2V = "fal-ai/kling-video/o3/standard/text-to-video"


SETTINGS = Settings(profile="instant", start_latency=0.0, media="template")


@pytest.fixture(scope="module")
def server():
    """One server for the whole file: each test gets a world as good as new."""
    world = World()
    with running(world) as url:
        yield world, url


@pytest.fixture
def world(server):
    server[0].reset()
    server[0].change_settings(SETTINGS.as_dict())
    return server[0]


@pytest.fixture
def base(server, world):
    return server[1]


@pytest.fixture
def port(base):
    """A client that finds fal's hosts on the port."""

    def reroute(request):
        if request.url.host != "127.0.0.1":
            request.url = httpx.URL(f"{base}/{request.url.host}{request.url.raw_path.decode()}")
            request.headers["host"] = base.removeprefix("http://")

    with httpx.Client(
        headers={"Authorization": "Key k"}, event_hooks={"request": [reroute]}
    ) as client:
        yield client


def submit(port, prompt="a fox"):
    return port.post(f"https://queue.fal.run/{T2V}", json={"prompt": prompt})


def video(port):
    return port.get(submit(port).json()["response_url"]).json()["video"]


class TestTheWire:
    def test_a_render_from_submission_to_file(self, port):
        described = video(port)
        whole = port.get(described["url"])
        part = port.get(described["url"], headers={"Range": "bytes=1000-"})

        assert len(whole.content) == described["file_size"]
        assert (part.status_code, part.content) == (206, whole.content[1000:])
        assert whole.headers["content-length"] == str(described["file_size"])

    @pytest.mark.parametrize("stage", ["submit.before", "submit.after"])
    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ({"what": "reset"}, httpx.ReadError),
            ({"what": "close"}, httpx.RemoteProtocolError),
            ({"what": "hang", "seconds": 0.05}, httpx.ReadError),
            ({"what": "truncated"}, httpx.RemoteProtocolError),
        ],
    )
    def test_broken_connections(self, port, world, stage, fault, error):
        world.faults.add(Fault(stage=stage, nth=1, **fault))
        with pytest.raises(error):
            submit(port)

        assert len(world.books.accepted) == (stage == "submit.after")
        assert submit(port).status_code == 200

    def test_a_hanging_answer_meets_the_clients_patience(self, port, world):
        world.faults.add(Fault(stage="submit.after", what="hang", nth=1))
        with pytest.raises(httpx.ReadTimeout):
            port.post(f"https://queue.fal.run/{T2V}", json={"prompt": "x"}, timeout=0.1)

        assert len(world.books.accepted) == 1
        assert submit(port).status_code == 200

    def test_a_truncated_file_announces_what_it_does_not_send(self, port, world):
        described = video(port)
        world.faults.add(Fault(stage="download", what="truncated", nth=1))
        got = bytearray()

        def read(answer):
            for chunk in answer.iter_bytes():
                got.extend(chunk)

        with port.stream("GET", described["url"]) as answer:
            assert int(answer.headers["content-length"]) == described["file_size"]
            with pytest.raises(httpx.RemoteProtocolError):
                read(answer)

        assert len(got) == described["file_size"] // 2

        rest = port.get(described["url"], headers={"Range": f"bytes={len(got)}-"})

        assert (
            hashlib.sha256(got + rest.content).digest()
            == hashlib.sha256(port.get(described["url"]).content).digest()
        )

    def test_the_stream_arrives_while_the_render_runs(self, port, world):
        """Each step is taken only when the state before it has arrived."""
        world.change_settings({"concurrency": 0, "stream_interval": 0.01})
        world.change_settings({"service_times": {"standard": 3600.0}})
        status_url = submit(port).json()["status_url"]
        arrived = []
        with port.stream("GET", f"{status_url}/stream") as answer:
            for line in filter(None, answer.iter_lines()):
                state = line.split('"')[3]
                if state == "IN_QUEUE" and state not in arrived:
                    world.change_settings({"concurrency": 4})
                if state == "IN_PROGRESS" and state not in arrived:
                    world.complete_now()
                arrived.append(state)

        assert list(dict.fromkeys(arrived)) == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]

    def test_a_stream_whose_reader_has_gone_ends(self, port, world, monkeypatch):
        world.change_settings({"concurrency": 0, "stream_interval": 0.01})
        status_url = submit(port).json()["status_url"]
        with port.stream("GET", f"{status_url}/stream") as answer:
            next(answer.iter_lines())
        asked = []
        catch_up = world.catch_up
        monkeypatch.setattr(world, "catch_up", lambda: asked.append(catch_up()))
        time.sleep(0.1)
        asked.clear()
        time.sleep(0.1)

        assert asked == []

    def test_no_answer_waits_for_a_delayed_acknowledgement(self, port, world, monkeypatch):
        """Nagle's algorithm would hold each one back for 40 ms."""
        options = []
        without_delay = asyncio.base_events._set_nodelay

        def noted(connection):
            without_delay(connection)
            options.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        monkeypatch.setattr(asyncio.base_events, "_set_nodelay", noted)
        submit(port)

        assert len(options) == 1
        assert options[0] != 0

    def test_it_stops_at_once_even_with_a_hanging_call(self, world):
        world.faults.add(Fault(stage="submit.after", what="hang"))
        with contextlib.ExitStack() as stack, httpx.Client(timeout=100) as client:
            url = stack.enter_context(running(world))
            caught = []

            def hang():
                try:
                    client.post(
                        f"{url}/queue.fal.run/{T2V}",
                        json={"prompt": "x"},
                        headers={"Authorization": "Key k"},
                    )
                except httpx.TransportError as error:
                    caught.append(error)

            thread = threading.Thread(target=hang)
            thread.start()
            while not world.books.accepted:
                time.sleep(0.005)
            stack.close()
            thread.join(50)

            # Cut off by the server's end, and not by the client's patience.
            assert len(caught) == 1
            assert not isinstance(caught[0], httpx.TimeoutException)

    def test_books_can_be_read_while_it_answers(self, port, world):
        stop = threading.Event()
        problems = []

        def read():
            while not stop.is_set():
                try:
                    world.books.charges()
                    time.sleep(0.001)
                except Exception as error:  # noqa: BLE001
                    problems.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        for n in range(50):
            submit(port, str(n))
        stop.set()
        thread.join()

        assert problems == []
        assert len(world.books.charges()) == 50


class TestFalsOwnClient:
    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"

    @pytest.fixture
    async def client(self, base, monkeypatch):
        """fal_client.AsyncClient, all of whose calls go to the port."""
        opened = []

        class Rerouted(httpx.AsyncClient):
            def __init__(self, **options):
                super().__init__(**options)
                opened.append(self)

            def build_request(self, method, url, **options):
                url = httpx.URL(url)
                if url.host != "127.0.0.1":
                    url = f"{base}/{url.host}{url.raw_path.decode()}"
                return super().build_request(method, url, **options)

        monkeypatch.setattr(fal_client.client.httpx, "AsyncClient", Rerouted)
        yield fal_client.AsyncClient(key="k")
        for each in opened:  # it has no way to close what it opens
            await each.aclose()

    @pytest.mark.anyio
    async def test_submit_status_result(self, client, world):
        handle = await client.submit(T2V, {"prompt": "a fox"})
        status = await handle.status(with_logs=True)
        result = await handle.get()

        assert isinstance(status, fal_client.Completed)
        assert status.logs[0]["message"] == "Render started"
        assert result["video"]["content_type"] == "video/mp4"
        assert await client.get_handle(T2V, handle.request_id) == handle
        assert world.books.charges() == {world.hash_of(T2V, {"prompt": "a fox"}): 1}

    @pytest.mark.anyio
    async def test_waiting_and_cancelling(self, client, world):
        world.change_settings({"concurrency": 0})
        handle = await client.submit(T2V, {"prompt": "a fox"})

        assert await handle.status() == fal_client.Queued(position=0)

        await handle.cancel()
        status = await handle.status()

        assert status.error_type == "client_cancelled"
        with pytest.raises(fal_client.FalClientHTTPError) as caught:
            await handle.get()
        assert caught.value.status_code == 499

    @pytest.mark.anyio
    async def test_validation_errors_arrive_with_the_result(self, client):
        with pytest.raises(fal_client.FalClientHTTPError) as caught:
            await client.subscribe(T2V, {"prompt": "a fox", "duration": 5})

        assert caught.value.status_code == 422
        assert caught.value.message[0]["loc"] == ["body", "duration"]

    @pytest.mark.anyio
    async def test_its_own_submit_pays_ten_times_for_lost_answers(self, client, world, monkeypatch):
        """The reason why the paid POST may not be left to it."""
        monkeypatch.setattr(fal_client.client, "_get_retry_delay", lambda *_args, **_kw: 0)
        world.faults.add(Fault(stage="submit.after", what="reset"))
        with pytest.raises(httpx.ReadError):
            await client.submit(T2V, {"prompt": "a fox"})

        assert list(world.books.charges().values()) == [10]

    @pytest.mark.anyio
    @pytest.mark.parametrize("repository", ["fal_v3", "fal"])
    async def test_uploads(self, client, base, world, monkeypatch, repository):
        monkeypatch.setattr(fal_client.client, "CDN_URL", f"{base}/v3.fal.media")
        monkeypatch.setattr(fal_client.client, "REST_URL", f"{base}/rest.fal.ai")
        data = os.urandom(50_000)
        url = await client.upload(data, "image/png", "a.png", repository=repository)
        file = world.files.find(url, world.now())

        assert (file.data, file.content_type) == (data, "image/png")
        assert world.books.uploads == {hashlib.sha256(data).hexdigest(): 1}

    @pytest.mark.anyio
    async def test_uploads_in_parts(self, client, world, monkeypatch, tmp_path):
        monkeypatch.setattr(fal_client.client, "MULTIPART_THRESHOLD", 1000)
        monkeypatch.setattr(fal_client.client, "MULTIPART_CHUNK_SIZE", 1024)
        data = os.urandom(10_500)
        path = tmp_path / "clip.mp4"
        path.write_bytes(data)
        urls = [await client.upload(data, "video/mp4"), await client.upload_file(path)]

        for url in urls:
            assert world.files.find(url, world.now()).data == data
        assert world.books.uploads == {hashlib.sha256(data).hexdigest(): 2}

    @pytest.mark.anyio
    async def test_an_upload_that_fails_falls_back_to_the_older_way(self, client, world):
        world.faults.add(Fault(stage="upload", what="status", status=400, nth=2))
        url = await client.upload(b"data", "image/png")

        assert world.files.find(url, world.now()).data == b"data"


class TestForeground:
    def test_an_occupied_port_is_reported_in_a_message(self, base, world):
        number = int(base.rsplit(":", 1)[1])

        with pytest.raises(EmulatorError, match=f"cannot listen on 127.0.0.1:{number}: "):
            serve(world, port=number)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_says_where_it_is_and_leaves_quietly(self, number):
        code = (
            "from kling_batch.emulator import World\n"
            "from kling_batch.emulator.server import serve\n"
            "serve(World(), port=0)\n"
            "print('left')\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            line = child.stderr.readline()
            url = line.split()[3]
            assert httpx.get(f"{url}/_emulator/").json()["emulator"] == "fal.ai"
            child.send_signal(number)
            out, err = child.communicate(timeout=10)

        assert (child.returncode, out, err) == (0, "left\n", "")

    def test_it_speaks_tls(self, tmp_path):
        authority = trustme.CA()
        certificate = authority.issue_cert("queue.fal.run", "127.0.0.1")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(tmp_path / "cert.pem", append=True)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        code = (
            "import sys\n"
            "from kling_batch.emulator import Fault, World\n"
            "from kling_batch.emulator.server import serve\n"
            "world = World()\n"
            "world.faults.add(Fault(stage='submit.after', what='reset', nth=1))\n"
            "serve(world, port=0, certfile=sys.argv[1], keyfile=sys.argv[2])\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "cert.pem", tmp_path / "key.pem"],
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            url = child.stderr.readline().split()[3]
            headers = {"Host": "queue.fal.run", "Authorization": "Key k"}
            with httpx.Client(verify=context, headers=headers) as client:
                with pytest.raises(httpx.TransportError):
                    client.post(f"{url}/{T2V}", json={"prompt": "x"})
                answer = client.post(f"{url}/{T2V}", json={"prompt": "x"})
            child.terminate()
            _, err = child.communicate(timeout=10)

        assert url.startswith("https://127.0.0.1:")
        assert (answer.status_code, err) == (200, "")


def test_two_worlds_run_side_by_side():
    first, second = World(), World()
    with running(first) as one, running(second) as two:
        assert one != two
        httpx.post(f"{one}/queue.fal.run/{T2V}", json={}, headers={"Authorization": "Key k"})

    assert (len(first.books.posts), len(second.books.posts)) == (1, 0)


def test_a_stopped_emulator_listens_no_more():
    with running(World()) as url:
        httpx.get(f"{url}/_emulator/")

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1]))) != 0
