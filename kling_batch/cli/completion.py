"""Completion of words that only the program knows: modes, tiers, models, states, jobs, manifests.

click completes commands, options and choices by itself, and writes the scripts of the shells. The
completers are given to a command by the names of its parameters, and only while a shell asks.
Whatever breaks completes nothing. Must not print, and must not ask anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import click
from click.shell_completion import CompletionItem, get_completion_class

from kling_batch.cli.program import COMPLETE, NAME
from kling_batch.core.jobs import Batch
from kling_batch.errors import KlingBatchError

SHELLS = ("bash", "zsh", "fish")
MANIFEST_SUFFIXES = (".yaml", ".yml", ".csv", ".jsonl")

#: click's method of a parameter that answers a shell.
_METHOD = "shell_complete"

Completer: TypeAlias = Callable[[click.Context], Iterable[str]]


def script(shell: str, program: click.Command) -> str:
    """What the shell has to read once."""
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(program, {}, NAME, COMPLETE).source()


def equip(command: click.Command) -> None:
    """Let the parameters of a command complete what they mean."""
    for parameter in command.params:
        name = parameter.name or ""
        if name == "manifests":
            setattr(parameter, _METHOD, _manifests)
        elif completer := COMPLETERS.get(name):
            setattr(parameter, _METHOD, _items(completer))


def _items(
    completer: Completer,
) -> Callable[[click.Context, str], list[CompletionItem]]:
    def complete(context: click.Context, begun: str) -> list[CompletionItem]:
        with suppress(Exception):
            found = dict.fromkeys(completer(context))
            return [CompletionItem(word) for word in found if word.startswith(begun)]
        return []

    return complete


def _manifests(_context: click.Context, begun: str) -> list[CompletionItem]:
    """Manifests and tables in the folder so far; where there are none, any file."""
    folder, _, name = begun.rpartition("/")
    with suppress(OSError, RuntimeError):
        root = Path(f"{folder}/" if begun.startswith("/") else folder or ".").expanduser()
        found = sorted(
            each.name
            for each in root.iterdir()
            if each.suffix in MANIFEST_SUFFIXES and each.name.startswith(name)
        )
        lead = begun[: len(begun) - len(name)]
        if found:
            return [CompletionItem(f"{lead}{each}") for each in found]
    return [CompletionItem(begun, type="file")]


# -- words of the catalogue and of the states ------------------------------------------------------


def _models(_context: click.Context) -> Iterable[str]:
    from kling_batch.catalog.registry import models  # noqa: PLC0415 - other commands never need it

    return models()


def _modes(_context: click.Context) -> Iterable[str]:
    from kling_batch.catalog.registry import modes  # noqa: PLC0415

    return modes()


def _tiers(_context: click.Context) -> Iterable[str]:
    from kling_batch.catalog.registry import tiers  # noqa: PLC0415

    return tiers()


def _models_and_modes(context: click.Context) -> Iterable[str]:
    return (*_models(context), *_modes(context))


def _states(_context: click.Context) -> Iterable[str]:
    from kling_batch.core.lifecycle import JobStatus  # noqa: PLC0415

    # A shell would take a blank for the end of the word; `list` knows this spelling, too.
    return [status.value.replace(" ", "_") for status in JobStatus]


# -- jobs ------------------------------------------------------------------------------------------


def _jobs(context: click.Context) -> Iterator[str]:
    """Jobs of the ledger that the options name, and of the manifests that were typed."""
    places: Mapping[str, Any] = context.params
    # An option that waits for its value keeps click from sorting the words before it.
    rest = [Path(word) for word in context.args if word.endswith(MANIFEST_SUFFIXES)]
    manifests: Sequence[Path] = places.get("manifests") or rest
    batches: Sequence[Batch] = ()
    if manifests:
        from kling_batch.cli.manifests import load_manifests  # noqa: PLC0415

        with suppress(KlingBatchError):  # one that is being written has problems
            batches = load_manifests(manifests, (), warn=False)
    with suppress(KlingBatchError):
        yield from _jobs_of_ledger(manifests if batches else (), places, batches)
    for batch in batches:
        yield from (job.label for job in batch.jobs)


def _jobs_of_ledger(
    manifests: Sequence[Path], places: Mapping[str, Any], batches: Sequence[Batch]
) -> Iterator[str]:
    from kling_batch.cli.ledgers import ledger_of_manifests  # noqa: PLC0415
    from kling_batch.ledger.job_list import JobFilter, job_status  # noqa: PLC0415
    from kling_batch.ledger.reader import Reader  # noqa: PLC0415

    with Reader.open(ledger_of_manifests(manifests, places, batches)) as reader:
        yield from (row.label for row in job_status(reader, JobFilter()))


#: By the name of a parameter.
COMPLETERS: dict[str, Completer] = {
    "model": _models,
    "mode": _modes,
    "tier": _tiers,
    "words": _models_and_modes,
    "states": _states,
    "modes": _modes,
    "tiers": _tiers,
    "models": _models,
    "job": _jobs,
    "jobs": _jobs,
    "only": _jobs,
    "exclude": _jobs,
}
