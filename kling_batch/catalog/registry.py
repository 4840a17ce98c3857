"""The catalogue's interface: endpoints found, arguments checked and normalised, prices estimated.

    endpoint = find("text-to-video", "pro")
    arguments, problems = examine(endpoint, {"prompt": "A samurai", "duration": 5})

Must not read files or import anything heavy: `--help` imports this. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal

from kling_batch.catalog.endpoint import Endpoint, Evidence, Generation
from kling_batch.catalog.index import (
    DEFAULT_TIER,
    by_id,
    default_model,
    endpoints,
    find,
    find_exactly,
    generations,
    index,
    models,
    models_with,
    modes,
    siblings,
    tiers,
    tiers_of,
    why_not_found,
)
from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.parameters import UNREAD, map_urls, read
from kling_batch.catalog.pricing import (
    Case,
    Counted,
    Estimate,
    PerCall,
    PerImage,
    deciding,
    estimate_images,
    estimate_seconds,
)
from kling_batch.catalog.rules import ordered_seconds, shot_seconds
from kling_batch.core.diagnostics import Collector, nearest
from kling_batch.core.jobs import JSON, Arguments
from kling_batch.core.quantities import MicroUSD, format_usd, parse_usd
from kling_batch.errors import ArgumentPath, Problem

__all__ = [
    "DEFAULT_TIER",
    "Endpoint",
    "Estimate",
    "Generation",
    "Parameter",
    "by_id",
    "clip_limits",
    "default_model",
    "endpoints",
    "estimate",
    "estimate_as_written",
    "examine",
    "find",
    "find_exactly",
    "fitting",
    "format_usd",
    "generations",
    "index",
    "models",
    "models_with",
    "modes",
    "normalise",
    "ordered_seconds",
    "parse_usd",
    "replace_urls",
    "siblings",
    "tiers",
    "tiers_of",
    "why_not_found",
]

#: Seconds of clips by the path of the argument that holds each.
Lengths = Mapping[ArgumentPath, float]


def examine(
    endpoint: Endpoint, arguments: Arguments, through: Collection[str] = ()
) -> tuple[dict[str, JSON], Collector]:
    """The arguments as they are sent, with every error and warning about them.

    Names in `through` that the endpoint does not know are passed on as they stand.
    """
    problems = Collector()
    given, unread = _read(endpoint, arguments, through, problems)
    seen = {**given, **dict.fromkeys(unread, UNREAD)} if unread else given
    for name in endpoint.required:
        if name not in seen:
            message = f"{_words(endpoint)} needs `{name}`"
            problems.error((), message, "missing", endpoint.by_name[name].doc)
    if endpoint.doubt:
        problems.warn((), endpoint.doubt, "undocumented")
    for rule in endpoint.rules:
        rule(seen, problems)
    result = {**endpoint.defaults, **given}
    if "duration" in endpoint.defaults and "duration" not in given:
        # fal's default of 5 s would contradict the shots, so their sum is filled in.
        default = result["duration"]
        result["duration"] = type(default)(shot_seconds(given) or default)
    return result, problems


def normalise(endpoint: Endpoint, arguments: Arguments) -> dict[str, JSON]:
    """The normal form of a request: defaults filled in, nulls dropped, types unified."""
    return examine(endpoint, arguments)[0]


def fitting(endpoint: Endpoint, arguments: Arguments) -> Endpoint:
    """The tier that the arguments mean, where a tier is nothing but a preset of arguments."""
    for name, preset in endpoint.presets.items():
        written = arguments.get(name)
        value = None if written is None else read(endpoint.by_name[name], written, (), Collector())
        if value not in (None, preset):
            return next((e for e in siblings(endpoint) if e.presets.get(name) == value), endpoint)
    return endpoint


def estimate(endpoint: Endpoint, arguments: Arguments, seconds: Lengths | None = None) -> Estimate:
    """What one attempt costs at most; `arguments` as `normalise` gives them.

    `seconds` are the lengths of input clips, as far as they are known.
    """
    if endpoint.price is None:
        return Estimate(MicroUSD(0), "price unknown")
    if isinstance(endpoint.price, PerCall):
        return Estimate(parse_usd(endpoint.price.usd))
    if isinstance(endpoint.price, PerImage):
        known = {name: arguments[name] for name in arguments if name in endpoint.by_name}
        passed_on = deciding(endpoint.price) & (arguments.keys() - known.keys())
        return estimate_images(endpoint.price, known, passed_on)
    clips = clip_limits(endpoint, arguments)
    sounds = clip_limits(endpoint, arguments, "audio")
    lengths = seconds or {}
    notes: list[str] = []
    output = _output_seconds(endpoint, arguments, {**sounds, **clips}, lengths, notes)
    inputs = _input_seconds(endpoint, clips, lengths)
    if not lengths.keys() >= clips.keys() and any(
        r.counted is not Counted.OUTPUT for r in endpoint.price.rates
    ):
        notes.append(f"seconds of input clips are billed, too: up to {inputs:g} s")
    case = Case(
        sound=arguments.get("generate_audio") is True,
        voice=_has_voice(arguments),
        clip=bool(clips),
        resolution=str(arguments.get("resolution", "")),
    )
    return estimate_seconds(endpoint.price, case, output, inputs, notes)


def estimate_as_written(endpoint: Endpoint, arguments: Arguments) -> Estimate | Problem:
    """What an input costs at most that is sent as it is written: fal fills in its own defaults.

    The problem, if the catalogue cannot read something that the price depends on.
    """
    own = endpoint.as_fal_fills_it
    problems = Collector()
    given, _ = _read(own, arguments, (), problems)
    names = deciding(endpoint.price)
    for each in problems.errors:
        name = next((part for part in reversed(each.path) if isinstance(part, str)), "")
        # An address that fal cannot fetch is read all the same.
        if name in names and each.code != "unreachable":
            return each
    return estimate(own, {**own.defaults, **given})


def clip_limits(
    endpoint: Endpoint, arguments: Arguments, media: str = "video"
) -> dict[ArgumentPath, float]:
    """The paths of a request's input clips (or sounds), and the greatest length of each."""
    found: dict[ArgumentPath, float] = {}
    if endpoint.url_names.isdisjoint(arguments):
        return found

    def visit(parameter: Parameter, value: JSON, path: ArgumentPath) -> JSON:
        if parameter.media == media:
            limits = parameter.limits_with(arguments)
            found[path] = (limits and limits.longest) or endpoint.longest
        return value

    replace_urls(endpoint, arguments, visit)
    return found


