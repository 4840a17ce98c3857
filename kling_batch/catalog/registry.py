"""The catalogue's interface: endpoints found, arguments checked and normalised, prices estimated.

    endpoint = find("text-to-video", "pro")
    arguments, problems = examine(endpoint, {"prompt": "A samurai", "duration": 5})

Must not read files or import anything heavy: `--help` imports this. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from kling_batch.catalog import kling_o3
from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.parameters import UNREAD, Parameter, map_urls, read
from kling_batch.catalog.pricing import Estimate, PerImage, estimate_images, estimate_video
from kling_batch.catalog.rules import shot_seconds
from kling_batch.core.diagnostics import Collector, nearest
from kling_batch.core.jobs import JSON, Arguments
from kling_batch.core.quantities import MicroUSD, format_usd, parse_usd
from kling_batch.errors import ArgumentPath, Problem

__all__ = [
    "CATALOG",
    "MODES",
    "TIERS",
    "Endpoint",
    "Estimate",
    "Parameter",
    "by_id",
    "estimate",
    "examine",
    "find",
    "format_usd",
    "normalise",
    "parse_usd",
    "replace_urls",
    "why_not_found",
]

#: Every endpoint, of every model generation: one data module each.
CATALOG: tuple[Endpoint, ...] = (*kling_o3.ENDPOINTS,)
MODES: tuple[str, ...] = tuple(dict.fromkeys(endpoint.mode for endpoint in CATALOG))
TIERS: tuple[str, ...] = ("standard", "pro", "4k")
DEFAULT_TIER = "pro"

_BY_MODE = MappingProxyType({(endpoint.mode, endpoint.tier): endpoint for endpoint in CATALOG})
_BY_ID = MappingProxyType({endpoint.id: endpoint for endpoint in CATALOG})
#: Every parameter name of any endpoint → the modes that have it.
PARAMETER_MODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        name: tuple(dict.fromkeys(each.mode for each in CATALOG if name in each.by_name))
        for name in sorted({name for each in CATALOG for name in each.by_name})
    }
)


def find(mode: str, tier: str = DEFAULT_TIER) -> Endpoint:
    """The endpoint of a mode and a tier; `KeyError` where there is none (see `why_not_found`)."""
    return _BY_MODE[mode, tier]


def find_exactly(mode: str, tier: str | None) -> Endpoint | None:
    """The endpoint of a mode and a tier, or None."""
    return _BY_MODE.get((mode, tier or DEFAULT_TIER))


def by_id(endpoint_id: str) -> Endpoint | None:
    """The endpoint of this id, or None where the catalogue has none."""
    return _BY_ID.get(endpoint_id)


def tiers_of(mode: str) -> tuple[str, ...]:
    """The tiers that a mode exists in."""
    return tuple(endpoint.tier for endpoint in CATALOG if endpoint.mode == mode)


def why_not_found(mode: str, tier: str) -> Problem:
    """The problem of a mode or tier for which `find` raises `KeyError`."""
    if mode not in MODES:
        hint = nearest(mode, MODES) or f"one of {', '.join(MODES)}"
        return Problem.about(("mode",), f"there is no mode `{mode}`", "unknown-mode", hint)
    tiers = tiers_of(mode)
    if tier not in TIERS:
        hint = nearest(tier, tiers) or f"one of {', '.join(tiers)}"
        return Problem.about(("tier",), f"there is no tier `{tier}`", "unknown-tier", hint)
    message = f"{mode} has no tier `{tier}`, only {' and '.join(tiers)}"
    return Problem.about(("tier",), message, "unknown-tier", "leave `tier` out")


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
            message = f"{endpoint.mode} needs `{name}`"
            problems.error((), message, "missing", endpoint.by_name[name].doc)
    for rule in endpoint.rules:
        rule(seen, problems)
    result = {**endpoint.defaults, **given}
    if "duration" in endpoint.defaults and "duration" not in given:
        # fal's default of 5 s would contradict the shots, so their sum is filled in.
        result["duration"] = str(shot_seconds(given) or result["duration"])
    return result, problems


def normalise(endpoint: Endpoint, arguments: Arguments) -> dict[str, JSON]:
    """The normal form of a request: defaults filled in, nulls dropped, types unified."""
    return examine(endpoint, arguments)[0]


def estimate(
    endpoint: Endpoint, arguments: Arguments, source_seconds: float | None = None
) -> Estimate:
    """What one attempt costs at most; `arguments` as `normalise` gives them."""
    if isinstance(endpoint.price, PerImage):
        return estimate_images(endpoint.price, arguments)
    if "duration" in endpoint.by_name:
        # Its length without `duration` is not published; it need not be that of the source.
        source_seconds = None
    return estimate_video(endpoint.price, arguments, source_seconds)


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
        if (parameter := endpoint.by_name.get(name)) is not None:
            before = len(problems.errors)
            got = read(parameter, value, (name,), problems)
            if got is not None:
                given[name] = got
            elif len(problems.errors) > before:
                unread.append(name)
        elif name in through:
            given[name] = value
        else:
            _report_unknown(endpoint, name, problems)
    return given, unread


def _report_unknown(endpoint: Endpoint, name: str, problems: Collector) -> None:
    message = f"{endpoint.mode} has no parameter `{name}`"
    hint = nearest(name, endpoint.by_name)
    modes = PARAMETER_MODES.get(name, ())
    if modes:
        message += f"; it belongs to {', '.join(modes)}"
    problems.error((name,), message, "unknown-parameter", hint)


#: A job that cost this many times its estimate stops further submissions: the catalogue's prices
#: must be wrong.
ALARM = 3


def cost_of(endpoint_id: str, units: float) -> MicroUSD | None:
    """Cost of billable units, or None where the price of the endpoint's unit is not known."""
    endpoint = by_id(endpoint_id)
    return MicroUSD(round(units * parse_usd(endpoint.unit_price))) if endpoint else None


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
