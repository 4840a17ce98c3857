"""Lazy attributes of a package: a name is imported from its module when it is first used.

Must not import anything heavier: `typing` alone would be a third of `--version`.
"""

import sys
from importlib import import_module


def lazy_attributes(package: str, modules: dict[str, str]) -> object:
    """A package's `__getattr__` (PEP 562).

    Args:
        package: its `__name__`.
        modules: name → full name of the module that defines it.
    """

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get
