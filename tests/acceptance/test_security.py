"""What a manifest, a server or a neighbour may try: nothing leaves the folder, the key goes to fal.

The program; the network is a stand-in that writes down who was shown what.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import stat
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvicorn
from support.cli import run_command
from support.process import FAL_HOSTS, connect_proxy, environment, run, start

from kling_batch.emulator import Settings, World, create_app

KEY = "key-id-5e1f:secret-9d0c2b7a"
SECRETS = ("key-id-5e1f", "secret-9d0c2b7a")
EVIL = "evil.example"
#: Hosts of fal that are shown the key; the files' hosts are not among them.
OWN = {"queue.fal.run", "api.fal.ai", "rest.fal.ai"}

MANIFEST = """\
version: 1
name: safe
defaults: {mode: text-to-image}
jobs:
"""


def write(folder: Path, jobs: str, head: str = MANIFEST, name: str = "safe.yaml") -> Path:
    path = folder / name
    path.write_text(head + jobs, encoding="utf-8")
    return path


def refused(folder: Path, *manifests: Path) -> str:
    """Run them: exit 2 with a message, and nothing new anywhere."""
    before = everything(folder)
    done = run_command("run", *manifests, "--emulator", cwd=folder)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert everything(folder) == before
    return done.stderr


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


# -- names -------------------------------------------------------------------------------------

BAD_IDS = (
    "../../x", "/etc/x", "a/b", "..", ".", "", "a.", "a:b", "a\\\\b", "a\\u0000b", "a\\nb",
    "x" * 200, "a|b", "{job}", "con", "AUX", "lpt1.tar",
)  # fmt: skip
BAD_PATHS = (
    "../{job}{ext}", "/tmp/{job}{ext}", "a/../../{job}{ext}", "~/{job}{ext}", "C:/{job}{ext}",
    "a//{job}{ext}", "{job}/../../../x{ext}", "a\\..\\{job}{ext}", "con/{job}{ext}",
)  # fmt: skip


def test_no_id_leaves_the_folder(tmp_path: Path) -> None:
    rows = [f'  - {{id: "{each}", prompt: x}}\n' for each in BAD_IDS]

    told = refused(tmp_path, write(tmp_path, "".join(rows)))

    for number, each in enumerate(BAD_IDS, start=5):
        assert f"safe.yaml:{number}:" in told, each


def test_no_path_leaves_the_folder(tmp_path: Path) -> None:
    job = "  - {id: a, prompt: x}\n"
    manifests = [
        write(
            tmp_path,
            job,
            f"name: n{n}\npath: '{path}'\n" + MANIFEST.replace("name: safe\n", ""),
            f"{n}.yaml",
        )
        for n, path in enumerate(BAD_PATHS)
    ]

    told = refused(tmp_path, *manifests)

    for manifest in manifests:
        assert f"{manifest}:" in told


def test_no_row_leaves_the_folder(tmp_path: Path) -> None:
    folders = ("../../..", "/tmp/zz", "a/../..", "", "nul", "a\0b", "..")
    rows = "".join(f"job-{n},{folder}\n" for n, folder in enumerate(folders))
    (tmp_path / "rows.csv").write_text("i,x\n" + rows)
    head = MANIFEST.replace("name: safe\n", "name: safe\npath: '{x}/{job}{ext}'\n")
    from_rows = "  - {from: rows.csv, id: '{{ i }}', prompt: y}\n"

    told = refused(tmp_path, write(tmp_path, from_rows, head))

    for line in range(2, 2 + len(folders)):
        assert f"rows.csv:{line}:" in told


def test_names_that_are_one_to_some_file_system_collide(tmp_path: Path) -> None:
    duplicates = [("A", "a"), ("e\u0301", "\u00e9"), ("Stra\u00dfe", "STRASSE")]
    rows = [
        f'  - {{id: "{name}", prompt: {n}}}\n' for n, pair in enumerate(duplicates) for name in pair
    ]

    told = refused(tmp_path, write(tmp_path, "".join(rows)))

    for line in (6, 8, 10):
        assert f"safe.yaml:{line}:" in told
    assert told.count("would land in the same file") == 3


def test_links_in_the_output_folder_lead_nowhere(tmp_path: Path) -> None:
    """A folder that leads out is refused; a link in place of a file is replaced, not followed."""
    folder, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.png").write_bytes(b"mine")
    pictures = folder / "outputs/safe/text-to-image"
    pictures.mkdir(parents=True)
    for name in ("a.png", "a.png.json"):
        (pictures / name).symlink_to(elsewhere / "mine.png")
    write(folder, "  - {id: a, prompt: x}\n")

    done = run("run", "safe.yaml", "--emulator", "-o", "outputs", cwd=folder)

    assert done.returncode == 0, done.stderr
    assert everything(elsewhere) == {"mine.png": b"mine"}
    assert (pictures / "a.png").read_bytes().startswith(b"\x89PNG")
    assert not (pictures / "a.png").is_symlink()

    (folder / "outputs/safe").rename(elsewhere / "safe")
    (folder / "outputs/safe").symlink_to(elsewhere / "safe")
    before = everything(elsewhere)
    write(folder, "  - {id: b, prompt: y}\n")

    done = run("run", "safe.yaml", "--emulator", "-o", "outputs", cwd=folder)

    assert done.returncode == 2, done.stderr
    assert "leads out of the output folder" in done.stderr
    assert everything(elsewhere) == before


# -- files that are attacks ----------------------------------------------------------------------


def bomb() -> str:
    lines = ["  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)]
    return "version: 1\nvars:\n" + "".join(lines) + "jobs: [{id: a, prompt: x}]\n"


def merges() -> str:
    lines = ["  a0: &a0 {k: x}\n"]
    lines += [f"  a{n}: &a{n} {{<<: *a{n - 1}, z{n}: *a{n - 1}}}\n" for n in range(1, 40)]
    return "version: 1\nvars:\n" + "".join(lines) + "jobs: [{id: a, prompt: x}]\n"


#: Made when its test runs: together they are hundreds of megabytes.
BOMBS: dict[str, tuple[str, Callable[[], str]]] = {
    "aliases": ("m.yaml", bomb),
    "merges": ("m.yaml", merges),
    "deep lists": ("m.yaml", lambda: "jobs: " + "[" * 100_000),
    "deep maps": ("m.yaml", lambda: "jobs: " + "{a: " * 100_000),
    "deep blocks": ("m.yaml", lambda: "".join(" " * n + "a:\n" for n in range(3000))),
    "deep JSON": ("m.jsonl", lambda: '{"a":' * 100_000 + "1" + "}" * 100_000 + "\n"),
    "long text": (
        "m.yaml",
        lambda: MANIFEST + "  - {id: a, prompt: '" + "x" * 50_000_000 + "'}\n",
    ),
    "long comment": ("m.yaml", lambda: "#" * 70_000_000),
    "long cell": ("m.csv", lambda: "id,prompt\na," + "x" * 50_000_000 + "\n"),
    "open quote": ("m.csv", lambda: 'id,prompt\na,"' + "x\n" * 25_000_000),
    "zeros": ("m.yaml", lambda: "\0" * 50_000_000),
}


@pytest.mark.parametrize("which", BOMBS)
def test_bombs_giants_and_depths_are_refused_quickly(tmp_path: Path, which: str) -> None:
    name, content = BOMBS[which]
    (tmp_path / name).write_text(content())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    done = run("run", name, "--emulator", cwd=tmp_path)

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 2000
    # Of the processor's time: the machine may be busy.
    assert after.ru_utime - before.ru_utime < 2


BAD_TEMPLATES = (
    "{{ ''.__class__.__mro__ }}",
    "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "{{ 'x'|attr('__class__') }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{% include '/etc/hostname' %}",
    "{% import '/etc/hostname' as it %}",
    "{% for n in range(10**9) %}{% endfor %}",
    "{{ range(10**9)|list }}",
    "{{ 'a' * 10**10 }}",
    "{{ 9**9**9 }}",
    "{{ [1] * 10**8 }}",
)


def test_templates_reach_nothing_and_end(tmp_path: Path) -> None:
    rows = [f"  - {{id: t{n}, prompt: {json.dumps(t)}}}\n" for n, t in enumerate(BAD_TEMPLATES)]
    before = resource.getrusage(resource.RUSAGE_SELF)

    told = refused(tmp_path, write(tmp_path, "".join(rows)))

    after = resource.getrusage(resource.RUSAGE_SELF)
    for line in range(5, 5 + len(BAD_TEMPLATES)):
        assert f"safe.yaml:{line}:" in told
    assert after.ru_utime - before.ru_utime < 2


# -- the key -------------------------------------------------------------------------------------

Message = MutableMapping[str, Any]
Answer = tuple[int, dict[str, str], bytes]
Twist = Callable[[str, str, str, Answer], Answer]


@dataclass
class Spy:
    """Stands before the emulator: writes down who was shown what, and may twist the answers."""

    world: World
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    twist: Twist = field(default=lambda _host, _method, _path, answer: answer)
    env: dict[str, str] = field(default_factory=dict)

    def shown(self, host: str) -> list[str]:
        return [auth for name, _, auth in self.seen if name == host]

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        host, path = headers["host"], scope["path"]
        self.seen.append((host, path, headers.get("authorization", "")))
        answer: Answer = (404, {}, b"")
        if host in FAL_HOSTS:
            answer = await self._ask(scope, receive)
        status, told, body = self.twist(host, scope["method"], path, answer)
        told = told | {"content-length": str(len(body))}
        pairs = [(name.encode(), value.encode()) for name, value in told.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})

    async def _ask(self, scope: Message, receive: Callable[[], Awaitable[Message]]) -> Answer:
        start: Message = {}
        body = bytearray()

        async def keep(message: Message) -> None:
            start.update(message if message["type"] == "http.response.start" else {})
            body.extend(message.get("body", b""))

        await create_app(self.world)(scope, receive, keep)
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], headers, bytes(body)


@pytest.fixture
def spy(tmp_path: Path) -> Iterator[Spy]:
    """A network in which fal is the emulator and every other host is the spy itself, over TLS."""
    authority = trustme.CA()
    certificate = authority.issue_cert(*FAL_HOSTS, EVIL, f"queue.fal.run.{EVIL}")
    secrets = tmp_path / "tls"
    secrets.mkdir()
    authority.cert_pem.write_to_path(str(secrets / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(secrets / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(secrets / "key.pem"))
    spy = Spy(World(Settings(profile="instant", media="template", concurrency=8)))
    config = uvicorn.Config(
        spy,
        lifespan="off",
        log_config=None,
        log_level="critical",
        ssl_certfile=secrets / "cert.pem",
        ssl_keyfile=secrets / "key.pem",
    )
    with listening() as taken, connect_proxy(taken.getsockname()[1]) as proxy:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        spy.env = environment(
            FAL_KEY=KEY,
            SSL_CERT_FILE=str(secrets / "ca.pem"),
            HTTPS_PROXY=f"http://127.0.0.1:{proxy}",
        )
        yield spy
        server.should_exit = True
        thread.join(5)


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken


def nothing_is_told(folder: Path, done: subprocess.CompletedProcess[str], *words: str) -> None:
    """None of the words stands in anything that was said or written."""
    for word in words:
        assert word not in done.stdout + done.stderr
        for name, content in everything(folder).items():
            assert word.encode() not in (content or b""), name


def only_fal_saw_the_key(spy: Spy) -> None:
    shown = {host for host, _, auth in spy.seen if any(secret in auth for secret in SECRETS)}
    assert shown
    assert shown <= OWN


TWO_STEPS = """\
  - {id: still, prompt: a still}
  - {id: moving, mode: image-to-video, tier: standard, image_url: photo.png, prompt: it moves}
  - {id: wrong, prompt: "[forbidden] words"}
