"""The catalogue's endpoints, found by generation, mode and tier, or by id; loaded on first use.

Must not name a generation: each is a data module in `generations/`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from kling_batch.catalog.endpoint import Endpoint, Generation
from kling_batch.catalog.generations import load
from kling_batch.core.diagnostics import nearest
from kling_batch.errors import Problem

DEFAULT_TIER = "pro"
#: From the cheapest to the dearest.
_TIERS = ("standard", "pro", "master", "4k")


@dataclass(frozen=True)
class Index:
    """Everything that is looked up, made once of the generations."""

    generations: tuple[Generation, ...]

    @cached_property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every endpoint, the default generation's first."""
        return tuple(endpoint for each in self.generations for endpoint in each.named())

    @cached_property
    def by_words(self) -> Mapping[tuple[str, str], dict[str, Endpoint]]:
        """Model and mode → tier → endpoint."""
        found: dict[tuple[str, str], dict[str, Endpoint]] = {}
        for endpoint in self.endpoints:
            found.setdefault((endpoint.model, endpoint.mode), {})[endpoint.tier] = endpoint
        return found

    @cached_property
    def by_id(self) -> Mapping[str, Endpoint]:
        """Id → endpoint; of tiers that share an id, the default one."""
        ordered = sorted(self.endpoints, key=lambda each: each.tier != DEFAULT_TIER)
        return {endpoint.id: endpoint for endpoint in reversed(ordered)}

    @cached_property
    def tiers(self) -> tuple[str, ...]:
        """Every tier of any endpoint."""
        known = {each.tier for each in self.endpoints}
        return tuple(
            sorted(known, key=lambda tier: (_TIERS.index(tier) if tier in _TIERS else 9, tier))
        )

    @cached_property
    def users(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """Parameter name, sorted → the endpoints that take it, also as another name."""
        found: dict[str, list[Endpoint]] = {}
        for endpoint in self.endpoints:
            for name in endpoint.by_any_name:
                found.setdefault(name, []).append(endpoint)
        return {name: tuple(found[name]) for name in sorted(found)}


@cache
def index() -> Index:
    """The index of every generation there is."""
    return Index(load())


def generations() -> tuple[Generation, ...]:
    """Every generation: the default one first, then from the newest to the oldest."""
    return index().generations


def models() -> tuple[str, ...]:
    """What `model:` may say."""
    return tuple(each.name for each in generations())


def default_model() -> str:
    """The model of a job that names none."""
    return generations()[0].name


def endpoints() -> tuple[Endpoint, ...]:
    """Every endpoint of every generation."""
    return index().endpoints


def modes(model: str | None = None) -> tuple[str, ...]:
    """The modes of a generation, or of all."""
    return _unique(each.mode for each in endpoints() if model in (None, each.model))


def tiers() -> tuple[str, ...]:
    """Every tier of any endpoint."""
    return index().tiers


def tiers_of(mode: str, model: str | None = None) -> tuple[str, ...]:
    """The tiers that a mode of a generation exists in."""
    return tuple(index().by_words.get((model or default_model(), mode), ()))


def models_with(mode: str) -> tuple[str, ...]:
    """The generations that have a mode."""
    return _unique(each.model for each in endpoints() if each.mode == mode)


def find(mode: str, tier: str | None = None, model: str | None = None) -> Endpoint:
    """The endpoint of these words; `KeyError` where there is none (see `why_not_found`).

    Without a tier it is the default one, or the only one.
    """
    found = index().by_words[model or default_model(), mode]
    if tier is None and DEFAULT_TIER not in found:
        return next(iter(found.values()))
    return found[tier or DEFAULT_TIER]


def find_exactly(mode: str, tier: str | None, model: str | None = None) -> Endpoint | None:
    """The endpoint of these words, or None."""
    try:
        return find(mode, tier, model)
    except KeyError:
        return None


def by_id(endpoint_id: str) -> Endpoint | None:
    """The endpoint of this id, or None where the catalogue has none."""
    return index().by_id.get(endpoint_id)


def siblings(endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """The same mode of the same generation in every tier, the endpoint itself included."""
    return tuple(index().by_words[endpoint.model, endpoint.mode].values())


def why_not_found(mode: str, tier: str | None, model: str | None = None) -> Problem:
    """The problem of words for which `find` raises `KeyError`: a sentence with what there is."""
    name = model or default_model()
    if name not in models():
        close = _generation_meant(name)
        hint = f"one of {', '.join(models())}" + (f"; {close}" if close else "")
        message = f"there is no model `{name}`"
        return Problem.about(("model",), message, "unknown-model", hint)
    if mode not in modes():
        hint = nearest(mode, modes(name)) or f"one of {', '.join(modes(name))}"
        return Problem.about(("mode",), f"there is no mode `{mode}`", "unknown-mode", hint)
    if mode not in modes(name):
        message = f"{name} has no mode `{mode}`, only {_listed(modes(name))}"
        hint = f"{mode} is a mode of {_listed(models_with(mode))}: say `model:`"
        return Problem.about(("mode",), message, "unknown-mode", hint)
    return _no_tier(mode, str(tier), name)


def _generation_meant(name: str) -> str:
    """The hint for a model that is not there: also for `4`, `4.0` and `kling-v4`."""
    plain = name.removeprefix("kling").lstrip(" -_/v").replace("_", "-").replace(" ", "-")
    for word in (plain, f"v{plain}", f"v{plain}.0", f"v{plain.removesuffix('.0')}"):
        if word in models():
            return f"did you mean `{word}`?"
    return nearest(name, models())


def _no_tier(mode: str, tier: str, model: str) -> Problem:
    there = tiers_of(mode, model)
    if tier not in tiers():
        hint = nearest(tier, there) or f"one of {', '.join(there)}"
        return Problem.about(("tier",), f"there is no tier `{tier}`", "unknown-tier", hint)
    subject = mode if model == default_model() else f"{model} {mode}"
    message = f"{subject} has no tier `{tier}`, only {_listed(there)}"
    others = _unique(each.model for each in endpoints() if (each.mode, each.tier) == (mode, tier))
    hint = "leave `tier` out"
    if others:
        hint += f"; {_listed(others)} {'has' if len(others) == 1 else 'have'} it"
    return Problem.about(("tier",), message, "unknown-tier", hint)


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
