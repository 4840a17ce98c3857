"""The server for assistants, asked by the protocol's client; payments on the emulator's books."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from support.cli import Workspace
from support.process import environment
from support.sockets import refused_port

from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import parse_usd
from kling_batch.emulator import Fault
from kling_batch.errors import UsageError
from kling_batch.ledger.reader import Reader
from kling_batch.mcp.allowance import Allowance
from kling_batch.mcp.program import Answer
from kling_batch.mcp.tools import Tools

mcp = pytest.importorskip("mcp")

MANIFEST = """\
version: 1
name: stills
defaults: {mode: text-to-image}
jobs:
  - {id: cat, prompt: a cat}
  - {id: dog, prompt: a dog}
"""

T = TypeVar("T")


@pytest.fixture
def folder(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose programs reach the emulator of this test as if it were fal."""
    for name, value in environment(KLING_BATCH_EMULATOR_URL=workspace.url).items():
        monkeypatch.setenv(name, value)
    (workspace.folder / "stills.yaml").write_text(MANIFEST)
    return workspace.folder


def with_client(folder: Path, use: Callable[[Any], Awaitable[T]], ceiling: str | None = None) -> T:
    from kling_batch.mcp.server import server

    async def main() -> T:
        plans = folder / ".plans"
        plans.mkdir(exist_ok=True)
        tools = Tools(folder, plans, None if ceiling is None else parse_usd(ceiling))
        async with mcp.Client(server(tools)) as client:
            return await use(client)

    return anyio.run(main)


async def call(client: Any, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise ValueError(answer.content[0].text)
    return answer.structured_content


def test_reading_validating_and_planning_pay_nothing(workspace: Workspace, folder: Path) -> None:
    async def use(client: Any) -> None:
        modes = (await call(client, "catalog"))["document"]
        assert "text-to-video" in str(modes)
        checked = await call(client, "validate", manifests=["stills.yaml"])
        assert checked["exit_code"] == 0
        planned = await call(client, "plan", manifests=["stills.yaml"])
        assert planned["document"]["counts"] == {"submit": 2}
        assert len(planned["plan"]) == 64
        assert "draft.json" not in planned["messages"]

    with_client(folder, use)

    assert workspace.charges() == []


@pytest.mark.parametrize("output", ["../elsewhere", "/tmp/elsewhere", "link/deep"])
def test_a_manifest_that_writes_outside_the_folder_is_not_run(
    workspace: Workspace, folder: Path, tmp_path_factory: pytest.TempPathFactory, output: str
) -> None:
    (folder / "link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    # What only the server's programs can load is held to it all the same.
    top = f"env: {{h: KLING_BATCH_HOOKS}}\noutput: {output}\n"
    (folder / "stills.yaml").write_text(top + MANIFEST)

    async def use(client: Any) -> None:
        for tool in ("plan", "collect"):
            told = await call(client, tool, manifests=["stills.yaml"])
            assert told["exit_code"] == 2
            assert f"the output {output} is not inside {folder}" in told["messages"]

    with_client(folder, use)

    assert workspace.prompts() == []
    assert not (folder / output).exists()


@pytest.mark.parametrize("name", ["a\0b.yaml", "a\ud800.yaml"])
def test_a_word_that_no_system_passes_on_is_refused(folder: Path, name: str) -> None:
    tools = Tools(folder, folder)

    for ask in (tools.validate([name]), tools.plan(["stills.yaml"], only=name), tools.show(name)):
        with pytest.raises(UsageError, match="holds"):
            anyio.run(partial(_awaited, ask))


def test_a_word_that_is_too_long_for_a_program_is_refused_and_counts_for_nothing(
    folder: Path,
) -> None:
    async def use(client: Any) -> None:
        plan = (await call(client, "plan", manifests=["stills.yaml"]))["plan"]
        words = {"manifests": ["stills.yaml"], "plan": plan, "max_cost": "1"}
        for _ in range(2):
            with pytest.raises(ValueError, match="cannot be started"):
                await call(client, "run", **words, only="x" * 200_000)
        with pytest.raises(ValueError, match="cannot be started"):
            await call(client, "validate", manifests=["x" * 200_000])

    with_client(folder, use, ceiling="1")


def test_links_in_a_circle_lie_nowhere(folder: Path) -> None:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    (folder / "stills.yaml").write_text(f"output: one\n{MANIFEST}")

    async def use(client: Any) -> None:
        with pytest.raises(ValueError, match="not inside"):
            await call(client, "plan", manifests=["one"])
        told = await call(client, "plan", manifests=["stills.yaml"])
        assert told["exit_code"] == 2
        assert "the output one is not inside" in told["messages"]

    with_client(folder, use)


@pytest.mark.parametrize(("length", "typed"), [("12d", "1036800s"), ("0.01ms", "0.00001s")])
def test_every_length_of_time_that_is_one_reaches_the_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch, length: str, typed: str
) -> None:
    asked: list[str] = []

    async def answer(_folder: Path, *words: str, **_more: Any) -> Answer:
        asked.append(words[words.index("--timeout") + 1])
        return Answer(code=0, values=(), messages="")

    monkeypatch.setattr("kling_batch.mcp.tools.answer_of", answer)
    tools = Tools(folder, folder)

    for tool in (tools.run, tools.collect):
        anyio.run(partial(tool, ["stills.yaml"], leave_after=length, emulator=True))

    assert asked == [typed, typed]


async def _awaited(asked: Awaitable[Any]) -> Any:
    return await asked


def test_plans_that_are_made_at_once_are_told_apart(folder: Path) -> None:
    async def use(client: Any) -> list[Any]:
        answers: list[Any] = [None, None]

        async def ask(number: int, **words: Any) -> None:
            answers[number] = await call(client, "plan", manifests=["stills.yaml"], **words)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(ask, 0, only="cat"))
            tasks.start_soon(partial(ask, 1))
        return answers

    one, both = with_client(folder, use)

    for answer, jobs in ((one, 1), (both, 2)):
        kept = json.loads((folder / ".plans" / f"{answer['plan']}.json").read_text())
        assert kept["cost_usd"] == answer["document"]["cost_usd"] == pytest.approx(0.028 * jobs)
    assert not list((folder / ".plans").glob("*/"))


