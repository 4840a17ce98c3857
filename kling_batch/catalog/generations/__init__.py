"""Data modules, one for each model generation: each has a `GENERATION`, and nothing is registered.

A module that lies here is found; nobody names one. Must not import them beforehand.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from kling_batch.catalog.endpoint import Generation


def load() -> tuple[Generation, ...]:
    """Every generation: the default one first, then from the newest to the oldest."""
    names = [module.name for module in iter_modules(__path__)]
    found = [import_module(f"{__name__}.{name}").GENERATION for name in names]
    return tuple(
        sorted(found, key=lambda each: (each.default, each.since, each.name), reverse=True)
    )
