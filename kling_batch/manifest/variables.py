"""Variables of a manifest: `vars`, outranked by `env`, outranked by `--set`.

Options and the environment hold text, and `{{ n * 2 }}` of a text is another prompt: what replaces
a number or a truth value is read as one. Must not know jobs or places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kling_batch.core.diagnostics import Collector, InvalidValue
from kling_batch.core.jobs import JSON
from kling_batch.manifest.frame import Manifest
from kling_batch.manifest.templating import rendered
from kling_batch.manifest.yaml_source import scalar


class Variables(NamedTuple):
    """The variables of every template."""

    known: dict[str, JSON]
    #: Names without a value because of a mistake that is told at its own place: that a template
    #: names one of them is no further mistake.
    lost: frozenset[str]
    #: What is wrong, by path.
    problems: Collector


def read_variables(
    document: JSON, manifest: Manifest, given: Mapping[str, str], environ: Mapping[str, str]
) -> Variables:
    """The variables of a manifest; `document` is the whole of it, its mistakes included.

    A value of `vars` may name those before it, and sees what outranks them.
    """
    known: dict[str, JSON] = {}
    problems = Collector()
    lost = _declared(document) - {*manifest.vars, *manifest.env}
    outranking = _outranking(manifest, given, environ)
    for name, written in manifest.vars.items():
        try:
            value = rendered(written, known)
        except InvalidValue as error:
            value = None
            if name not in outranking:
                lost.add(name)
                if error.unknown not in lost:
                    path = ("vars", name, *error.path)
                    problems.error(path, error.message, error.code, error.hint)
                continue
        known[name] = like(value, outranking[name]) if name in outranking else value
    for name, source in manifest.env.items():
        if name in outranking:
            known.setdefault(name, outranking[name])
        elif name not in manifest.vars:
            lost.add(name)
            message = f"the environment variable {source} is not set"
            hint = f"set it, or give `{name}` a value in `vars`"
            problems.error(("env", name), message, "no-environment", hint)
    return Variables(known, frozenset(lost), problems)


def _declared(document: JSON) -> set[str]:
    parts = [document.get(part) for part in ("vars", "env")] if isinstance(document, dict) else []
    return {name for part in parts if isinstance(part, Mapping) for name in part}


def _outranking(
    manifest: Manifest, given: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """The texts that come before the values of `vars`, by variable."""
    named = {name: environ[source] for name, source in manifest.env.items() if source in environ}
    return {
        **named,
        **{name: given[name] for name in given.keys() & {*manifest.vars, *manifest.env}},
    }


def like(replaced: JSON, text: str) -> JSON:
    """The value of a text as the kind of value that it replaces, where it can be read as one.

    Any number may stand for any other; a truth value is no number.
    """
    kind = _kind(replaced)
    if kind is None:
        return text
    value = scalar(text)
    return value if _kind(value) == kind else text


def _kind(value: JSON) -> str | None:
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, int | float) else None
