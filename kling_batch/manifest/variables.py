"""Variables of a manifest: `vars`, outranked by `env`, outranked by `--set`.

Options and the environment hold text, and `{{ n * 2 }}` of a text is another prompt: what replaces
a number or a truth value is read as one. Must not know jobs or places.
"""

from __future__ import annotations

from collections.abc import Mapping

from kling_batch.core.diagnostics import Collector, InvalidValue
from kling_batch.core.jobs import JSON
from kling_batch.manifest.frame import Manifest
from kling_batch.manifest.templating import rendered
from kling_batch.manifest.yaml_source import scalar


def read_variables(
    manifest: Manifest, given: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[dict[str, JSON], Collector]:
    """The variables of every template, and what is wrong with them, by path.

    A value of `vars` may name those before it, and sees what outranks them.
    """
    known: dict[str, JSON] = {}
    problems = Collector()
    outranking = _outranking(manifest, given, environ)
    for name, written in manifest.vars.items():
        try:
            value = rendered(written, known)
        except InvalidValue as error:
            value = None
            if name not in outranking:
                path = ("vars", name, *error.path)
                problems.error(path, error.message, error.code, error.hint)
        known[name] = like(value, outranking[name]) if name in outranking else value
    for name, source in manifest.env.items():
        if name in known:
            continue
        if name in outranking:
            known[name] = outranking[name]
        else:
            message = f"the environment variable {source} is not set"
            hint = f"set it, or give `{name}` a value in `vars`"
            problems.error(("env", name), message, "no-environment", hint)
    return known, problems


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
