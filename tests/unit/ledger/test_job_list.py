"""Jobs as `list` and `status` ask for them: filters, counts, and how SQLite finds them."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from support.engine import make_job, make_jobs
from support.ledger import Clock, failure, handle, intend, placed, rendered

from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import Event, JobStatus
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import StatusRow
from kling_batch.ledger.job_counts import failure_groups, job_counts, oldest_open
from kling_batch.ledger.job_list import SORTS, JobFilter, job_status, known_states
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.queries import batch_names


def register(ledger: Ledger, *jobs: Job, batch: str = "test", whole: bool = True) -> None:
    ledger.register(Batch(name=batch, source="t", jobs=tuple(jobs)), whole=whole)


def drive(ledger: Ledger, job: Job, word: str) -> None:
    """Bring a job to the status of this word."""
    if word == "waiting":
        return
    if word in ("downloading", "done"):
        attempt = rendered(ledger, job)
        if word == "done":
            ledger.save_artifacts(ledger.attempt(attempt), [placed(f"{job.batch}/{job.label}.mp4")])
        return
    attempt = intend(ledger, job)
    if word == "failed":
        ledger.record(attempt, Event.SUBMIT_REFUSED, failure=failure())
    elif word == "in doubt":
        ledger.record(attempt, Event.SUBMIT_UNCONFIRMED, reason="lost")
    else:
        ledger.record(attempt, Event.SUBMIT_ACCEPTED, handle=handle(f"r-{attempt}"))
        if word == "rendering":
            ledger.record(attempt, Event.REMOTE_OBSERVED, remote_status="IN_PROGRESS")
        if word == "cancelled":
            ledger.record(attempt, Event.CANCEL_CONFIRMED, failure=failure(Charged.UNKNOWN))


VIEW = "select batch, job_id, take from job_status"
WORDS = [word.value for word in JobStatus if word is not JobStatus.BLOCKED]


@pytest.fixture
def jobs(ledger: Ledger) -> dict[str, Job]:
    """One job of each status."""
    jobs = {word: make_job(word.replace(" ", "-")) for word in WORDS}
    register(ledger, *jobs.values())
    for word, job in jobs.items():
        drive(ledger, job, word)
    return jobs


def ids(ledger: Ledger, **which: Any) -> list[str]:
    return [row.label for row in job_status(ledger, JobFilter(**which))]


@pytest.mark.parametrize("word", WORDS)
def test_each_word_finds_its_jobs(ledger: Ledger, jobs: dict[str, Job], word: str) -> None:
    assert ids(ledger, states=[word]) == [jobs[word].id]


def test_several_words_are_alternatives(ledger: Ledger, jobs: dict[str, Job]) -> None:
    assert ids(ledger, states=["failed", "waiting"]) == ["failed", "waiting"]
    assert ids(ledger, states=["submitted"]) == ["queued", "rendering"]
    assert ids(ledger, states=["pending"]) == ["waiting"]
    assert set(known_states()) >= {*WORDS, "blocked", "pending", "in_doubt", "succeeded"}


def test_filters_must_all_fit(ledger: Ledger, clock: Clock) -> None:
    cheap, dear = make_job("cheap", estimate=100_000), make_job("dear", estimate=900_000)
    image = make_job("still", prompt="50%_of a Cat")._replace(mode="text-to-image", tier="pro")
    register(ledger, cheap, dear, image._replace(tags=("hero", "spring")))
    rendered(ledger, cheap, cost=MicroUSD(2_000_000))
    clock.pass_(hours=1)
    intend(ledger, image)

    assert ids(ledger, modes=["text-to-image"]) == ["still"]
    assert ids(ledger, tiers=["pro", "standard"], modes=["text-to-video"]) == ["cheap", "dear"]
    assert ids(ledger, tags=["spring"]) == ids(ledger, tags=["hero", "x"]) == ["still"]
    assert ids(ledger, tags=["sprin"]) == []
    assert ids(ledger, text="0%_OF A c") == ["still"]
    assert ids(ledger, text="0%of") == []
    assert ids(ledger, text="dea") == ["dear"]
    assert ids(ledger, least=MicroUSD(900_000)) == ["cheap", "dear"]
    assert ids(ledger, most=MicroUSD(899_999)) == ["still"]
    assert ids(ledger, since="2026-05-01T12:30") == ["still"]
    assert ids(ledger, batches=["other"]) == ids(ledger, batches=[]) == []


def test_orders(ledger: Ledger, clock: Clock) -> None:
    first, second = make_job("b", estimate=100_000), make_job("a", estimate=900_000)
    register(ledger, first, second)
    intend(ledger, second)
    clock.pass_(hours=1)
    intend(ledger, first)

    assert ids(ledger) == ids(ledger, sort="cost") == ["a", "b"]
    assert ids(ledger, sort="time") == ids(ledger, backwards=True) == ["b", "a"]
    assert ids(ledger, sort="time", backwards=True) == ["a", "b"]
    for sort in SORTS:
        assert len(ids(ledger, sort=sort, limit=1)) == 1


def test_tags_are_those_of_the_manifest_now(ledger: Ledger) -> None:
    one, two = make_job("one")._replace(tags=("x",)), make_job("two")._replace(tags=("x",))
    register(ledger, one, two)

    register(ledger, one._replace(tags=("y",)), whole=False)
    assert (ids(ledger, tags=["x"]), ids(ledger, tags=["y"])) == (["two"], ["one"])
    register(ledger, one._replace(tags=()), two)
    assert (ids(ledger, tags=["x"]), ids(ledger, tags=["y"])) == (["two"], [])


# -- counts ------------------------------------------------------------------------------------


def counted(rows: list[StatusRow]) -> dict[tuple[str, str], Counter[JobStatus]]:
    found: dict[tuple[str, str], Counter[JobStatus]] = {}
    for row in rows:
        found.setdefault((row.mode, row.tier), Counter())[row.status] += 1
    return found


@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_the_list(ledger: Ledger, seed: int) -> None:
    """Also with retired names, several names of one job, several batches, jobs that left."""
    chance = Random(seed)
    register(ledger)
    pool = [
        job._replace(mode=chance.choice(["m", "n"]), tier=chance.choice(["s", "t"]))
        for job in make_jobs(12)
    ]
    driven: set[str] = set()
    for _ in range(4):
        for batch in ("test", "other"):
            chosen = [job._replace(batch=batch) for job in chance.sample(pool, 7)]
            again = chosen[0]._replace(id=f"again-{chance.randrange(3)}")
            register(ledger, *chosen, again, batch=batch, whole=chance.random() < 0.7)
            for job in chosen:
                if job.key not in driven and chance.random() < 0.5:
                    driven.add(job.key)
                    drive(ledger, job, chance.choice(WORDS))

    for batches in (None, ["test"], ["other"], ["test", "other"], []):
        listed = list(job_status(ledger, JobFilter(batches=batches)))
        assert job_counts(ledger, batches) == counted(listed)
        view = {
            (r["batch"], r["job_id"], r["take"])
            for r in ledger.db.query("select * from job_status")
        }
        if batches is None:
            assert {(r.batch, r.job_id, r.take) for r in listed} == view
            assert len(listed) == len(view)


def test_failures_are_grouped_by_reason(ledger: Ledger, jobs: dict[str, Job]) -> None:
    more = make_job("more")
    register(ledger, *jobs.values(), more)
    drive(ledger, more, "failed")

    (group,) = failure_groups(ledger, None)

    assert (group.kind, group.message, group.jobs, group.example) == (
        "invalid",
        "no",
        3,
        "cancelled",
    )
    assert failure_groups(ledger, ["other"]) == []


def test_the_oldest_open_request(ledger: Ledger, clock: Clock) -> None:
    assert oldest_open(ledger, None) is None
    first, second = make_jobs(2)
    intend(ledger, first)
    clock.pass_(minutes=5)
    intend(ledger, second)

    assert oldest_open(ledger, ["test"]) == "2026-05-01T12:00:00.000Z"
    assert oldest_open(ledger, ["other"]) is None


def test_batches_by_name(ledger: Ledger) -> None:
    job = make_job("x")
    register(ledger, job._replace(batch="b"), batch="b")

    assert batch_names(ledger) == ["b", "test"]


# -- how SQLite finds them ---------------------------------------------------------------------


def plan_of(ledger: Ledger, ask: Any) -> list[str]:
    """The steps of all selects in a question."""
    statements: list[str] = []
    ledger.db.conn.set_trace_callback(statements.append)
    ask()
    ledger.db.conn.set_trace_callback(None)
    return [
        str(step[-1])
        for sql in statements
        for step in ledger.db.conn.execute(f"explain query plan {sql}")
    ]


@pytest.mark.parametrize("states", [["failed"], ["queued", "in doubt"], ["cancelled"]])
def test_rare_states_are_found_by_their_index(ledger: Ledger, states: list[str]) -> None:
    steps = plan_of(ledger, lambda: ids(ledger, states=states, limit=20))

    assert not [step for step in steps if step.startswith("SCAN")]


@pytest.mark.parametrize("which", [{}, {"states": ["done"]}, {"backwards": True}, {"modes": ["m"]}])
def test_the_first_jobs_by_name_need_no_sorting(ledger: Ledger, which: dict[str, Any]) -> None:
    steps = plan_of(ledger, lambda: ids(ledger, limit=20, **which))

    assert [s for s in steps if s.startswith("SCAN")] == ["SCAN n USING INDEX names_one_current"]


def test_counts_read_no_row_of_a_large_table(ledger: Ledger) -> None:
    steps = plan_of(ledger, lambda: job_counts(ledger, None))

    scans = {s for s in steps if s.startswith("SCAN") and " USING " in s}
    assert scans == {
        "SCAN jobs USING COVERING INDEX jobs_by_kind",
        "SCAN a USING COVERING INDEX attempts_by_job",
        "SCAN attempts USING COVERING INDEX attempts_by_job",
        "SCAN names USING INDEX names_current_by_job",
        "SCAN names USING INDEX names_retired",
    }
    rest = {s for s in steps if s.startswith("SCAN") and " USING " not in s}
    assert rest <= {"SCAN r", "SCAN c", "SCAN w", "SCAN (subquery-6)", "SCAN (subquery-5)"}


def test_the_prompts_of_shots_are_a_prompt(ledger: Ledger) -> None:
    shots = [{"prompt": "a box", "duration": "3"}, {"prompt": "the lid opens", "duration": "4"}]
    register(ledger, make_job("shots", prompt=None, multi_prompt=shots), make_job("other"))

    (row,) = job_status(ledger, JobFilter(text="the LID"))

    assert (row.label, row.prompt) == ("shots", "a box / the lid opens")
