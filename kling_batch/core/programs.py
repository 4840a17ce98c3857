"""Programs that a manifest names: whether they may be started, and what they inherit. Pure.

Hooks and the commands of renditions. Must not start anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from kling_batch.core.diagnostics import show
from kling_batch.errors import UsageError

#: No, as `0`: nothing that a manifest names is started, and nobody is told whom one names.
HOOKS_VARIABLE = "KLING_BATCH_HOOKS"
#: Addresses for notifications beside those of the manifests, separated by blanks.
NOTIFY_VARIABLE = "KLING_BATCH_NOTIFY"
#: What no program inherits: the key of fal, and addresses that are secrets.
WITHHELD = ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET", NOTIFY_VARIABLE)

#: How a variable says yes or no: as click reads the variables of options.
_YES = ("1", "true", "yes", "on", "t", "y")
_NO = ("0", "false", "no", "off", "f", "n")


def forbidden_by(environ: Mapping[str, str]) -> str:
    """The setting that forbids what a manifest names, as `NAME=value`; empty: none does.

    Raises:
        UsageError: nobody can say what is meant. To start the programs would be a guess.
    """
    value = (environ.get(HOOKS_VARIABLE) or _YES[0]).strip()
    if value.lower() in _NO:
        return f"{HOOKS_VARIABLE}={value}"
    if value.lower() not in _YES:
        known = f"{', '.join(_NO)}; or {', '.join(_YES)}"
        raise UsageError(f"{HOOKS_VARIABLE}={show(value)}: neither no nor yes, which are {known}")
    return ""


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what no program of a manifest may have."""
    return {name: value for name, value in environ.items() if name not in WITHHELD}