def test_a_reviewed_plan_is_paid_once_and_a_changed_one_is_refused(
    workspace: Workspace, folder: Path
) -> None:
    seen: list[tuple[float, float | None]] = []

    async def progress(done: float, total: float | None, _message: str | None) -> None:
        seen.append((done, total))

    async def use(client: Any) -> None:
        manifests = ["stills.yaml"]
        plan = (await call(client, "plan", manifests=manifests))["plan"]
        done = await client.call_tool(
            "run",
            {"manifests": manifests, "plan": plan, "max_cost": "1"},
            progress_callback=progress,
        )
        assert done.structured_content["report"]["counts"] == {"succeeded": 2}
        again = await call(client, "run", manifests=manifests, plan=plan, max_cost="1")
        assert again["exit_code"] == 0
        (folder / "stills.yaml").write_text(MANIFEST.replace("a dog", "a wolf"))
        refused = await call(client, "run", manifests=manifests, plan=plan, max_cost="1")
        assert refused["exit_code"] == 8
        assert "stills/dog has changed" in refused["messages"]
        status = await call(client, "status")
        assert [job["state"] for job in status["document"]["jobs"]] == ["succeeded", "succeeded"]
        shown = await call(client, "show", job="cat")
        assert shown["document"]["arguments"]["prompt"] == "a cat"

    with_client(folder, use)

    assert workspace.charges() == [1, 1]
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"max_cost": "1"}, "the hash that the plan tool gave"),
        ({"max_cost": "1", "plan": "0" * 64}, "the hash that the plan tool gave"),
        ({"max_cost": "1", "plan": "../stills"}, "the hash that the plan tool gave"),
        ({"plan": "made", "max_cost": ""}, "paying needs max_cost"),
        ({"plan": "made", "max_cost": "5.01"}, "above $5.00, the most this server may spend"),
    ],
)
def test_nothing_is_paid_without_plan_and_cap(
    workspace: Workspace, folder: Path, arguments: dict[str, str], reason: str
) -> None:
    async def use(client: Any) -> None:
        if arguments.get("plan") == "made":
            plan = (await call(client, "plan", manifests=["stills.yaml"]))["plan"]
            arguments["plan"] = plan
        with pytest.raises(ValueError, match="nothing was sent") as error:
            await call(client, "run", manifests=["stills.yaml"], **arguments)
        assert reason in str(error.value)

    with_client(folder, use, ceiling="5")

    assert workspace.charges() == []


