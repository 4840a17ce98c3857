"""Commands of this program, run for an assistant: arguments in, exit code and data out.

A process each, so that standard output stays the data of the command, and a run that is cancelled
ends as Ctrl-C ends it. Each has a session of its own: a terminal sends its Ctrl-C to every process,
and with the server's that would be the second one, which waits for nothing. Must not know the
protocol of assistants.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.text import TextReceiveStream

from kling_batch.core.jobs import JSON
from kling_batch.core.programs import HOOKS_VARIABLE
from kling_batch.core.text import clean
from kling_batch.errors import EXIT_MEANINGS, ExitCode, UsageError
from kling_batch.settings import OUTPUT_BELOW_VARIABLE

#: Characters of standard error that are passed on: its end says what happened.
MESSAGES = 4_000

#: A command writes no longer line; what does is not taken into memory.
LONGEST_LINE = 64 * 1024 * 1024

OnEvent = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one command ended."""

    code: int
    #: Standard output, one value for a document, several for lines of JSON.
    values: tuple[Any, ...]
    #: Standard error: warnings, errors, the summary.
    messages: str

    def as_json(self, **more: JSON) -> dict[str, JSON]:
        """The answer as an assistant reads it."""
        meaning = EXIT_MEANINGS.get(ExitCode(self.code)) if self.code in set(ExitCode) else None
        return {
            "exit_code": self.code,
            "exit_meaning": meaning,
            "messages": self.messages[-MESSAGES:],
            **more,
        }


def passable(word: str) -> str:
    """A word that a program can be given; raises `UsageError` where no system passes it on."""
    try:
        word.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{word!r} holds half a character") from None
    if "\0" in word:
        raise UsageError(f"{word!r} holds a NUL character")
    return word


async def answer_of(
    folder: Path,
    *words: str,
    on_event: OnEvent | None = None,
    said: list[Any] | None = None,
) -> Answer:
    """Run one command in `folder` and wait for its end.

    Args:
        folder: the working folder.
        words: command and options.
        on_event: is called with each JSON object of standard output, as it comes.
        said: gets those objects, also where this is cancelled.

    Cancelling it sends SIGINT, as Ctrl-C does, and waits: a submission in flight gets its answer.
    """
    command = [sys.executable, "-m", "kling_batch", *map(passable, words)]
    values: list[Any] = [] if said is None else said
    messages: list[str] = []
    # Who writes manifests may neither start commands through them nor write elsewhere, unless a
    # person has set otherwise.
    held = {HOOKS_VARIABLE: "0", OUTPUT_BELOW_VARIABLE: str(folder)}
    environ = {**os.environ, **{name: os.environ.get(name) or held[name] for name in held}}
    try:
        started = await anyio.open_process(
            command, cwd=folder, stdin=PIPE, env=environ, start_new_session=os.name == "posix"
        )
    except OSError as error:  # words that are too long together, or no process is left
        raise UsageError(f"the command cannot be started: {error.strerror or error}") from None
    async with started as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        await process.stdin.aclose()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_collect, process.stderr, messages)
                await _read(process.stdout, values, on_event)
            await process.wait()
        except anyio.get_cancelled_exc_class():
            await _interrupt(process, values)
            raise
    return Answer(
        code=process.returncode or 0, values=tuple(values), messages=clean("".join(messages))
    )


async def _interrupt(process: Process, values: list[Any]) -> None:
    """Stop it in order; it says what is still being billed into its ledger.

    What it says to the end is read, or it could not end.
    """
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            assert process.stdout
            assert process.stderr
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_collect, process.stderr, [])
                tasks.start_soon(_read, process.stdout, values, _nobody)
            await process.wait()


async def _nobody(_event: dict[str, Any]) -> None:
    """Nobody follows the events."""


async def _collect(stream: ByteReceiveStream, into: list[str]) -> None:
    into.extend([text async for text in TextReceiveStream(stream, errors="replace")])


async def _read(stream: ByteReceiveStream, values: list[Any], on_event: OnEvent | None) -> None:
    """Read one document, or a line of JSON for each event."""
    text = ""
    async for chunk in TextReceiveStream(stream, errors="replace"):
        text += chunk
        if on_event is None:
            continue
        *lines, text = text.split("\n")
        for line in lines:
            if isinstance(value := _value(line), dict):
                values.append(value)
                await on_event(value)
        if len(text) > LONGEST_LINE:
            text = ""
    if text.strip():
        values += _values(text)


def _values(text: str) -> list[Any]:
    """One document, or lines of JSON."""
    if (whole := _value(text)) is not None:
        return [whole]
    return [value for line in text.splitlines() if (value := _value(line)) is not None]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
