"""Frame of a manifest: its keys, and the reading of one whose keys and limits are plainly valid.

Measured: without the models of `schema.py` and their library, `run` starts in four fifths of the
time. They are the rule, and say what is wrong; a test holds both readings against each other. Must
not import them, and must not report anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kling_batch.catalog.registry import index
from kling_batch.core import jobs as core
from kling_batch.core.diagnostics import InvalidValue
from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import (
    parse_duration,
    parse_failure_limit,
    parse_rate,
    parse_start_timeout,
    parse_window,
)
from kling_batch.core.recipes import Recipe
from kling_batch.manifest import fields
from kling_batch.manifest.paths import DEFAULT_PATH
from kling_batch.manifest.recipes import read_recipes

#: What reads the value of a key; None where rendering its template shows whether it is right.
Readers = Mapping[str, Callable[[Any], Any] | None]

_LIMITS: Readers = {
    "concurrency": fields.between(1, 10_000),
    "rate": parse_rate,
    "max_cost": fields.money,
    "max_cost_per_day": fields.money,
    "account_max_per_day": fields.money,
    "deadline": parse_duration,
    "on_doubt": fields.on_doubt,
    "doubt_wait": parse_duration,
    "reuse": parse_window,
    "retry_attempts": fields.between(1, 100),
    "max_failures": parse_failure_limit,
    "start_timeout": parse_start_timeout,
    "workers": fields.between(1, 64),
}
_DOCUMENT: Readers = {
    "version": fields.version,
    "name": fields.text,
    "output": fields.text,
    "path": fields.text,
    "vars": fields.variables,
    "env": fields.environment,
    "retry": fields.retry,
    "hooks": fields.hooks,
    "notify": fields.notify,
    "renditions": read_recipes,
    "limits": None,
    "review": None,
    "defaults": None,
    "jobs": None,
}
_DEFAULTS: Readers = {
    **dict.fromkeys(("model", "mode", "tier", "takes", "tags", "renditions")),
    "params": fields.mapping,
    **dict.fromkeys(index().users),
}
#: Keys of what `review:` says about draft and final.
_STAGE: Readers = {
    **dict.fromkeys(("model", "mode", "tier")),
    "params": fields.mapping,
    **dict.fromkeys(index().users),
}
_REVIEW: Readers = dict.fromkeys(("draft", "final"), lambda stage: _read(stage, _STAGE))
_OWN: Readers = {
    **dict.fromkeys(("id", "endpoint", "price")),
    "when": fields.condition,
    "review": lambda review: _read(review, _REVIEW),
    "from": fields.text,
    "matrix": fields.matrix,
    "input": fields.mapping,
}
_JOB: Readers = {**_DEFAULTS, **_OWN}

#: Every key of a job; `OWN_KEYS` are those that `defaults:` does not have.
JOB_KEYS = frozenset(_JOB)
OWN_KEYS = frozenset(_OWN)

#: Top-level keys that mean nothing here; `$schema` is how JSON names its own for editors.
AUTHORS = r"^(x-|\$schema$)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest with valid keys; its strings are as written, templates and all."""

    name: str | None = None
    output: str | None = None
    path: str = DEFAULT_PATH
    limits: core.Limits = field(default=core.Limits())
    hooks: core.Hooks = field(default=core.Hooks())
    notify: tuple[str, ...] = field(default=(), repr=False)
    renditions: Mapping[str, Recipe] = field(default_factory=dict)
    vars: Mapping[str, JSON]
    env: Mapping[str, str]
    defaults: Mapping[str, JSON]
    #: Of every job without one of its own.
    review: Mapping[str, JSON] | None = None
    #: None where an entry is no mapping: it is reported, and keeps its number.
    entries: tuple[Mapping[str, JSON] | None, ...]


def read_valid(value: JSON) -> Manifest | None:
    """The manifest; None where anything about its keys or limits is not valid or not usual."""
    if not isinstance(value, Mapping):
        return None
    frame = copied(value)
    jobs, defaults = frame.get("jobs"), frame.get("defaults")
    if not isinstance(jobs, list) or not jobs:
        return None
    try:
        document = _read(frame, _DOCUMENT)
        limits = _read(frame.get("limits"), _LIMITS)
        _read(defaults, _DEFAULTS)
        _read(frame.get("review"), _REVIEW)
        for job in jobs:
            _read(job, _JOB, optional=False)
    except (InvalidValue, _UnusualError):
        return None
    limits.pop("on_doubt", None)
    if limits.get("retry_attempts") is None:
        limits["retry_attempts"] = document.get("retry")
    return Manifest(
        name=document.get("name"),
        output=document.get("output"),
        path=document.get("path") or DEFAULT_PATH,
        limits=core.Limits(**limits),
        hooks=document.get("hooks") or core.Hooks(),
        notify=document.get("notify") or (),
        renditions=document.get("renditions") or {},
        vars=document.get("vars") or {},
        env=document.get("env") or {},
        defaults=defaults or {},
        review=frame.get("review"),
        entries=tuple(jobs),
    )


class _UnusualError(Exception):
    """Something that `schema.py` has to look at."""


def _read(values: JSON, readers: Readers, *, optional: bool = True) -> dict[str, Any]:
    """The values that have a reader, as it returns them; null is the same as no value."""
    if values is None and optional:
        return {}
    if type(values) is not dict or not values.keys() <= readers.keys():
        raise _UnusualError
    return {
        name: reader(values[name])
        for name, reader in readers.items()
        if reader is not None and values.get(name) is not None
    }


def copied(value: Mapping[str, JSON]) -> dict[str, JSON]:
    """A copy to be changed, without the author's own keys (`x-…`, for anchors)."""
    frame = {name: entry for name, entry in value.items() if not re.match(AUTHORS, name)}
    for name in ("limits", "defaults"):
        if isinstance(frame.get(name), Mapping):
            frame[name] = dict(frame[name])
    if isinstance(frame.get("jobs"), list):
        frame["jobs"] = [dict(job) if isinstance(job, Mapping) else job for job in frame["jobs"]]
    return frame
