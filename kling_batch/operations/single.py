"""Single shots of `generate` and `video`: the batch of one job, and its result as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from kling_batch.catalog.registry import DEFAULT_TIER, default_model
from kling_batch.core.jobs import JSON, Batch, JobKey
from kling_batch.core.lifecycle import State
from kling_batch.core.records import File
from kling_batch.core.urls import unsigned
from kling_batch.ledger.reader import Reader
from kling_batch.manifest.loader import single
from kling_batch.output.store import OutputStore
from kling_batch.shown_location import shown


def single_batch(
    name: str,
    mode: str,
    tier: str | None,
    arguments: Mapping[str, str],
    *,
    take: int,
    model: str | None = None,
) -> Batch:
    """Batch of one job, under an id that is the same for the same arguments.

    Raises:
        ManifestError: the arguments break the endpoint's rules.
    """
    return single(
        mode,
        tier,
        arguments,
        model=model,
        batch=name,
        id=_id(model, mode, tier, arguments),
        take=take,
        cwd=Path.cwd(),
    )


def _id(model: str | None, mode: str, tier: str | None, arguments: Mapping[str, str]) -> str:
    """Readable id: words of the prompt, and a digest of everything."""
    said = re.findall(r"[a-z0-9]+", arguments.get("prompt", "").lower())
    slug = "-".join(said)[:40].strip("-") or mode
    # A newly signed URL is the same input.
    given = sorted((name, unsigned(value)) for name, value in arguments.items())
    words = [mode, tier or DEFAULT_TIER, given]
    # The id of a command without `--model` is that of versions before there was one.
    text = json.dumps(words if model in (None, default_model()) else [model, *words])
    return f"{slug}-{sha256(text.encode()).hexdigest()[:6]}"


def single_result(key: JobKey, ledger: Path) -> JSON:
    """fal's output of the job, each file with its local path."""
    with Reader.open(ledger) as reader:
        paid = [a for a in reader.attempts_of(key) if a.state is State.SUCCEEDED]
        files = [f for f in reader.files_of(paid[-1].id) if not f.superseded]
    store = OutputStore({}, ledger.parent)
    paths = {f.index: shown(store.located(f.path)) for f in files}
    return _with_paths(paid[-1].output or _output_of_adopted(files), paths)


def _output_of_adopted(files: Sequence[File]) -> JSON:
    """The same format for adopted files, of which fal has no output."""
    found = [{"url": "", "content_type": f.content_type, "file_size": f.size} for f in files]
    video = files[0].content_type.startswith("video/")
    return {"video": found[0]} if video else {"images": found}


def _with_paths(output: JSON, paths: Mapping[int, str]) -> JSON:
    """`path` beside each `url`, in the order in which the files were saved."""
    count = 0

    def walk(value: Any) -> Any:
        nonlocal count
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("url"), str):
            path = paths.get(count)
            count += 1
            return {**value, "path": path} if path else value
        return {name: walk(item) for name, item in value.items()}

    return walk(output)