"""


def test_the_key_is_shown_to_fal_alone_and_written_nowhere(tmp_path: Path, spy: Spy) -> None:
    from PIL import Image

    folder = tmp_path / "here"
    folder.mkdir()
    Image.new("RGB", (640, 640)).save(folder / "photo.png")
    write(folder, TWO_STEPS)
    old = os.umask(0)
    try:
        program = start(
            *("run", "safe.yaml", "--yes", "--json", "--junit", "j.xml", "--summary", "s.md"),
            cwd=folder,
            env=spy.env | {"GITHUB_ACTIONS": "true"},
        )
    finally:
        os.umask(old)
    while not spy.seen:
        assert program.poll() is None
    typed = Path(f"/proc/{program.pid}/cmdline")
    line = typed.read_text() if typed.exists() else ""
    out, err = program.communicate(timeout=60)

    done = subprocess.CompletedProcess([], program.returncode, out, err)
    assert program.returncode == 0, err
    assert spy.shown("v3b.fal.media")
    assert spy.shown("v3.fal.media")
    only_fal_saw_the_key(spy)
    nothing_is_told(folder, done, *SECRETS)
    assert not any(secret in line for secret in SECRETS)
    assert (folder / "j.xml").stat().st_size > 0
    assert (folder / "s.md").stat().st_size > 0
    for name in ("ledger.db", "ledger.db.lock"):
        assert stat.S_IMODE((folder / "outputs" / name).stat().st_mode) == 0o600


def test_an_exception_that_nobody_foresaw_does_not_tell_the_key(tmp_path: Path, spy: Spy) -> None:
    folder, broken = tmp_path / "here", tmp_path / "broken"
    folder.mkdir()
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import kling_batch.engine.polling as broken\n"
        "async def collect(self, attempt_id, label):\n"
        "    api = self._context.queue._api\n"
        "    raise RuntimeError('nobody foresaw this', vars(api), api.headers)\n"
        "broken.Poller.collect = collect\n"
    )
    write(folder, "  - {id: a, prompt: x}\n")

    done = run("run", "safe.yaml", "--yes", cwd=folder, env=spy.env | {"PYTHONPATH": str(broken)})

    assert done.returncode == 1
    assert "nobody foresaw this" in done.stderr
    nothing_is_told(folder, done, *SECRETS)


HOSTILE = (
    f"https://{EVIL}/",
    f"https://queue.fal.run.{EVIL}/",
    f"https://queue.fal.run@{EVIL}/",
    f"https://{EVIL}/https://queue.fal.run/",
    f"https://{EVIL}#queue.fal.run/",
    f"https://{EVIL}?queue.fal.run/",
    f"https://user:pass@{EVIL}/",
    "http://queue.fal.run/",
    "//queue.fal.run/",
    "file:///etc/hostname?",
)


def test_addresses_of_strangers_in_an_answer_are_not_followed(tmp_path: Path, spy: Spy) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    rows = [f"  - {{id: j{n}, prompt: 'number {n}'}}\n" for n in range(len(HOSTILE))]
    write(folder, "".join(rows))
    left = list(HOSTILE)

    def twist(host: str, method: str, path: str, answer: Answer) -> Answer:
        if method != "POST" or host != "queue.fal.run":
            return answer
        told, base = json.loads(answer[2]), left.pop()
        names = ("status_url", "response_url", "cancel_url")
        told |= {name: base + told[name].removeprefix("https://queue.fal.run/") for name in names}
        return answer[0], answer[1], json.dumps(told).encode()

    spy.twist = twist
    done = run("run", "safe.yaml", "--yes", "--rate", "50/s", cwd=folder, env=spy.env)

    assert done.returncode == 0, done.stderr
    assert left == []
    assert {host for host, _, _ in spy.seen} <= set(FAL_HOSTS)
    only_fal_saw_the_key(spy)


@pytest.mark.parametrize("code", [301, 307])
def test_reads_that_are_sent_to_strangers_do_not_go(tmp_path: Path, spy: Spy, code: int) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    write(folder, "  - {id: a, prompt: x}\n")
    sent_away: set[str] = set()

    def twist(host: str, method: str, path: str, answer: Answer) -> Answer:
        kind = path.rpartition("/")[2] == "status"
        if method == "GET" and host == "queue.fal.run" and path not in sent_away:
            sent_away.add(path)
            return code, {"location": f"https://{EVIL}/{kind}"}, b""
        return answer

    spy.twist = twist
    done = run("run", "safe.yaml", "--yes", cwd=folder, env=spy.env)

    assert done.returncode == 0, done.stderr
    assert len(sent_away) == 2
    assert EVIL not in {host for host, _, _ in spy.seen}
    only_fal_saw_the_key(spy)


def test_a_file_elsewhere_is_fetched_without_key_and_its_signature_is_not_reported(
    tmp_path: Path, spy: Spy
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    write(folder, "  - {id: a, prompt: x}\n")
    signed = f"https://{EVIL}/../../evil.sh?signature=not-for-everybody"
    picture: list[bytes] = []

    def twist(host: str, method: str, path: str, answer: Answer) -> Answer:
        if host == EVIL:
            return 200, {"content-type": "image/png"}, picture[0]
        if method == "GET" and host == "queue.fal.run" and not path.endswith("status"):
            told = json.loads(answer[2])
            (file,) = spy.world.files._files.values()
            picture.append(spy.world.files.data(file))
            told["images"][0] |= {"url": signed, "file_name": "../../../evil.sh"}
            return answer[0], answer[1], json.dumps(told).encode()
        return answer

    spy.twist = twist
    words = ("run", "safe.yaml", "--yes", "--json", "--junit", "j.xml", "--summary", "s.md")
    done = run(*words, cwd=folder, env=spy.env)

    assert done.returncode == 0, done.stderr
    assert set(spy.shown(EVIL)) == {""}
    (found,) = folder.rglob("*.png")
    assert found.relative_to(folder).as_posix() == "outputs/safe/text-to-image/a.png"
    assert not list(tmp_path.rglob("evil*"))
    assert "not-for-everybody" not in done.stdout + done.stderr
    for name, content in everything(folder).items():
        if "ledger.db" not in name:
            assert b"not-for-everybody" not in (content or b""), name


def test_a_download_that_is_sent_to_plain_http_does_not_go(tmp_path: Path, spy: Spy) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    write(folder, "  - {id: a, prompt: x}\n")
    with listening() as plain:
        plain.setblocking(False)
        address = f"http://127.0.0.1:{plain.getsockname()[1]}/a.png"

        def twist(host: str, method: str, path: str, answer: Answer) -> Answer:
            return (302, {"location": address}, b"") if host == "v3b.fal.media" else answer

        spy.twist = twist
        words = ("run", "safe.yaml", "--yes")
        done = run(*words, "--timeout", "3s", cwd=folder, env=spy.env)

        assert done.returncode in (1, 6), done.stderr
        with pytest.raises(BlockingIOError):
            plain.accept()
    assert not list(folder.rglob("*.png"))

    spy.twist = lambda _host, _method, _path, answer: answer
    done = run(*words, cwd=folder, env=spy.env)

    assert done.returncode == 0, done.stderr
    assert list(spy.world.books.charges().values()) == [1]
