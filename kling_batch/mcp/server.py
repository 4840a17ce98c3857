"""Face of the tools in the Model Context Protocol, over standard input and output.

The only home of the protocol's SDK. Must not decide what may be paid for; `tools` does.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import Tool, ToolAnnotations

from kling_batch import __version__
from kling_batch.core.diagnostics import nearest, show
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import ExitCode, UsageError
from kling_batch.mcp.tools import PATIENCE, Tools
from kling_batch.operations.handled_signals import Signals
from kling_batch.operations.received_signals import code_of, receiver

INSTRUCTIONS = """\
kling-batch renders batches of paid Kling generations on fal.ai. A manifest (YAML) lists the jobs.
Every render costs real money and cannot be reproduced. Work in this order: catalog, validate, plan.
Show a person the plan's jobs and cost, and ask. Then run with the plan's hash and a cap. A run that
leaves with exit code 6 goes on at fal: call collect, or run again with the same plan. Try with
emulator=true: it costs nothing. Never change a prompt only to render the same thing again."""

F = TypeVar("F", bound=Callable[..., Any])

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_PAYS = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)
_COLLECTS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)


def serve(folder: Path, ceiling: MicroUSD | None = None) -> None:
    """Serve until the client closes standard input, or a signal ends the process.

    A signal stops what runs as Ctrl-C does, and waits for it; a second Ctrl-C does not wait.
    """
    with tempfile.TemporaryDirectory(prefix="kling-batch-plans-") as plans:
        tools = Tools(folder, Path(plans), ceiling)
        anyio.run(partial(_serve, tools, leave=partial(_leave, plans)))


async def _serve(tools: Tools, leave: Callable[[ExitCode], None]) -> None:
    with receiver(Signals.PROCESS) as signals:
        async with anyio.create_task_group() as tasks:
            serving = anyio.CancelScope()
            if signals is not None:
                tasks.start_soon(_listen, signals, tools, serving, leave)
            with serving:
                await server(tools).run_stdio_async()
            tasks.cancel_scope.cancel()


async def _listen(
    signals: AsyncIterator[signal.Signals],
    tools: Tools,
    serving: anyio.CancelScope,
    leave: Callable[[ExitCode], None],
) -> None:
    """Cancel what is asked for at the first signal; leave once its programs have ended."""
    async with anyio.create_task_group() as tasks:
        stopping = False
        async for number in signals:
            if not stopping:
                stopping = True
                serving.cancel()
                tasks.start_soon(_leave_when_idle, tools, partial(leave, code_of(number)))
            elif number == signal.SIGINT:
                leave(code_of(number))


async def _leave_when_idle(tools: Tools, leave: Callable[[], None]) -> None:
    await tools.idle()
    leave()


def _leave(plans: str, code: ExitCode) -> None:
    """End the process at once: the SDK's reader waits in a thread for a line that may never come.

    An ordinary end would wait for that thread.
    """
    shutil.rmtree(plans, ignore_errors=True)
    os._exit(code)


class _Server(MCPServer[Any]):
    """A server whose tools refuse arguments that they do not know.

    The SDK drops them: a misspelt `emulator` would make a paid run of a trial.
    """

    async def list_tools(self) -> list[Tool]:
        """The tools; their schemas say that there are no further arguments."""
        tools = await super().list_tools()
        for tool in tools:
            tool.input_schema = {**tool.input_schema, "additionalProperties": False}
        return tools

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> Any:
        """Call a tool, with arguments that it has."""
        for tool in await super().list_tools():
            if tool.name == name:
                _check_names(name, arguments, list(tool.input_schema["properties"]))
        return await super().call_tool(name, arguments, context)


def _check_names(tool: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise `ToolError` for arguments that the tool does not have."""
    unknown = [name for name in given if name not in known]
    if unknown:
        told = [
            f"{tool} has no argument {show(name)}: "
            + (nearest(name.lower(), known) or f"it has {', '.join(known)}")
            for name in unknown
        ]
        raise ToolError("; ".join([*told, "nothing was done"]))


