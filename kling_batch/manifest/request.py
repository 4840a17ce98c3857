"""Requests: the endpoint, the normalised arguments and the price of one job's values.

Problems carry paths into the values; the caller knows the places. Must not know manifests: the
single-job commands use this as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from kling_batch.catalog import registry as catalog
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.parameters import from_json, remote, scheme_of_no_use
from kling_batch.catalog.parameters import reference as read_reference
from kling_batch.catalog.pricing import Estimate
from kling_batch.catalog.registry import Endpoint
from kling_batch.core.diagnostics import Collector, InvalidValue, show
from kling_batch.core.jobs import JSON, KeyTemplate, LocalFile, OutputOf
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.urls import unreachable
from kling_batch.errors import ArgumentPath
from kling_batch.manifest.inputs import Files
from kling_batch.manifest.media import check_media, check_together, seconds_of
from kling_batch.manifest.raw_price import given_price, raw_price

#: Where a job has one of these, defaults for the others do not apply.
_EXCLUDES = {"multi_prompt": ("prompt", "duration"), "prompt": ("multi_prompt",)}
_EXCLUDED = frozenset(name for names in _EXCLUDES.values() for name in names)
_NOT_RAW = ("model", "mode", "tier")
_RAW_ONLY = ("input", "price")
_MOST_FORMS = 10_000
#: Lone surrogates, infinite numbers, endless depth: what JSON cannot say.
NOT_JSON = (ValueError, TypeError, RecursionError)
_NOTHING = Collector()
_ENDPOINT = re.compile(r"/?[A-Za-z0-9][\w.-]*(?:/[\w.-]+)+/?")
_REFERENCE = frozenset({"job", "take", "output"})


class Request(NamedTuple):
    """One paid render; `endpoint` is None where the catalogue does not know `endpoint_id`."""

    endpoint_id: str
    endpoint: Endpoint | None
    arguments: dict[str, JSON]
    estimate: Estimate
    #: Some argument is an output of another job whose key is not known yet.
    waiting: bool = False
    #: Makes the keys of requests that differ from this one in their prompt only.
    keys: KeyTemplate | None = None


class Requests:
    """Builder of requests that recognises one which differs from an earlier one in its prompt only.

    Measured at 100,000 rows: without this, loading and planning take 27 % longer (1.4 of the 6
    times the bare loop that `benchmarks/` allows).
    """

    def __init__(self, files: Files, model: str | None = None) -> None:
        """`model` takes the place of the model that each job names."""
        self._files = files
        self._model = model
        #: Everything but the prompt → the request. A large table has few forms and many prompts.
        self._forms: dict[object, Request] = {}

    def build(
        self, values: Mapping[str, JSON], defaults: frozenset[str], form: object = None
    ) -> tuple[Request | None, Collector]:
        """The request that a job's values make; names in `defaults` come from `defaults:`.

        Jobs of an equal `form` differ in their prompt only. There is no request where the
        endpoint is not known; where there are errors it must not be used.
        """
        prompt = _plain_prompt(values.get("prompt"))
        if not prompt or form is None:
            return self._built(values, defaults)
        try:
            known = self._forms.get(form)
        except TypeError:  # a list or a mapping in it has no hash
            return self._built(values, defaults)
        if known is not None:
            endpoint_id, endpoint, arguments, estimate, _, keys = known
            arguments = {**arguments, "prompt": prompt}
            return Request(endpoint_id, endpoint, arguments, estimate, False, keys), _NOTHING
        request, problems = self._built(values, defaults)
        if request and not problems and _is_form(request) and len(self._forms) < _MOST_FORMS:
            with suppress(*NOT_JSON):  # the caller reports it
                keys = KeyTemplate(request.endpoint_id, request.arguments, "prompt")
                self._forms[form] = request._replace(keys=keys)
        return request, problems

    def _built(
        self, values: Mapping[str, JSON], defaults: frozenset[str]
    ) -> tuple[Request | None, Collector]:
        if self._model is not None and values.get("endpoint") is None:
            # As a default, so that a mode which one model alone has keeps that model.
            values, defaults = {**values, "model": self._model}, defaults | {"model"}
        return _build(values, defaults, self._files)


def _is_form(request: Request) -> bool:
    """Whether the same request with another prompt is valid too."""
    return request.endpoint is not None and not request.waiting and "prompt" in request.arguments


def _plain_prompt(prompt: JSON) -> str:
    """A prompt that no rule applies to, as it is sent; empty for any other."""
    text = prompt.strip() if isinstance(prompt, str) else ""
    return text if "@" not in text and "<<<" not in text and len(text) < 2000 else ""


def _build(
    given: Mapping[str, JSON], defaults: frozenset[str], files: Files
) -> tuple[Request | None, Collector]:
    values = dict(given)
    if values.get("endpoint") is not None:
        return _raw(values, defaults, files)
    problems = Collector()
    values.pop("endpoint", None)
    said = {name: values.pop(name, None) for name in _RAW_ONLY}
    words = _Words(values.pop("model", None), values.pop("mode", None), values.pop("tier", None))
    endpoint = _endpoint(words, defaults, problems)
    own_price = _own_price(said, endpoint, problems)
    if endpoint is None:
        return None, problems
    if defaults:
        _yield_defaults(values, defaults, endpoint, problems)
    through = _take_params(values, problems)
    endpoint = _meant_tier(endpoint, words, values, defaults, problems)
    arguments, found = catalog.examine(endpoint, values, through)
    problems.errors += found.errors
    problems.warnings += found.warnings
    inputs = _Inputs(files, problems)
    for name in through:
        if name in arguments and name not in endpoint.by_name:
            where = ("params", name)
            arguments[name] = inputs.walk(arguments[name], where, url=_is_url(name))
    if not endpoint.url_names.isdisjoint(arguments):
        inputs.beside = arguments
        arguments = catalog.replace_urls(endpoint, arguments, inputs.visit)
        check_together(endpoint, inputs.seconds, problems)
    _as_written(problems, endpoint, values)
    price = Estimate(MicroUSD(0))
    if not problems.errors:
        price = own_price or catalog.estimate(endpoint, arguments, inputs.seconds)
    return Request(endpoint.id, endpoint, arguments, price, inputs.waiting), problems


def _own_price(
    said: Mapping[str, JSON], endpoint: Endpoint | None, problems: Collector
) -> Estimate | None:
    """The price that a job gives, which it may where none is published."""
    unpriced = endpoint is not None and endpoint.price is None
    for name, value in said.items():
        if value is not None and not (name == "price" and unpriced):
            message = f"`{name}` belongs to jobs with `endpoint`"
            problems.error((name,), message, "conflict", "leave it out, or say `endpoint`")
    return given_price(said["price"], problems) if unpriced else None


def _as_written(problems: Collector, endpoint: Endpoint, values: Mapping[str, JSON]) -> None:
    """Give problems the names that the job has for its arguments, where fal has others."""
    written = {
        endpoint.by_any_name[name].name: name
        for name in values
        if name in endpoint.by_any_name and name not in endpoint.by_name
    }
    if written:
        for found in (problems.errors, problems.warnings):
            found[:] = [
                replace(each, path=(written.get(str(each.path[0]), each.path[0]), *each.path[1:]))
                if each.path
                else each
                for each in found
            ]


class _Words(NamedTuple):
    """What a job says about its endpoint."""

    model: JSON
    mode: JSON
    tier: JSON


def _endpoint(words: _Words, defaults: Collection[str], problems: Collector) -> Endpoint | None:
    if words.mode is None:
        hint = f"one of {', '.join(catalog.modes())}"
        problems.error((), "`mode` is missing", "missing", hint)
        return None
    for name, value in zip(_Words._fields, words, strict=True):
        if not isinstance(value, str | None):
            message = f"`{name}` must be a word, not {show(value)}"
            number = name == "model" and isinstance(value, int | float)
            # 4 for a name such as v4.
            hint = catalog.why_not_found("", None, show(value)).hint if number else ""
            problems.error((name,), message, "wrong-type", hint)
            return None
    known = catalog.find_exactly(words.mode, words.tier, words.model)
    if known is not None:
        return known
    model, tier = _lowered(words.model), _lowered(words.tier)
    mode = str(words.mode).strip().lower()
    if (model is None or "model" in defaults) and len(catalog.models_with(mode)) == 1:
        # A mode that one model alone has means that model.
        (model,) = catalog.models_with(mode)
    wanted = tier
    from_defaults = "tier" in defaults and tier in catalog.tiers()
    if from_defaults and tier not in catalog.tiers_of(mode, model):
        wanted = None  # a tier from `defaults:` does not apply to a mode without it
    found = catalog.find_exactly(mode, wanted, model)
    if found is None:
        problems.errors.append(catalog.why_not_found(mode, tier, model))
    return found


def _lowered(word: str | None) -> str | None:
    return None if word is None else word.strip().lower()


def _meant_tier(
    endpoint: Endpoint,
    words: _Words,
    values: dict[str, JSON],
    defaults: Collection[str],
    problems: Collector,
) -> Endpoint:
    """The endpoint of the tier that the arguments mean, where tiers are presets of arguments.

    A tier of the job itself outranks such an argument from `defaults:`, which is removed.
    """
    meant = catalog.fitting(endpoint, values)
    if meant is endpoint or words.tier is None or "tier" in defaults:
        return meant
    name = next(name for name in endpoint.presets if values.get(name) is not None)
    if name in defaults:
        del values[name]
        return endpoint
    message = f"`tier: {endpoint.tier}` means `{name}: {endpoint.presets[name]}`"
    hint = f"leave one of them out; `tier: {meant.tier}` means {meant.presets[name]}"
    problems.error((name,), message, "conflict", hint)
    return endpoint


def _yield_defaults(
    values: dict[str, JSON], defaults: frozenset[str], endpoint: Endpoint, problems: Collector
) -> None:
    """Remove the defaults that do not apply to this job."""
    for name in defaults - endpoint.by_name.keys():
        # Another name of something that the job itself says.
        same = endpoint.by_any_name.get(name)
        if same is not None and any(
            values.get(each) is not None for each in (same.name, *same.also) if each != name
        ):
            values.pop(name, None)
    for name in _foreign(endpoint.by_any_name, defaults):
        if values.pop(name, None) is not None and name in endpoint.refused:
            message = f"`{name}` is left out: {endpoint.refused[name]}"
            problems.warn((name,), message, "without-effect")
    for name in _EXCLUDES if defaults & _EXCLUDED else ():
        if values.get(name) is not None and name not in defaults:
            for other in defaults.intersection(_EXCLUDES[name]):
                values.pop(other, None)


def _foreign(known: Mapping[str, Parameter], defaults: frozenset[str]) -> tuple[str, ...]:
    """The names of the defaults that an endpoint does not have."""
    return tuple(name for name in defaults if name not in known and name != "params")


def _take_params(values: dict[str, JSON], problems: Collector) -> Collection[str]:
    """Merge `params:` into the values; known parameters among them are checked like the rest."""
    params = from_json(values.pop("params", None), "{")
    if not params:
        return ()
    if not isinstance(params, Mapping):
        problems.error(("params",), f"`params` must be a mapping, not {show(params)}", "wrong-type")
        return ()
    for name, value in params.items():
        if values.get(name) is not None:
            message = f"`{name}` stands in the job and in `params`"
            problems.error(("params", name), message, "conflict", "remove one of them")
        values[name] = value
    return set(params)


class _Inputs:
    """Replacement of paths by files; notes whether there are references to other jobs."""

    def __init__(self, files: Files, problems: Collector) -> None:
        self.waiting = False
        #: The other arguments of the request.
        self.beside: Mapping[str, JSON] = {}
        #: Lengths of local clips, as far as their headers have them.
        self.seconds: dict[ArgumentPath, float] = {}
        self._files = files
        self._findings = problems

    def visit(self, parameter: Parameter, value: JSON, path: ArgumentPath) -> JSON:
        """A URL of a catalogued endpoint."""
        if isinstance(value, OutputOf):
            self.waiting = True
        elif parameter.kind == "url" and isinstance(value, str) and value and not remote(value):
            file = self._local(value, path)
            if file is not None:
                limits = parameter.limits_with(self.beside)
                check_media(file, parameter.media, limits, path, self._findings)
                if (seconds := seconds_of(file)) is not None:
                    self.seconds[path] = seconds
                return file
        return value

    def walk(self, value: JSON, path: ArgumentPath, *, url: bool = False) -> JSON:
        """Part of an unchecked input: references, and files where names end in `_url(s)`."""
        if isinstance(value, Mapping):
            if _is_reference(value):
                self.waiting = True
                return read_reference(value, path, self._findings)
            return {
                name: self.walk(each, (*path, name), url=_is_url(name))
                for name, each in value.items()
            }
        if isinstance(value, list):
            return [self.walk(each, (*path, n), url=url) for n, each in enumerate(value)]
        if url and isinstance(value, str) and not remote(value) and self._files.plausible(value):
            return self._local(value, path)
        if url and isinstance(value, str) and (why := unreachable(value)):
            self._findings.warn(path, f"{show(value)} {why}", "unreachable")
        return value

    def _local(self, written: str, path: ArgumentPath) -> LocalFile | None:
        try:  # of a useless address it is said where the argument is checked
            return None if scheme_of_no_use(written) else self._files.get(written)
        except InvalidValue as error:
            self._findings.error(path, error.message, "no-file", error.hint)
            return None


def _is_reference(value: Mapping[str, JSON]) -> bool:
    """Whether a mapping of an unchecked input stands for the output of another job."""
    return "job" in value and _REFERENCE.issuperset(value)


def _is_url(name: str) -> bool:
    return name.endswith(("_url", "_urls"))


def _raw(
    values: dict[str, JSON], defaults: frozenset[str], files: Files
) -> tuple[Request | None, Collector]:
    """A request that the catalogue does not check, at the price that the job gives."""
    problems = Collector()
    endpoint_id = values.pop("endpoint")
    written = from_json(values.pop("input", None) or {}, "{")
    price = values.pop("price", None)
    for name, value in values.items():
        if value is None or name in defaults:
            continue
        message = f"`{name}` does not go with `endpoint`"
        hint = "leave it out" if name in _NOT_RAW else "put it into `input:`"
        problems.error((name,), message, "conflict", hint)
    if not isinstance(endpoint_id, str) or not _ENDPOINT.fullmatch(endpoint_id.strip()):
        message = f"{show(endpoint_id)} is no endpoint id, such as fal-ai/kling-video/…"
        problems.error(("endpoint",), message, "wrong-value")
        return None, problems
    if not isinstance(written, Mapping):
        problems.error(("input",), "`input` must be a mapping", "wrong-type")
        return None, problems
    if _is_reference(written):
        message = "`input` must be a mapping of parameters, not the output of another job"
        hint = "name the parameter that takes it: `input: {image_url: {job: …}}`"
        problems.error(("input",), message, "wrong-type", hint)
        return None, problems
    endpoint_id = endpoint_id.strip().strip("/")
    inputs = _Inputs(files, problems)
    arguments = inputs.walk(written, ("input",))
    estimate = raw_price(endpoint_id, arguments, price, problems)
    return Request(endpoint_id, None, arguments, estimate, inputs.waiting), problems