def test_the_plan_of_a_trial_pays_for_nothing(workspace: Workspace, folder: Path) -> None:
    async def use(client: Any) -> None:
        words = {"manifests": ["stills.yaml"]}
        plan = (await call(client, "plan", **words, emulator=True))["plan"]
        with pytest.raises(
            ValueError, match="this plan was made on the emulator; nothing was sent"
        ):
            await call(client, "run", **words, plan=plan, max_cost="1")

    with_client(folder, use)

    assert workspace.world.books.posts == []
    assert not list(folder.rglob("ledger.db"))


@pytest.mark.acceptance
def test_what_may_be_paid_for_may_be_tried_first(workspace: Workspace, folder: Path) -> None:
    async def use(client: Any) -> Any:
        words = {"manifests": ["stills.yaml"]}
        plan = (await call(client, "plan", **words))["plan"]
        return await call(client, "run", **words, plan=plan, emulator=True)

    assert with_client(folder, use)["exit_code"] == 0
    assert workspace.world.books.posts == []  # on the built-in one


def test_a_trial_and_a_real_run_have_plans_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KLING_BATCH_EMULATOR_URL")

    async def use(client: Any) -> set[str]:
        words = {"manifests": ["stills.yaml"]}
        return {(await call(client, "plan", **words, emulator=e))["plan"] for e in (True, False)}

    assert len(with_client(folder, use)) == 2


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("validate", {"manifests": ["../stills.yaml"]}),
        ("validate", {"manifests": ["/etc/passwd"]}),
        ("validate", {"manifests": ["--help"]}),
        ("validate", {"manifests": []}),
        ("show", {"job": "--ledger=x"}),
        ("status", {"output": "/tmp"}),
    ],
)
def test_what_lies_outside_and_options_are_refused(
    folder: Path, tool: str, arguments: dict[str, Any]
) -> None:
    async def use(client: Any) -> None:
        with pytest.raises(ValueError, match=r"not inside|looks like an option|at least one"):
            await call(client, tool, **arguments)

    with_client(folder, use)


@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("catalog", {"modus": "edit"}, 'catalog has no argument "modus": did you mean `mode`?'),
        ("validate", {"manifest": []}, 'no argument "manifest": did you mean `manifests`?'),
        ("plan", {"ony": "cat"}, 'plan has no argument "ony": did you mean `only`?'),
        ("status", {"OUTPUT": "outputs"}, 'no argument "OUTPUT": did you mean `output`?'),
        ("show", {"jobs": "cat"}, 'no argument "jobs": did you mean `job`?'),
        ("run", {"emulated": True}, 'no argument "emulated": did you mean `emulator`?'),
        ("run", {"ctx": {}}, 'no argument "ctx": it has manifests, plan, max_cost, only, '),
        ("collect", {"dry_run": True}, 'no argument "dry_run": it has manifests, leave_after, '),
    ],
)
def test_an_argument_that_no_tool_has_is_refused(
    workspace: Workspace, folder: Path, tool: str, arguments: dict[str, Any], reason: str
) -> None:
    """A run that was meant as a trial would be a paid one."""

    async def use(client: Any) -> None:
        known = {"manifests": ["stills.yaml"]}
        words = known if tool in ("plan", "run", "collect") else {}
        if tool == "run":
            plan = (await call(client, "plan", **known))["plan"]
            words = {**words, "max_cost": "1", "plan": plan}
        with pytest.raises(ValueError, match="nothing was done") as error:
            await call(client, tool, **words, **arguments)
        assert reason in str(error.value)
        listed = (await client.list_tools()).tools
        assert len(listed) == 7
        assert all(each.input_schema["additionalProperties"] is False for each in listed)

    with_client(folder, use)

    assert workspace.world.books.posts == []
    assert not (folder / "outputs").exists()


