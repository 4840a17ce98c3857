"""The states of an attempt: properties of the graph; the ledger against a plain model."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.engine import make_job

from kling_batch.core.jobs import Batch, Job, JobKey
from kling_batch.core.lifecycle import (
    LIVE_OR_PAID,
    NEXT,
    OPEN,
    SETTLED,
    TRANSITIONS,
    Event,
    IllegalTransitionError,
    State,
    step,
)
from kling_batch.core.outcomes import CancelAnswer, Charged, Failure, FailureKind, Fetched, Handle
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap, OverCap
from kling_batch.errors import LedgerError
from kling_batch.ledger.first_schema import FIRST_SCHEMA
from kling_batch.ledger.ledger import Ledger, Placed, RequestClaimedError

# -- the graph ---------------------------------------------------------------------------------


def reachable(start: State | None) -> set[State]:
    found: set[State] = set()
    edge: set[State | None] = {start}
    while edge:
        here = edge.pop()
        for (before, _), after in TRANSITIONS.items():
            if before == here and after not in found:
                found.add(after)
                edge.add(after)
    return found


def test_every_state_is_reachable_from_nothing() -> None:
    assert reachable(None) == set(State)


def test_every_event_moves_something() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)


@pytest.mark.parametrize("state", sorted(set(State) - set(SETTLED)))
def test_every_live_state_can_settle_well_and_badly(state: State) -> None:
    assert reachable(state) >= {State.SUCCEEDED, State.FAILED}


def test_submitting_has_one_way_in_and_it_is_from_nothing() -> None:
    ways = [edge for edge, after in TRANSITIONS.items() if after is State.SUBMITTING]

    assert ways == [(None, Event.SUBMIT_INTENDED)]


def test_nothing_leads_back_to_pending() -> None:
    assert None not in set(TRANSITIONS.values())


def test_only_an_answer_or_its_absence_leads_out_of_submitting() -> None:
    ways = {event for before, event in TRANSITIONS if before is State.SUBMITTING}

    assert ways == {
        Event.SUBMIT_ACCEPTED,
        Event.SUBMIT_REFUSED,
        Event.SUBMIT_UNCONFIRMED,
        Event.RUN_RECOVERED,
    }


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_what_settled_without_files_never_moves_again(state: State) -> None:
    assert {after for (before, _), after in TRANSITIONS.items() if before is state} <= {state}


def test_a_paid_state_never_leads_back_to_one_that_asks_fal_to_render() -> None:
    for state in (State.RENDERED, State.SUCCEEDED):
        assert reachable(state).isdisjoint({State.SUBMITTING, State.IN_DOUBT, State.SUBMITTED})


def test_a_doubt_is_never_left_but_by_a_trace_or_a_word() -> None:
    ways = {event for before, event in TRANSITIONS if before is State.IN_DOUBT}

    assert ways == {Event.RECONCILED_FOUND, Event.RECONCILED_ABSENT}


def test_every_state_says_what_the_next_run_does() -> None:
    assert set(NEXT) == set(State)
    assert all(all(words) for words in NEXT.values())


def test_the_groups_of_states_agree_with_each_other() -> None:
    assert set(OPEN) < set(LIVE_OR_PAID)
    assert set(LIVE_OR_PAID) | set(SETTLED) == set(State)
    assert set(LIVE_OR_PAID) & set(SETTLED) == {State.SUCCEEDED}


@pytest.mark.parametrize("state", [None, *State])
@pytest.mark.parametrize("event", Event)
def test_step_is_the_table_and_nothing_else(state: State | None, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert step(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransitionError, match=str(event)):
            step(state, event)


# -- the database repeats it -------------------------------------------------------------------


def quoted(text: str) -> list[str]:
    return re.findall(r"'([a-z_]+)'", text)


def test_the_schema_knows_exactly_these_states() -> None:
    column = re.search(r"state text not null check \(state in \(([^)]*)\)\)", FIRST_SCHEMA)

    assert column is not None
    assert quoted(column[1]) == list(State)


def test_the_unique_index_covers_exactly_the_live_and_paid_states() -> None:
    index = re.search(
        r"attempts_one_paid on attempts \(job_key\)\s+where state in \(([^)]*)\)", FIRST_SCHEMA
    )

    assert index is not None
    assert quoted(index[1]) == list(LIVE_OR_PAID)


def test_the_schema_knows_every_verdict_about_money() -> None:
    column = re.search(r"charged text check \(charged in \(([^)]*)\)\)", FIRST_SCHEMA)

    assert column is not None
    assert set(quoted(column[1])) == set(Charged)


# -- the ledger against a model ----------------------------------------------------------------

START = datetime(2026, 5, 1, tzinfo=UTC)

#: A thousand commits, each synced, are for another test.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

#: Six jobs in two batches; one key is wanted by both.
JOBS = [make_job(f"j{n}", estimate=(n + 1) * 1_000_000) for n in range(4)]


def in_batch(job: Job, batch: str) -> Job:
    return job._replace(batch=batch)


JOBS += [in_batch(make_job("j4", estimate=2_000_000), "other"), in_batch(JOBS[0], "other")]
BATCHES = ("test", "other")


@dataclass
class Row:
    """What the model knows of an attempt."""

    key: JobKey
    batch: str
    state: State
    estimate: int
    tries: int
    request_id: str | None = None
    charged: Charged | None = None
    cost: int | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def money(self) -> tuple[int, int]:
        """(charged, exposed), said once more in other words than the view's."""
        paid = self.state in (State.RENDERED, State.SUCCEEDED) or self.charged is Charged.YES
        unknown = self.state in OPEN or (
            self.state in (State.FAILED, State.CANCELLED) and self.charged is Charged.UNKNOWN
        )
        amount = self.estimate if self.cost is None else self.cost
        return (amount if paid else 0, self.estimate if unknown else 0)

    @property
    def counted(self) -> int:
        """What caps count: until a bill has told, never less than the estimate of what was paid."""
        charged, exposed = self.money
        paid = self.state in (State.RENDERED, State.SUCCEEDED) or self.charged is Charged.YES
        billed = Event.COST_LEARNT in self.events
        return exposed + (max(charged, self.estimate) if paid and not billed else charged)


