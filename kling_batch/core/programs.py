"""Programs that a manifest names: whether they may be started, and what they inherit. Pure.

Hooks and the commands of renditions. Must not start anything.
"""

from __future__ import annotations

from collections.abc import Mapping

#: `0`: nothing that a manifest names is started, and nobody is told whom one names.
HOOKS_VARIABLE = "KLING_BATCH_HOOKS"
#: Addresses for notifications beside those of the manifests, separated by blanks.
NOTIFY_VARIABLE = "KLING_BATCH_NOTIFY"
#: What no program inherits: the key of fal, and addresses that are secrets.
WITHHELD = ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET", NOTIFY_VARIABLE)


def are_forbidden(environ: Mapping[str, str]) -> bool:
    """Whether the environment forbids what a manifest names."""
    return environ.get(HOOKS_VARIABLE) == "0"


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what no program of a manifest may have."""
    return {name: value for name, value in environ.items() if name not in WITHHELD}