def _output_seconds(
    endpoint: Endpoint,
    arguments: Arguments,
    clips: Lengths,
    known: Lengths,
    notes: list[str],
) -> float:
    ordered = ordered_seconds(arguments)
    if ordered is not None and "duration" in endpoint.by_name:
        return ordered
    source: ArgumentPath = ("video_url",) if "video_url" in endpoint.by_name else ("audio_url",)
    # Its length without `duration` is not published; it need not be that of the source.
    if "duration" in endpoint.by_name or source not in clips:
        longest: float = endpoint.longest
    elif source in known:
        return max(known[source], ordered or 0)
    else:
        longest = max(clips[source], ordered or 0)
    notes.append(f"length not known beforehand: up to {longest:g} s")
    return longest


def _input_seconds(endpoint: Endpoint, clips: Lengths, known: Lengths) -> float:
    """Seconds of all input clips; the longest that may be, where one is not known."""
    given = sum(Decimal(repr(known[path])) for path in clips if path in known)
    if known.keys() >= clips.keys():
        return float(given)
    most = given + sum(Decimal(repr(clips[path])) for path in clips if path not in known)
    together = Decimal(endpoint.clips_together or most)
    return float(max(given, min(most, together)))


def _has_voice(arguments: Arguments) -> bool:
    elements = arguments.get("elements")
    return bool(arguments.get("voice_ids")) or any(
        isinstance(element, Mapping) and element.get("voice_id") is not None
        for element in (elements if isinstance(elements, list) else ())
    )


def replace_urls(
    endpoint: Endpoint, arguments: Arguments, visit: Callable[[Parameter, JSON, ArgumentPath], JSON]
) -> dict[str, JSON]:
    """Normalised arguments with every URL in them replaced by the result of `visit`."""
    result = dict(arguments)
    for parameter in endpoint.parameters:
        if parameter.holds_urls and parameter.name in result:
            path = (parameter.name,)
            result[parameter.name] = map_urls(parameter, result[parameter.name], path, visit)
    return result


def _read(
    endpoint: Endpoint, arguments: Arguments, through: Collection[str], problems: Collector
) -> tuple[dict[str, JSON], list[str]]:
    """Every argument that could be read, and the names of those that could not."""
    given: dict[str, JSON] = {}
    unread: list[str] = []
    for name, value in arguments.items():
        if value is None:
            continue
        if (parameter := endpoint.by_any_name.get(name)) is not None:
            before = len(problems.errors)
            got = read(parameter, value, (name,), problems)
            if parameter.name != name:
                _report_translation(endpoint, name, parameter, arguments, problems)
            if got is not None:
                given[parameter.name] = got
            elif len(problems.errors) > before:
                unread.append(parameter.name)
            if got is not None and parameter.doubt:
                problems.warn((name,), f"`{name}`: {parameter.doubt}", "undocumented")
        elif name in through:
            given[name] = value
        else:
            _report_unknown(endpoint, name, problems)
    return given, unread


