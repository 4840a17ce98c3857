"""fal's schemas of endpoints, kept in a file beside the ledger, each with the time it was read.

The file may be deleted at any time. Must not judge what is in a schema, and must not fail where it
cannot be read or written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from kling_batch.core.jobs import JSON
from kling_batch.core.outcomes import Unread
from kling_batch.core.quantities import format_time, parse_time
from kling_batch.output.files import replace_file

FILE_NAME = "endpoint-schemas.json"
#: An older one is read again; where that fails it is still used, as a doubt.
MOST_AGE = timedelta(days=1)

#: Reads the schemas of endpoints; what could not be read is `Unread`.
Ask = Callable[[Sequence[str]], Mapping[str, JSON | Unread]]


class KeptSchema(NamedTuple):
    """What is known about an endpoint's schema."""

    #: fal's document; None where none could be had.
    document: JSON
    read_at: datetime | None = None
    #: Why it is not of today; empty where it is.
    unread: str = ""

    @property
    def date(self) -> str:
        """The day on which it was read."""
        return f"{self.read_at:%Y-%m-%d}" if self.read_at else ""


class KeptSchemas:
    """The schemas beside one ledger, of one service."""

    def __init__(self, ledger: Path, service: str, now: Callable[[], datetime]) -> None:
        """`service` keeps fal's schemas apart from those of an emulator."""
        self._path, self._service, self._now = ledger.with_name(FILE_NAME), service, now

    def of(self, endpoints: Sequence[str], ask: Ask | None) -> dict[str, KeptSchema]:
        """The schema of each endpoint; `ask` reads what is missing or too old, None: nobody."""
        kept = self._kept()
        found = {name: self._one(kept, name) for name in endpoints}
        wanted = [name for name, each in found.items() if not self._is_young(each)]
        if not wanted:
            return found
        if ask is None:
            unread = {name: Unread("nobody is asked") for name in wanted}
            answers: Mapping[str, JSON | Unread] = unread
        else:
            answers = ask(wanted)
        now = self._now()
        for name, answer in answers.items():
            if isinstance(answer, Unread):
                found[name] = found[name]._replace(unread=answer.reason)
            else:
                found[name] = KeptSchema(answer, now)
                entry = {"read_at": format_time(now), "document": answer}
                kept.setdefault(self._service, {})[name] = entry
        if any(not isinstance(answer, Unread) for answer in answers.values()):
            self._keep(kept)
        return found

    def _is_young(self, schema: KeptSchema) -> bool:
        if schema.document is None or schema.read_at is None:
            return False
        return timedelta() <= self._now() - schema.read_at < MOST_AGE

    def _one(self, kept: Mapping[str, Any], name: str) -> KeptSchema:
        with suppress(KeyError, TypeError, ValueError, AttributeError, OverflowError):
            entry = kept[self._service][name]
            read_at = parse_time(entry["read_at"]).astimezone(UTC)
            return KeptSchema(entry["document"], read_at)
        return KeptSchema(None)

    def _kept(self) -> dict[str, Any]:
        with suppress(OSError, ValueError, RecursionError):
            kept = json.loads(self._path.read_bytes())
            if isinstance(kept, dict) and all(isinstance(each, dict) for each in kept.values()):
                return kept
        return {}

    def _keep(self, kept: Mapping[str, Any]) -> None:
        """Write the file, where there is a folder for it: a plan makes none."""
        if self._path.parent.is_dir():
            with suppress(OSError):
                replace_file(self._path, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
