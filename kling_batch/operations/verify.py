"""Verification of ledger and disk: keys, transitions, sums and files are derived again.

Reads only; `repair.py` downloads what is missing. Must not write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kling_batch.core.jobs import keyed
from kling_batch.core.lifecycle import Event, IllegalTransitionError, State, step
from kling_batch.core.records import File
from kling_batch.ledger.reader import Reader
from kling_batch.output.files import digest_of
from kling_batch.output.store import OutputStore, sidecar_of


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that differs from what the ledger says."""

    subject: str
    message: str
    #: The attempt whose files can be fetched again, or None.
    repairable: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of a verification: what was checked, and what was wrong."""

    jobs: int
    attempts: int
    files: int
    findings: tuple[Finding, ...]


def verify_ledger(reader: Reader, store: OutputStore) -> Verdict:
    """Derive everything that can be derived and compare."""
    files = [file for found in reader.files().values() for file in found]
    adopted = {row["id"] for row in reader.rows("select id from attempts where origin = 'adopted'")}
    findings = [*_keys(reader), *_histories(reader), *_sums(reader)]
    count = {
        table: next(reader.rows(f"select count(*) as n from {table}"))["n"]  # noqa: S608
        for table in ("jobs", "attempts")
    }
    reader.let_go()  # a concurrent run must not keep its log until every file is hashed
    findings += _files(files, adopted, store)
    return Verdict(count["jobs"], count["attempts"], len(files), tuple(findings))


def _keys(reader: Reader) -> Iterator[Finding]:
    for row in reader.rows("select key, endpoint, take, arguments from jobs"):
        if keyed(row["endpoint"], row["arguments"], row["take"]) != row["key"]:
            yield Finding(row["key"], "the key does not fit endpoint, arguments and take")


def _histories(reader: Reader) -> Iterator[Finding]:
    """Every attempt's events must lead, by legal steps, to the state it is in."""
    states: dict[int, State | None] = {}
    sql = "select attempt_id, event, to_state from events order by attempt_id, id"
    for row in reader.rows(sql):
        attempt = row["attempt_id"]
        try:
            after = step(states.get(attempt), Event(row["event"]))
        except (IllegalTransitionError, ValueError) as error:
            yield Finding(f"attempt {attempt}", f"an impossible history: {error}")
            after = State(row["to_state"])
        if after != row["to_state"]:
            yield Finding(f"attempt {attempt}", f"{row['event']} led to {row['to_state']}")
        states[attempt] = State(row["to_state"])
    for row in reader.rows("select id, state from attempts"):
        if states.get(row["id"]) != row["state"]:
            yield Finding(f"attempt {row['id']}", f"is {row['state']}, its events say otherwise")


def _sums(reader: Reader) -> Iterator[Finding]:
    """The view that every cap is held against, computed a second way."""
    charged = exposed = 0
    sql = "select state, charged, origin, estimate_micro_usd, cost_micro_usd from attempts"
    for row in reader.rows(sql):
        price = row["cost_micro_usd"]
        price = row["estimate_micro_usd"] if price is None else price
        if row["origin"] == "adopted":
            continue
        if row["state"] in ("rendered", "succeeded") or row["charged"] == "yes":
            charged += price
        elif row["state"] in ("submitting", "in_doubt", "submitted") or row["charged"] == "unknown":
            exposed += row["estimate_micro_usd"]
    money = reader.money()
    if (charged, exposed) != (money.charged, money.exposed):
        totals = f"charged {money.charged}, exposed {money.exposed}"
        yield Finding("money", f"{totals}; derived {charged} and {exposed} micro-USD")


def _files(files: list[File], adopted: set[int], store: OutputStore) -> Iterator[Finding]:
    for file in files:
        repair = None if file.superseded or file.attempt_id in adopted else file.attempt_id
        try:
            message = _difference(file, store.located(file.path))
        except OSError as error:
            # It may be intact: a person must give access before anything is fetched over it.
            yield Finding(file.path, f"cannot be read: {error.strerror or error}")
            continue
        if message:
            yield Finding(file.path, message, repair)
        elif repair is not None and not sidecar_of(store.located(file.path)).is_file():
            yield Finding(file.path, "the sidecar beside it is missing", repair)


def _difference(file: File, path: Path) -> str:
    """How the file differs from what was saved; nothing where it does not."""
    if not path.is_file():
        return "missing"
    if (size := path.stat().st_size) != file.size:
        return f"{size} bytes instead of {file.size}"
    return "" if digest_of(path) == file.sha256 else "the content has changed since it was saved"