failures = st.builds(
    Failure,
    kind=st.sampled_from(list(FailureKind)),
    message=st.text(max_size=20),
    charged=st.sampled_from(list(Charged)),
    loc=st.tuples(st.just("body"), st.integers(0, 9)),
)
costs = st.none() | st.integers(0, 9_000_000)
caps = st.lists(
    st.builds(
        Cap,
        limit=st.integers(0, 12_000_000).map(MicroUSD),
        batches=st.none() | st.sampled_from([("test",), ("other",), BATCHES]),
        key=st.none() | st.sampled_from([job.key for job in JOBS]),
    ),
    max_size=2,
)


FAILING = {
    Event.SUBMIT_REFUSED,
    Event.RECONCILED_ABSENT,
    Event.REMOTE_FAILED,
    Event.CANCEL_CONFIRMED,
    Event.ARTIFACT_LOST,
}
BILLING = {
    Event.REMOTE_COMPLETED,
    Event.REMOTE_FAILED,
    Event.CANCEL_CONFIRMED,
    Event.COST_LEARNT,
}


@dataclass(frozen=True)
class Facts:
    """What may come with an event."""

    request_id: str
    failure: Failure
    cost: int | None
    digest: str
    answer: str

    def of(self, event: Event) -> dict[str, Any]:
        data: dict[str, Any] = {"reason": "said so"}
        if event in (Event.SUBMIT_ACCEPTED, Event.RECONCILED_FOUND):
            data["handle"] = Handle(
                request_id=self.request_id,
                response_url="https://r",
                status_url="https://s",
                cancel_url="https://c",
            )
        if event in FAILING:
            data["failure"] = self.failure
        if event in BILLING:
            data["cost"] = self.cost
        if event in (Event.REMOTE_COMPLETED, Event.OUTPUT_CHANGED):
            data["output"] = {"video": {"url": "https://v"}}
        if event is Event.CANCEL_REQUESTED:
            data["answer"] = self.answer
        return data


facts = st.builds(
    Facts,
    request_id=st.integers(1, 20).map("request-{}".format),
    failure=failures,
    cost=costs,
    digest=st.sampled_from("abc").map(lambda digit: digit * 64),
    answer=st.sampled_from(list(CancelAnswer)),
)