def test_a_trial_keeps_to_the_plan_and_the_cap_that_it_is_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    async def answer(_folder: Path, *words: str, **_more: Any) -> Answer:
        asked.append(words)
        return Answer(code=0, values=(), messages="")

    monkeypatch.setattr("kling_batch.mcp.tools.answer_of", answer)
    tools, plan = Tools(folder, folder), "a" * 64
    (folder / f"{plan}.trial.json").touch()

    anyio.run(partial(tools.run, ["stills.yaml"], emulator=True, max_cost="1.50", plan=plan))

    (words,) = asked
    assert words[words.index("--max-cost") + 1] == "1.50"
    assert words[words.index("--plan") + 1] == str(folder / f"{plan}.trial.json")
    assert "--emulator" in words


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"max_cost": "nan"}, "a trial takes max_cost in US dollars, such as 12.50 ('nan' is not"),
        ({"max_cost": "abc"}, "a trial takes max_cost in US dollars, such as 12.50 ('abc' is not"),
        ({"plan": "abc"}, "a trial takes `plan`: the hash that the plan tool gave"),
        ({"plan": "0" * 64}, "a trial takes `plan`: the hash that the plan tool gave"),
    ],
)
def test_a_trial_takes_no_nonsense(folder: Path, arguments: dict[str, str], reason: str) -> None:
    async def use(client: Any) -> None:
        with pytest.raises(ValueError, match="nothing was sent") as error:
            await call(client, "run", manifests=["stills.yaml"], emulator=True, **arguments)
        assert reason in str(error.value)

    with_client(folder, use)

    assert not (folder / "outputs-emulator").exists()


