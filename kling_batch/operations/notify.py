"""Notifications about the end of a run, through apprise: mail, Slack, webhooks and more.

The addresses are secrets: no message, log or ledger has them. Must not decide what is worth a
message beyond the end of a run, and must not fail one.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from threading import Thread
from typing import Any

import anyio

from kling_batch.core.jobs import Batch
from kling_batch.core.programs import NOTIFY_VARIABLE, forbidden_by
from kling_batch.errors import ExitCode
from kling_batch.report.run_report import RunReport
from kling_batch.report.summary import closing

#: Seconds for all addresses together.
SECONDS = 60.0
#: Seconds between looks at whether they have.
_LOOK = 0.02

MISSING = "notifications need a library that is not installed: pip install 'kling-batch[notify]'"


def addresses_of(batches: Sequence[Batch], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Every address once; what an environment variable holds is looked up."""
    given = _given(batches, environ)
    found = [environ.get(a[1:], "") if a.startswith("$") else a for a in given]
    found += environ.get(NOTIFY_VARIABLE, "").split()
    return tuple(dict.fromkeys(address for address in found if address))


def unset_variables(batches: Sequence[Batch], environ: Mapping[str, str]) -> list[str]:
    """Variables that `notify:` names and the environment does not have."""
    named = {a[1:] for a in _given(batches, environ) if a.startswith("$")}
    return sorted(name for name in named if not environ.get(name))


def _given(batches: Sequence[Batch], environ: Mapping[str, str]) -> list[str]:
    """What the manifests name, unless the environment forbids it."""
    if forbidden_by(environ):
        return []
    return [address for batch in batches for address in batch.notify]


def warnings_before(batches: Sequence[Batch], environ: Mapping[str, str]) -> list[str]:
    """Why no message, or not every one, will be sent; told before the run begins."""
    found = [f"notify: ${name} is not set" for name in unset_variables(batches, environ)]
    if addresses_of(batches, environ) and find_spec("apprise") is None:
        found.append(MISSING)
    return found


async def notify(addresses: Sequence[str], report: RunReport) -> str:
    """Send the summary to all addresses; a warning, or empty where all took it."""
    if find_spec("apprise") is None:
        return MISSING
    taken: list[str] = []
    # A thread of anyio's would be waited for at the end of the process, however long a service
    # takes to answer.
    sending = Thread(target=_send, args=[addresses, report, taken], name="notify", daemon=True)
    sending.start()
    with anyio.move_on_after(SECONDS):
        while sending.is_alive():  # noqa: ASYNC110 - a thread that nobody waits for
            await anyio.sleep(_LOOK)
    if failed := len(addresses) - len(taken):
        return f"notify: {failed} of {len(addresses)} addresses did not take the message"
    return ""


def _message(report: RunReport) -> tuple[str, str]:
    name = ", ".join(report.batches) or "kling-batch"
    title = f"{name}: {report.meaning}"
    return title, "\n".join(line.text for line in closing(report))


def _send(addresses: Sequence[str], report: RunReport, taken: list[str]) -> None:
    """Send the message to each address; `taken` gets those that took it."""
    import apprise  # noqa: PLC0415 - an extra, and heavy

    # Its log quotes addresses.
    log = logging.getLogger("apprise")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    (title, body), ok = _message(report), report.exit_code is ExitCode.OK
    kind: Any = apprise.NotifyType.SUCCESS if ok else apprise.NotifyType.WARNING
    for address in addresses:
        # Without threads of its own, which would be waited for.
        service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))
        if _taken(service, address, title, body, kind):
            taken.append(address)


def _taken(service: Any, address: str, title: str, body: str, kind: Any) -> bool:
    """Whether the service behind an address took the message; its plug-ins may raise anything."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")  # about their own imports; nobody here can act on them
        added = service.add(address)
        return bool(added and service.notify(body=body, title=title, notify_type=kind))
    return False