class LedgerMachine(RuleBasedStateMachine):
    """Any order of facts: the ledger and a dictionary tell the same story."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.path = Path(self.folder.name) / "ledger.db"
        self.moment = START
        self.rows: dict[int, Row] = {}
        self.open()

    def now(self) -> datetime:
        self.moment += timedelta(milliseconds=7)
        return self.moment

    def open(self) -> None:
        self.ledger = Ledger(self.path, service="emulator", now=self.now)
        self.ledger.begin_run(command="t", batches=BATCHES, pid=1, version="0", cap=None)
        for name in BATCHES:
            jobs = tuple(job for job in JOBS if job.batch == name)
            self.ledger.register(Batch(name=name, source="t", jobs=jobs))

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    def committed(self, cap: Cap) -> int:
        return sum(
            row.counted
            for row in self.rows.values()
            if (cap.batches is None or row.batch in cap.batches)
            and (cap.key is None or row.key == cap.key)
        )

    def taken(self) -> set[str]:
        return {row.request_id for row in self.rows.values() if row.request_id}

    # -- rules ---------------------------------------------------------------------------------

    @rule(job=st.sampled_from(JOBS), tries=st.integers(1, 4), caps=caps)
    def intend(self, job: Job, tries: int, caps: list[Cap]) -> None:
        caps_on_it = [cap for cap in caps if cap.key in (None, job.key)]
        caps_on_it = [cap for cap in caps_on_it if cap.batches is None or job.batch in cap.batches]
        over = [cap for cap in caps_on_it if self.committed(cap) + job.estimate > cap.limit]
        live = any(row.key == job.key and row.state in LIVE_OR_PAID for row in self.rows.values())
        payload = dict(job.arguments)
        if live and not over:
            with pytest.raises(LedgerError, match="refusing to pay again"):
                self.ledger.intend(job, payload, tries=tries, caps=caps)
            return
        got = self.ledger.intend(job, payload, tries=tries, caps=caps)
        if over:
            assert got == OverCap(
                cap=over[0],
                committed=MicroUSD(self.committed(over[0])),
                estimate=job.estimate,
            )
            return
        assert isinstance(got, int)
        self.rows[got] = Row(job.key, job.batch, State.SUBMITTING, job.estimate, tries)
        self.rows[got].events.append(Event.SUBMIT_INTENDED)
        assert all(self.committed(cap) <= cap.limit for cap in caps_on_it)

    def some_attempt(self, draw: st.DataObject) -> int:
        """Rather a young one: they move."""
        young = sorted(self.rows)[-4:]
        return draw.draw(st.sampled_from(young) | st.sampled_from(sorted(self.rows)))

    @precondition(lambda self: self.moving)
    @rule(draw=st.data(), facts=facts)
    def something_moves(self, draw: st.DataObject, facts: Facts) -> None:
        attempt = draw.draw(st.sampled_from(self.moving))
        state = self.rows[attempt].state
        ways = [e for (before, e), after in TRANSITIONS.items() if before is state is not after]
        self.learn(attempt, draw.draw(st.sampled_from(ways)), facts)

    @property
    def moving(self) -> list[int]:
        return [i for i, row in self.rows.items() if row.state in LIVE_OR_PAID]

    @precondition(lambda self: self.moving)
    @rule(draw=st.data(), facts=facts)
    def something_else_moves(self, draw: st.DataObject, facts: Facts) -> None:
        self.something_moves(draw, facts)

    @precondition(lambda self: self.rows)
    @rule(draw=st.data(), facts=facts)
    def something_is_learnt_on_the_spot(self, draw: st.DataObject, facts: Facts) -> None:
        attempt = self.some_attempt(draw)
        state = self.rows[attempt].state
        ways = [e for (before, e), after in TRANSITIONS.items() if before is state is after]
        if ways:
            self.learn(attempt, draw.draw(st.sampled_from(ways)), facts)

    @precondition(lambda self: self.rows)
    @rule(draw=st.data(), facts=facts)
    def nonsense_changes_nothing(self, draw: st.DataObject, facts: Facts) -> None:
        attempt = self.some_attempt(draw)
        known = {event for before, event in TRANSITIONS if before is self.rows[attempt].state}
        event = draw.draw(st.sampled_from(sorted(set(Event) - known)))
        with pytest.raises(IllegalTransitionError):
            self.tell(attempt, event, facts)

    def learn(self, attempt: int, event: Event, facts: Facts) -> None:
        row = self.rows[attempt]
        if event in (Event.SUBMIT_ACCEPTED, Event.RECONCILED_FOUND):
            foreign = facts.request_id in self.taken() - {row.request_id}
            if foreign or row.request_id not in (None, facts.request_id):
                # Claimed by another attempt, or another id than the one we own: never.
                with pytest.raises((RequestClaimedError, sqlite3.IntegrityError)):
                    self.tell(attempt, event, facts)
                return
            row.request_id = facts.request_id
        after = TRANSITIONS[row.state, event]
        assert self.tell(attempt, event, facts) is after
        row.state = after
        row.events.append(event)
        if event in FAILING:
            row.charged = facts.failure.charged
        elif after in (State.RENDERED, State.SUCCEEDED):
            row.charged = Charged.YES
        if event in BILLING and facts.cost is not None:
            row.cost = facts.cost
            if event is Event.COST_LEARNT and after in (State.FAILED, State.CANCELLED):
                row.charged = Charged.YES if facts.cost else Charged.NO

    def tell(self, attempt: int, event: Event, facts: Facts) -> State:
        if event is Event.ARTIFACTS_SAVED:
            fetched = Fetched(
                temporary="", sha256=facts.digest, size=1, ext=".mp4", content_type="video/mp4"
            )
            path = f"{attempt}.mp4"
            self.ledger.save_artifacts(
                self.ledger.attempt(attempt),
                [Placed(index=0, path=path, fetched=fetched, url="https://v")],
            )
            (file,) = self.ledger.files_of(attempt)
            assert (file.path, file.sha256) == (path, facts.digest)
            return State.SUCCEEDED
        return self.ledger.record(attempt, event, **facts.of(event))

    @rule()
    def die_and_come_back(self) -> None:
        """The next process recovers: what was between intent and answer is in doubt."""
        self.ledger.close()
        self.open()
        left = [i for i, row in self.rows.items() if row.state is State.SUBMITTING]
        assert sorted(self.ledger.recover()) == left
        for attempt in left:
            self.rows[attempt].state = State.IN_DOUBT
            self.rows[attempt].events.append(Event.RUN_RECOVERED)

    @precondition(lambda self: self.rows)
    @rule()
    def nothing_is_ever_deleted(self) -> None:
        db = self.ledger.db
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            db.execute("delete from attempts")
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            db.execute("delete from events")
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            db.execute("update events set event = 'x'")
        db.conn.rollback()

    # -- what must hold at every instant -------------------------------------------------------

    @invariant()
    def both_tell_the_same_story(self) -> None:
        ledger = self.ledger
        assert {a.id: a.state for a in ledger.attempts_in(*State)} == {
            i: row.state for i, row in self.rows.items()
        }
        latest = {row.key: i for i, row in sorted(self.rows.items())}
        assert {k: s.attempt_id for k, s in ledger.standings().items()} == latest
        assert ledger.request_ids() == self.taken()

    @invariant()
    def the_money_is_the_same(self) -> None:
        for batches in (None, ("test",), ("other",), BATCHES):
            mine = [
                row.money for row in self.rows.values() if batches is None or row.batch in batches
            ]
            money = self.ledger.money(batches)
            assert (money.charged, money.exposed) == (
                sum(charged for charged, _ in mine),
                sum(exposed for _, exposed in mine),
            )

    @invariant()
    def no_job_has_two_live_or_paid_attempts(self) -> None:
        keys = [row.key for row in self.rows.values() if row.state in LIVE_OR_PAID]
        assert len(keys) == len(set(keys))

    @invariant()
    def every_event_is_kept_in_order(self) -> None:
        told: dict[int, list[Event]] = {}
        for row in self.ledger.db.query("select attempt_id, event from events order by id"):
            told.setdefault(row["attempt_id"], []).append(Event(row["event"]))
        assert told == {i: row.events for i, row in self.rows.items()}

    @invariant()
    def each_event_starts_where_the_last_one_ended(self) -> None:
        sql = "select attempt_id, from_state, to_state from events order by id"
        at: dict[int, str | None] = {}
        for row in self.ledger.db.query(sql):
            assert row["from_state"] == at.get(row["attempt_id"])
            at[row["attempt_id"]] = row["to_state"]
        assert at == {i: row.state for i, row in self.rows.items()}


def test_the_ledger_and_a_plain_model_agree_whatever_happens() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],  # shrinking stories on a disk takes minutes
        ),
    )