def _report_translation(
    endpoint: Endpoint, name: str, parameter: Parameter, arguments: Arguments, problems: Collector
) -> None:
    if arguments.get(parameter.name) is not None:
        message = f"`{name}` and `{parameter.name}` are the same for {_words(endpoint)}"
        problems.error((name,), message, "conflict", "keep one of them")
    else:
        message = f"`{name}` is sent as `{parameter.name}`, as {_words(endpoint)} names it"
        problems.warn((name,), message, "translated")


def _report_unknown(endpoint: Endpoint, name: str, problems: Collector) -> None:
    if name in endpoint.refused:
        message = f"{_words(endpoint)} has no parameter `{name}`: {endpoint.refused[name]}"
        problems.error((name,), message, "unknown-parameter", "leave it out")
        return
    message = f"{_words(endpoint)} has no parameter `{name}`"
    hint = nearest(name, endpoint.by_any_name) or _plain(endpoint, name)
    users = index().users.get(name, ())
    # Where a list is accepted for it, or it for a list, it is not at home.
    kinds = {each.by_name[name].kind for each in users if name in each.by_name}
    users = tuple(each for each in users if each.by_any_name[name].kind in kinds)
    own = dict.fromkeys(each.mode for each in users if each.model == endpoint.model)
    if endpoint.mode in own:
        there = dict.fromkeys(e.tier for e in siblings(endpoint) if name in e.by_any_name)
        own = dict.fromkeys([f"the tier {' and '.join(there)}"])
    others = dict.fromkeys(each.model for each in users)
    if own or others:
        message += f"; it belongs to {', '.join(own or others)}"
    if endpoint.evidence is Evidence.PARTLY and not hint:
        hint = "fal's schema is known in part: what it has besides goes into `params:`"
    problems.error((name,), message, "unknown-parameter", hint)


#: What people call parameters, where no name is close to it.
_PLAIN: Mapping[str, tuple[str, ...]] = {
    "sound": ("generate_audio", "keep_audio", "keep_original_sound"),
    "with_audio": ("generate_audio", "keep_audio", "keep_original_sound"),
    "audio": ("audio_url", "generate_audio", "keep_audio", "keep_original_sound"),
    "video": ("video_url", "video_urls"),
    "clip": ("video_url", "video_urls"),
    "image": ("image_url", "start_image_url", "image_urls", "input_image_urls"),
    "picture": ("image_url", "start_image_url", "image_urls", "input_image_urls"),
    "first_frame": ("image_url", "start_image_url"),
    "last_frame": ("end_image_url", "tail_image_url"),
    "length": ("duration",),
    "seconds": ("duration",),
    "ratio": ("aspect_ratio",),
    "format": ("aspect_ratio", "output_format"),
    "count": ("num_images",),
    "voice": ("voice_id", "voice_ids", "voice_url"),
    "prompt": ("text",),
}


def _plain(endpoint: Endpoint, name: str) -> str:
    """The hint `did you mean …?` for a word that people use for a parameter, or nothing."""
    there = (each for each in _PLAIN.get(name, ()) if each in endpoint.by_name)
    return next((f"did you mean `{each}`?" for each in there), "")


def _words(endpoint: Endpoint) -> str:
    """The endpoint as a person names it: its mode, and its model unless it is the default one."""
    return (
        endpoint.mode if endpoint.model == default_model() else f"{endpoint.model} {endpoint.mode}"
    )


#: A job that cost this many times its estimate stops further submissions: the catalogue's prices
#: must be wrong.
ALARM = 3


def cost_of(endpoint_id: str, units: float) -> MicroUSD | None:
    """Cost of billable units, or None where the price of the endpoint's unit is not known."""
    endpoint = by_id(endpoint_id)
    if endpoint is None or not endpoint.unit_price:
        return None
    return MicroUSD(round(units * parse_usd(endpoint.unit_price)))


#: A cost up to this many times the estimate is a rounding difference.
ROUNDING = 1.01


def exceeds_estimate(cost: MicroUSD, estimate: MicroUSD) -> bool:
    """Whether a render cost more than its estimate, rounding apart; never without an estimate."""
    return 0 < estimate * ROUNDING < cost


def falls_short(cost: MicroUSD, estimate: MicroUSD) -> bool:
    """Whether a render cost less than its estimate, rounding apart."""
    return cost * ROUNDING < estimate


def far_exceeds_estimate(cost: MicroUSD, estimate: MicroUSD) -> bool:
    """Whether a render cost so much more than its estimate that submissions must stop."""
    return 0 < ALARM * estimate <= cost