def server(tools: Tools) -> MCPServer[Any]:
    """The server with every tool."""
    made = _Server("kling-batch", instructions=INSTRUCTIONS, version=__version__)

    @made.tool(annotations=_READS)
    async def catalog(mode: str = "") -> dict[str, Any]:
        """List modes, tiers and prices; with a mode also its parameters and their limits."""
        return await _plainly(tools.catalog(mode))

    @made.tool(annotations=_READS)
    async def validate(manifests: list[str]) -> dict[str, Any]:
        """Check manifests: every problem with file, line and column. Sends nothing."""
        return await _plainly(tools.validate(manifests))

    @made.tool(annotations=_READS)
    async def plan(manifests: list[str], only: str = "", emulator: bool = False) -> dict[str, Any]:
        """Show what a run would do with each job, why, and what it would cost. Pays nothing.

        The answer's `plan` is a hash; a run needs it.
        """
        return await _plainly(tools.plan(manifests, only=only, emulator=emulator))

    @made.tool(annotations=_READS)
    async def status(output: str = "") -> dict[str, Any]:
        """State of every job and the costs so far."""
        return await _plainly(tools.status(output))

    @made.tool(annotations=_READS)
    async def show(job: str, output: str = "") -> dict[str, Any]:
        """History of one job: attempts, costs, files."""
        return await _plainly(tools.show(job, output))

    @made.tool(annotations=_PAYS)
    async def run(  # noqa: PLR0917 - the protocol names them
        manifests: list[str],
        ctx: Context[Any, Any],
        plan: str = "",
        max_cost: str = "",
        only: str = "",
        leave_after: str = PATIENCE,
        emulator: bool = False,
    ) -> dict[str, Any]:
        """Render. SPENDS REAL MONEY unless `emulator` is true.

        Args:
            manifests: files inside the working folder.
            ctx: of the protocol.
            plan: hash of the plan that a person has seen and agreed to; one that was made with
                `emulator` is for a run with it only.
            max_cost: cap in US dollars over all runs of these batches, such as 12.50.
            only: glob of job ids; the plan must have been made with the same.
            leave_after: leave after this long; what is open goes on at fal (exit code 6).
            emulator: render on the built-in emulator: no key, no charge, `plan` and `max_cost`
                only where they are given.
        """
        return await _plainly(
            tools.run(
                manifests,
                plan=plan,
                max_cost=max_cost,
                only=only,
                leave_after=leave_after,
                emulator=emulator,
                on_event=_reporting(ctx),
            )
        )

    @made.tool(annotations=_COLLECTS)
    async def collect(
        manifests: list[str],
        ctx: Context[Any, Any],
        leave_after: str = PATIENCE,
        emulator: bool = False,
    ) -> dict[str, Any]:
        """Download what is paid for and was still open. Buys nothing."""
        asked = tools.collect(
            manifests, leave_after=leave_after, emulator=emulator, on_event=_reporting(ctx)
        )
        return await _plainly(asked)

    return made


async def _plainly(asked: Any) -> dict[str, Any]:
    """The answer; a mistake of the caller as the tool's own error."""
    try:
        answer: dict[str, Any] = await asked
    except UsageError as error:
        raise ToolError(str(error)) from None
    return answer


def _reporting(ctx: Context[Any, Any]) -> Callable[[dict[str, Any]], Any]:
    """Passes on how many jobs have ended."""
    ended, jobs = 0, 0

    async def report(event: dict[str, Any]) -> None:
        nonlocal ended, jobs
        if event.get("event") == "started":
            jobs = event["data"]["jobs"]
        elif event.get("event") in ("saved", "failed", "blocked"):
            ended += 1
            job = event.get("job") or ""
            await ctx.report_progress(ended, jobs or None, f"{event['event']}: {job}")

    return report