@pytest.mark.acceptance
def test_a_trial_renders_its_plan_and_stops_at_its_cap(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KLING_BATCH_EMULATOR_URL")

    async def use(client: Any) -> list[Any]:
        words = {"manifests": ["stills.yaml"], "emulator": True}
        plan = (await call(client, "plan", **words))["plan"]
        return [
            await call(client, "run", **words, plan=plan, max_cost="0.03"),
            await call(client, "run", **words, plan=plan, max_cost="0.06"),
        ]

    short, whole = with_client(folder, use)

    assert (short["exit_code"], short["report"]["charged_usd"]) == (4, pytest.approx(0.028))
    assert (whole["exit_code"], whole["report"]["charged_usd"]) == (0, pytest.approx(0.056))


@pytest.mark.acceptance
def test_the_emulator_needs_neither_plan_nor_cap(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KLING_BATCH_EMULATOR_URL")

    async def use(client: Any) -> Any:
        return await call(client, "run", manifests=["stills.yaml"], only="cat", emulator=True)

    done = with_client(folder, use)

    assert done["report"]["emulated"] is True
    assert done["exit_code"] == 0
    assert workspace.charges() == []


@pytest.mark.skipif(os.name != "posix", reason="the hook is a shell script")
@pytest.mark.acceptance
def test_a_manifest_starts_no_commands_for_an_assistant(folder: Path) -> None:
    hooks = "hooks: {on_saved: [touch, saved], on_finished: [touch, finished]}\n"
    (folder / "stills.yaml").write_text(hooks + MANIFEST)

    async def use(client: Any) -> Any:
        return await call(client, "run", manifests=["stills.yaml"], emulator=True)

    answer = with_client(folder, use)

    assert answer["exit_code"] == 0, answer
    assert not (folder / "saved").exists()
    assert not (folder / "finished").exists()


@pytest.mark.acceptance
def test_what_an_exit_code_means_is_what_the_report_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that reached nobody, no job has failed."""
    monkeypatch.delenv("KLING_BATCH_EMULATOR_URL")
    monkeypatch.setenv("FAL_KEY", "an-id:a-secret")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{refused_port()}")

    async def use(client: Any) -> Any:
        words = {"manifests": ["stills.yaml"]}
        plan = (await call(client, "plan", **words))["plan"]
        return await call(client, "run", **words, plan=plan, max_cost="1", leave_after="0.5s")

    left = with_client(folder, use)

    assert left["exit_code"] == left["report"]["exit_code"] == 1
    assert left["exit_meaning"] == left["report"]["exit_meaning"]
    assert left["exit_meaning"] == "stopped before its end, some jobs are not done"


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ((), "interrupted (Ctrl-C)"),
        # Interrupted after its report.
        (({"event": "report", "exit_code": 0, "exit_meaning": "x"},), "interrupted (Ctrl-C)"),
        (({"event": "report", "exit_code": 130, "exit_meaning": "x"},), "x"),
    ],
)
def test_a_report_tells_what_its_own_exit_code_means(
    folder: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[Any, ...], meaning: str
) -> None:
    async def answer(_folder: Path, *_words: str, **_more: Any) -> Answer:
        return Answer(code=130, values=said, messages="")

    monkeypatch.setattr("kling_batch.mcp.tools.answer_of", answer)

    told = anyio.run(partial(Tools(folder, folder).collect, ["stills.yaml"], emulator=True))

    assert told["exit_meaning"] == meaning


def test_the_servers_limit_is_for_all_its_runs_together(workspace: Workspace, folder: Path) -> None:
    async def use(client: Any) -> list[str]:
        refused = []
        for name in ("first", "second", "third"):
            text = MANIFEST.replace("name: stills", f"name: {name}\noutput: {name}")
            (folder / f"{name}.yaml").write_text(text.replace("prompt: a", f"prompt: {name}"))
            words = {"manifests": [f"{name}.yaml"], "max_cost": "0.06"}
            words["plan"] = (await call(client, "plan", manifests=[f"{name}.yaml"]))["plan"]
            try:
                await call(client, "run", **words)
            except ValueError as error:
                refused.append(str(error))
        return refused

    refused = with_client(folder, use, ceiling="0.06")

    assert workspace.charges() == [1, 1]
    assert len(refused) == 2
    left = "max_cost is above $0.004, what is left of $0.06, the most this server may spend"
    assert all(left in each for each in refused)


def test_a_run_goes_on_under_the_servers_limit(workspace: Workspace, folder: Path) -> None:
    """Its cap counts what the batch has cost already, in the ledger that it is held to."""

    async def use(client: Any) -> list[Any]:
        manifests = ["stills.yaml"]
        plan = (await call(client, "plan", manifests=manifests))["plan"]
        words = {"manifests": manifests, "plan": plan, "max_cost": "0.06"}
        workspace.world.settings.service_times = {"image": 600.0}
        first = await call(client, "run", **words, leave_after="2s")
        # Written elsewhere it would be a batch that has cost nothing.
        (folder / "stills.yaml").write_text(f"output: elsewhere\n{MANIFEST}")
        workspace.finish()
        second = await call(client, "run", **words)
        (folder / "outputs/ledger.db").unlink()
        with pytest.raises(ValueError, match=r"above \$0.004, what is left"):
            await call(client, "run", **words)
        return [first["exit_code"], second["exit_code"], second["report"]["ledger"]]

    ended = with_client(folder, use, ceiling="0.06")

    assert ended == [6, 0, "outputs/ledger.db"]
    assert workspace.charges() == [1, 1]


def test_a_run_whose_end_nobody_knows_counts_with_its_cap(folder: Path) -> None:
    allowance = Allowance(folder, parse_usd("5"))
    unknown = allowance.begin(("a",), parse_usd("2"))
    with pytest.raises(UsageError, match=r"\$3\.00, what is left of \$5\.00"):
        allowance.begin(("b",), parse_usd("3.01"))
    allowance.end(unknown, [{"event": "started"}])
    refused = allowance.begin(("b",), parse_usd("3"))
    allowance.end(refused, [{"event": "error"}])

    with pytest.raises(UsageError, match=r"\$3\.00, what is left of \$5\.00"):
        allowance.begin(("a",), parse_usd("3.01"))
    allowance.begin(("c",), parse_usd("3"))


class Spoken:
    """The server as a process that is spoken to word by word, so that a test can signal it."""

    def __init__(self, folder: Path, **more: str) -> None:
        temporary = folder / "temporary"
        temporary.mkdir()
        self.plans = temporary
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kling_batch", "mcp", "--folder", str(folder)],
            env={**os.environ, "TMPDIR": str(temporary), **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        client = {"name": "test", "version": "1"}
        words = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        self.ask("initialize", **words)
        self.answer()
        self._send({"method": "notifications/initialized"})

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def ask(self, method: str, **words: Any) -> None:
        self._send({"id": 1, "method": method, "params": words})

    def call(self, tool: str, **arguments: Any) -> None:
        self.ask("tools/call", name=tool, arguments=arguments)

    def answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())["result"]

    def stop(self, number: signal.Signals) -> int:
        """The exit code after a signal, with standard input open; nothing is left behind."""
        try:
            os.killpg(self.process.pid, number)  # as a terminal does
            code = self.process.wait(20)
            _, told = self.process.communicate()
        finally:
            self.process.kill()
        assert "Traceback" not in told
        assert "Exception" not in told
        assert list(self.plans.iterdir()) == []
        return code


STOPS = [
    (signal.SIGINT, 130),
    pytest.param(signal.SIGTERM, 143, marks=pytest.mark.acceptance),
    pytest.param(signal.SIGHUP, 130, marks=pytest.mark.acceptance),
]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_ends_an_idle_server(folder: Path, number: signal.Signals, code: int) -> None:
    server = Spoken(folder)
    assert len(list(server.plans.iterdir())) == 1

    assert server.stop(number) == code


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_stops_a_paid_run_as_ctrl_c_does(
    workspace: Workspace, folder: Path, number: signal.Signals, code: int
) -> None:
    (folder / "stills.yaml").write_text(f"limits: {{concurrency: 1}}\n{MANIFEST}")
    workspace.world.faults.add(Fault(stage="submit.after", what="delay", seconds=1.0))
    server = Spoken(folder)
    server.call("plan", manifests=["stills.yaml"])
    plan = server.answer()["structuredContent"]["plan"]
    server.call("run", manifests=["stills.yaml"], plan=plan, max_cost="1")
    for _ in range(1000):
        if workspace.world.books.posts:
            break
        time.sleep(0.02)

    assert server.stop(number) == code

    with Reader.open(folder / "outputs/ledger.db") as reader:
        (run,) = reader.db.query("select exit_code from runs")
        states = [attempt.state for attempt in map(reader.attempt, (1,))]
    assert run["exit_code"] == 130
    assert states[0] not in (State.SUBMITTING, State.IN_DOUBT)
    assert len(workspace.world.books.accepted) == 1


def test_the_command_serves_over_standard_input_and_output(folder: Path) -> None:
    async def main() -> list[str]:
        command = ["-m", "kling_batch", "mcp", "--folder", str(folder)]
        parameters = mcp.StdioServerParameters(command=sys.executable, args=command)
        async with mcp.Client(parameters) as client:
            listed = await client.list_tools()
            return sorted(tool.name for tool in listed.tools)

    tools = anyio.run(main)

    assert tools == ["catalog", "collect", "plan", "run", "show", "status", "validate"]
