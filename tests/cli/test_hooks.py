"""Hooks and notifications: beside a run, never in its way, and without its key."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree as ET

import anyio
import pytest
from support.cli import HERO, OTHER, POLICY, Workspace, run_command
from support.process import environment, start
from support.survivors import runs, survivors

from kling_batch.core.jobs import Batch
from kling_batch.core.jobs import Hooks as BatchHooks
from kling_batch.ledger.reader import Reader
from kling_batch.manifest.frame import read_valid
from kling_batch.manifest.schema import schema
from kling_batch.operations.hooks import Hooks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the hooks are shell scripts")

HEAD = "name: trial\ndefaults: {mode: text-to-image}\n"


def put(workspace: Workspace, *jobs: str, **keys: Any) -> None:
    top = "".join(f"{name}: {json.dumps(value)}\n" for name, value in keys.items())
    workspace.put(HEAD + top + "jobs:\n" + "".join(jobs))


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def written(workspace: Workspace, name: str) -> list[Any]:
    return [json.loads(line) for line in (workspace.folder / name).read_text().splitlines()]


def test_each_saved_job_and_the_end_start_a_command(workspace: Workspace) -> None:
    hooks = {"on_saved": shell("cat >> saved"), "on_finished": shell("cat >> finished")}
    put(workspace, HERO, OTHER, hooks=hooks)

    workspace.run()

    saved = written(workspace, "saved")
    assert sorted(each["job"] for each in saved) == ["hero", "other"]
    assert all((workspace.folder / each["data"]["files"][0]).is_file() for each in saved)
    (finished,) = written(workspace, "finished")
    assert (finished["event"], finished["exit_code"], finished["counts"]) == (
        "report",
        0,
        {"succeeded": 2},
    )


def test_a_hook_does_not_inherit_the_key(workspace: Workspace) -> None:
    put(workspace, HERO, hooks={"on_saved": shell("env > env"), "on_finished": shell("env > env2")})
    secrets = {"FAL_KEY": "an-id:a-secret", "KLING_BATCH_NOTIFY": "", "MINE": "yes"}

    done = run_command(
        *("run", workspace.file, "--emulator-url", workspace.url),
        cwd=workspace.folder,
        env={**environment(), **secrets},
    )

    assert done.returncode == 0, done.stderr
    for name in ("env", "env2"):
        inherited = (workspace.folder / name).read_text()
        assert "MINE=yes" in inherited
        assert "FAL_KEY" not in inherited
        assert "a-secret" not in inherited


def test_the_environment_can_leave_the_hooks_of_a_manifest_out(workspace: Workspace) -> None:
    hooks = {"on_saved": shell("cat >> saved"), "on_finished": shell("cat >> finished")}
    put(workspace, HERO, hooks=hooks, notify=["$NOWHERE"])

    for said in ("1 of 1 job done", "nothing to do"):
        done = run_command(
            *("run", workspace.file, "--emulator-url", workspace.url),
            cwd=workspace.folder,
            env={**environment(), "KLING_BATCH_HOOKS": "0"},
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
        assert "NOWHERE" not in done.stderr
        assert done.stderr.count("are left out: KLING_BATCH_HOOKS=0") == 1
    assert not (workspace.folder / "saved").exists()
    assert not (workspace.folder / "finished").exists()


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("False", 0, "are left out: KLING_BATCH_HOOKS=False"),
        ("never", 2, 'KLING_BATCH_HOOKS="never": neither no nor yes'),
    ],
)
def test_what_says_no_in_other_words_starts_nothing(
    workspace: Workspace, word: str, code: int, said: str
) -> None:
    put(workspace, HERO, hooks={"on_saved": shell("cat >> saved")})

    done = run_command(
        *("run", workspace.file, "--emulator-url", workspace.url),
        cwd=workspace.folder,
        env={**environment(), "KLING_BATCH_HOOKS": word},
    )

    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (workspace.folder / "saved").exists()
    assert len(workspace.charges()) == (code == 0)


@pytest.mark.parametrize("command", ["plan", "renditions"])
def test_every_command_wants_to_know_whether_programs_may_start(
    workspace: Workspace, command: str
) -> None:
    put(workspace, HERO)
    if command == "renditions":
        workspace.run()

    done = run_command(
        *(command, workspace.file),
        cwd=workspace.folder,
        env={**environment(), "KLING_BATCH_HOOKS": "never"},
    )

    assert done.returncode == 2
    assert "neither no nor yes" in done.stderr


def test_an_idle_run_names_no_hooks_that_it_would_not_have_started(workspace: Workspace) -> None:
    put(workspace, HERO, hooks={"on_saved": shell("cat >> saved")}, notify=["$NOWHERE"])
    workspace.run()

    done = run_command(
        *("run", workspace.file, "--emulator-url", workspace.url),
        cwd=workspace.folder,
        env={**environment(), "KLING_BATCH_HOOKS": "0"},
    )

    assert "nothing to do" in done.stderr
    assert "left out" not in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (shell("echo no room >&2; exit 3"), "on_saved `sh` ended with 3: no room"),
        (["./missing.sh"], "on_saved `./missing.sh` cannot be started: No such file"),
        (shell("exec 0<&-; exit 0"), ""),
    ],
)
def test_a_hook_that_fails_is_a_warning(
    workspace: Workspace, command: list[str], said: str
) -> None:
    put(workspace, HERO, OTHER, hooks={"on_saved": command})

    text = workspace.run()

    assert text.count("warning: on_saved") == bool(said)  # once, however many jobs
    assert said in text
    assert len(workspace.pictures()) == len(workspace.charges()) == 2


def test_what_a_hook_says_is_not_kept_on_the_disk(workspace: Workspace) -> None:
    """It may be more than the disk of the paid files has room for; its last line is told."""
    talk = "[ -p /dev/stderr ] || exit 4; head -c 3000000 /dev/zero >&2; echo >&2"
    put(workspace, HERO, hooks={"on_saved": shell(f"{talk}; echo last words >&2; exit 3")})

    assert "on_saved `sh` ended with 3: last words" in workspace.run()


def test_a_hook_that_hangs_is_ended_with_what_it_started(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kling_batch.operations.hooks.SECONDS", 0.5)
    script = "sleep 600 & echo $! >> pids; echo $$ >> pids; wait"
    put(workspace, HERO, hooks={"on_saved": shell(script), "on_finished": shell(script)})

    text = workspace.run()

    assert "on_finished `sh` took longer than" in text
    pids = (workspace.folder / "pids").read_text().split()
    assert len(pids) == 4
    assert survivors(map(int, pids)) == []


@pytest.fixture
def left(workspace: Workspace) -> Iterator[Callable[[], list[int]]]:
    """The processes that hooks have left behind, by the file `pids`."""

    def pids() -> list[int]:
        return [int(pid) for pid in (workspace.folder / "pids").read_text().split()]

    yield lambda: [pid for pid in pids() if runs(pid)]
    for pid in pids():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.acceptance
@pytest.mark.parametrize("where", ["", ">/dev/null 2>&1 </dev/null", "<&0"])
@pytest.mark.parametrize("code", [0, 3])
def test_what_a_hook_leaves_in_the_background_holds_up_nothing(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    left: Callable[[], list[int]],
    where: str,
    code: int,
) -> None:
    monkeypatch.setattr("kling_batch.operations.hooks.SECONDS", 8)
    script = f"sleep 300 {where} & echo $! >> pids; echo hi >&2; exit {code}"
    put(workspace, HERO, hooks={"on_saved": shell(script), "on_finished": shell(script)})

    text = workspace.run()

    assert text.count("warning: on_") == (2 if code else 0), text
    assert ("on_saved `sh` ended with 3: hi" in text) == bool(code)
    assert len(left()) == 2  # the same wherever its output goes


def test_a_long_record_that_nobody_reads_holds_up_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, left: Callable[[], list[int]]
) -> None:
    monkeypatch.setattr("kling_batch.operations.hooks.SECONDS", 8)
    monkeypatch.chdir(workspace.folder)
    command = ("sh", "-c", "sleep 300 <&0 & echo $! >> pids")
    batch = Batch(name="trial", source="t", jobs=(), hooks=BatchHooks(on_finished=command))
    told: list[str] = []

    anyio.run(Hooks([batch], told.append, environment()).finished, {"text": "x" * 1_000_000})

    assert told == []
    assert len(left()) == 1


def test_what_a_hook_for_the_end_says_cannot_steer_a_terminal(workspace: Workspace) -> None:
    put(
        workspace,
        HERO,
        hooks={"on_finished": shell("printf '::error::\\033[2Jgone' >&2; kill -9 $$")},
    )

    text = workspace.run()

    assert "warning: on_finished `sh` ended with -9: ::error::gone" in text
    assert "\033" not in text


STOPS = [
    (signal.SIGINT, 130),
    (signal.SIGTERM, 143),
    pytest.param(signal.SIGHUP, 130, marks=pytest.mark.acceptance),
]


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_while_the_end_is_told_ends_the_run_in_order(
    workspace: Workspace, number: signal.Signals, code: int
) -> None:
    script = "echo $$ > pid.part; mv pid.part pid; exec sleep 600"
    put(workspace, HERO, hooks={"on_finished": shell(script)})
    words = ("run", workspace.file, "--emulator-url", workspace.url, "--junit", "junit.xml")
    pid = workspace.folder / "pid"

    with start(*words, "--summary", "summary.md", cwd=workspace.folder) as program:
        wait_until(pid.exists)
        program.send_signal(number)
        _, told = program.communicate(timeout=30)

    assert program.returncode == code, told
    assert "Traceback" not in told
    assert "while hooks and notifications told of the end" in told
    assert survivors([int(pid.read_text())]) == []
    assert last_run(workspace) == code
    suites = ET.parse(workspace.folder / "junit.xml").getroot()
    assert suites.get("errors") == "1"
    assert f"exit code {code}" in (workspace.folder / "summary.md").read_text().lower()
    assert workspace.charges() == [1]


def test_ctrl_c_while_the_end_is_told_stops_the_callers_loop(workspace: Workspace) -> None:
    put(workspace, HERO, hooks={"on_finished": shell("touch told; exec sleep 600")})
    program = (
        "import signal, sys, kling_batch as k\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "options = k.Options(emulator=sys.argv[2])\n"
        "print(int(k.run(k.load(sys.argv[1]), options).exit_code))\n"
    )

    with subprocess.Popen(
        [sys.executable, "-c", program, workspace.file, workspace.url],
        cwd=workspace.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until((workspace.folder / "told").exists)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=30)

    assert said == "130\n", errors
    assert last_run(workspace) == 130


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_before_the_first_request_ends_the_run_in_order(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    put(workspace, HERO)
    workspace.run()
    monkeypatch.setattr(
        "kling_batch.operations.run.build_plan", lambda *_, **__: os.kill(os.getpid(), number)
    )

    text = workspace.run(code=code)

    assert "Traceback" not in text
    assert last_run(workspace) == code


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_after_the_last_job_is_not_lost(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    async def late(*_: object) -> None:
        os.kill(os.getpid(), number)

    put(workspace, HERO)
    monkeypatch.setattr("kling_batch.operations.drive._drain", late)

    text = workspace.run(code=code)

    assert "1 of 1 job done" in text
    assert last_run(workspace) == code
    assert workspace.charges() == [1]


def last_run(workspace: Workspace) -> int | None:
    """The exit code of the last run, as the ledger has it; None: it has not ended."""
    with Reader.open(workspace.folder / "outputs/ledger.db") as reader:
        rows = list(reader.db.query("select exit_code from runs order by id desc limit 1"))
    found: int | None = rows[0]["exit_code"]
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to that")


@pytest.mark.parametrize(
    "keys",
    [
        {"hooks": {"on_saved": "publish.sh"}},
        {"hooks": {"on_saved": []}},
        {"hooks": {"on_save": ["x"]}},
        {"hooks": ["x"]},
        {"notify": ["hunter2-secret"]},
        {"notify": {"slack": "hunter2-secret"}},
    ],
)
def test_a_wrong_hook_is_a_problem_at_its_place(workspace: Workspace, keys: dict[str, Any]) -> None:
    put(workspace, HERO, **keys)

    text = workspace.run(code=2)

    assert f"{workspace.file}:3:" in text
    assert "hunter2" not in text
    assert workspace.charges() == []


def test_both_readings_of_a_manifest_have_them() -> None:
    manifest = {
        "hooks": {"on_saved": ["a", 1], "on_finished": None},
        "notify": "$SLACK",
        "jobs": [{"id": "x"}],
    }

    read = read_valid(manifest)

    assert read is not None
    assert (read.hooks.on_saved, read.hooks.on_finished) == (("a", "1"), ())
    assert read.notify == ("$SLACK",)
    assert {"hooks", "notify"} <= schema()["properties"].keys()


# -- notifications ---------------------------------------------------------------------------------


class Receiver(BaseHTTPRequestHandler):
    """A webhook."""

    bodies: list[Any]
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Trickle(Receiver):
    """A service that sends a header now and then, so that no read of it is ever late."""

    over = threading.Event()

    def do_POST(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        (self.server.folder / "asked").touch()  # type: ignore[attr-defined]
        with suppress(OSError):
            while not self.over.wait(1):
                self.wfile.write(b"X-A: b\r\n")


@pytest.fixture
def trickle(workspace: Workspace) -> Iterator[str]:
    pytest.importorskip("apprise")
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Trickle)
    server.folder, server.daemon_threads = workspace.folder, True
    Trickle.over.clear()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"json://127.0.0.1:{server.server_port}/"
    Trickle.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


#: The program with less patience than sixty seconds.
IMPATIENT = (
    "import kling_batch.operations.notify as notify, kling_batch.__main__ as program; "
    "notify.SECONDS = float('{seconds}'); program.main()"
)


@pytest.mark.parametrize("services", [1, pytest.param(2, marks=pytest.mark.acceptance)])
@pytest.mark.parametrize(("seconds", "code"), [(4, 0), (60, 130)])
def test_a_service_that_never_ends_its_answer_keeps_no_process_alive(
    workspace: Workspace, trickle: str, seconds: float, code: int, services: int
) -> None:
    put(workspace, HERO, notify=["$HOOK"])
    script = IMPATIENT.format(seconds=seconds)

    with subprocess.Popen(
        [sys.executable, "-c", script, "run", workspace.file, "--emulator-url", workspace.url],
        cwd=workspace.folder,
        env={**environment(), "HOOK": ", ".join([trickle] * services)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        wait_until((workspace.folder / "asked").exists)
        if code:
            program.send_signal(signal.SIGINT)
        try:
            _, told = program.communicate(timeout=15)
        finally:
            program.kill()

    assert program.returncode == code
    assert ("notify: 1 of 1 addresses did not take" in told) == (not code)
    assert workspace.charges() == [1]


@pytest.fixture
def webhook() -> Iterator[Any]:
    pytest.importorskip("apprise")
    server: Any = HTTPServer(("127.0.0.1", 0), Receiver)
    server.bodies, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def notified(workspace: Workspace, webhook: Any, *words: str, **more: str) -> tuple[int, str]:
    address = f"json://user:hunter2@127.0.0.1:{webhook.server_port}/"
    done = run_command(
        *("run", workspace.file, "--emulator-url", workspace.url, *words),
        cwd=workspace.folder,
        env={**environment(), "HOOK": address, **more},
    )
    return done.returncode, done.stdout + done.stderr


def test_the_end_of_a_run_is_reported_once_with_its_summary(
    workspace: Workspace, webhook: Any
) -> None:
    put(workspace, HERO, OTHER, notify=["$HOOK"])
    workspace.world.faults.add(POLICY)

    code, _ = notified(workspace, webhook)

    assert code == 1
    (message,) = webhook.bodies
    assert "trial" in message["title"]
    assert "1 failed" in message["message"]
    assert "hero" in message["message"]


def test_a_run_that_had_nothing_to_do_is_no_message(workspace: Workspace, webhook: Any) -> None:
    put(workspace, HERO, notify=["$HOOK"])
    notified(workspace, webhook)

    notified(workspace, webhook)

    assert len(webhook.bodies) == 1


def test_a_stop_by_the_cap_is_reported(workspace: Workspace, webhook: Any) -> None:
    put(workspace, HERO, OTHER)

    code, _ = notified(workspace, webhook, "--max-cost", "0.03", KLING_BATCH_NOTIFY="$HOOK")
    assert (code, webhook.bodies) == (4, [])  # a variable is looked up in manifests only

    address = f"json://127.0.0.1:{webhook.server_port}/"
    put(workspace, HERO, OTHER, "  - {id: third, prompt: third}\n")
    code, _ = notified(workspace, webhook, "--max-cost", "0.03", KLING_BATCH_NOTIFY=address)

    assert code == 4
    (message,) = webhook.bodies
    assert "--max-cost" in message["message"]


def test_an_address_is_a_secret_and_a_refusal_a_warning(workspace: Workspace, webhook: Any) -> None:
    put(workspace, HERO, notify=["$HOOK", "nonsense://hunter2", "$UNSET"])
    webhook.status = 500

    code, text = notified(workspace, webhook)

    assert code == 0
    assert "warning: notify: $UNSET is not set" in text
    assert "warning: notify: 2 of 2 addresses did not take the message" in text
    assert "hunter2" not in text
    files = [path for path in (workspace.folder / "outputs").rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []


def test_a_missing_library_is_reported_before_and_after(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kling_batch.operations.notify.find_spec", lambda name: None)
    put(workspace, HERO, notify=["json://127.0.0.1:9"])

    text = workspace.run()

    assert text.count("pip install 'kling-batch[notify]'") == 2
    assert shlex.split("pip install 'kling-batch[notify]'")[-1] == "kling-batch[notify]"
    assert len(workspace.charges()) == 1
