"""Jobs found by what a person types: id, take, batch, key, or the name of an orphaned job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import make_job
from support.ledger import opened

from kling_batch.core.jobs import Batch
from kling_batch.errors import UsageError
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.names import all_named, by_key, find, job_of

HERO, TAKE, OTHER = make_job("hero"), make_job("hero", take=2), make_job("other")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path / "ledger.db", jobs=[HERO, TAKE, OTHER]) as ledger:
        yield ledger


def edited(ledger: Ledger) -> str:
    """`hero` means another render from now on; the name of the old one."""
    changed = make_job("hero", prompt="another prompt")
    ledger.register(Batch(name="test", source="t", jobs=(changed, TAKE, OTHER)))
    return f"hero@{HERO.key[3:11]}"


@pytest.mark.parametrize(
    ("typed", "job"),
    [
        ("hero", HERO),
        ("hero#1", HERO),
        ("hero#2", TAKE),
        ("test/hero#2", TAKE),
        ("other", OTHER),
        (HERO.key, HERO),
        (TAKE.key, TAKE),
    ],
)
def test_a_job_is_found_by_id_take_batch_and_key(ledger: Ledger, typed: str, job: object) -> None:
    found = find(ledger, typed)

    assert job_of(found) == job
    assert found.label == getattr(job, "label", None)
    assert not found.gone


@pytest.mark.parametrize("take", ["9" * 5000, "0", "", "x", "-1", "3"])
def test_a_take_that_cannot_be_is_no_job(ledger: Ledger, take: str) -> None:
    with pytest.raises(UsageError, match="did you mean 'hero'"):
        find(ledger, f"hero#{take}")


@pytest.mark.parametrize("typed", ["nothing-like-it", "k1:" + "0" * 64, "else/hero", ""])
def test_what_is_not_there_is_no_job(ledger: Ledger, typed: str) -> None:
    with pytest.raises(UsageError, match="no job"):
        find(ledger, typed)


def test_a_name_that_two_batches_have_needs_its_batch(ledger: Ledger) -> None:
    second = make_job("hero", prompt="of another batch")._replace(batch="second")
    ledger.register(Batch(name="second", source="s", jobs=(second,)))

    with pytest.raises(UsageError, match="several batches") as caught:
        find(ledger, "hero")
    assert "second/hero" in str(caught.value)
    assert "test/hero" in str(caught.value)
    assert find(ledger, "second/hero").key == second.key
    assert find(ledger, "test/hero").key == HERO.key


def test_an_edited_job_leaves_its_old_render_under_a_marked_name(ledger: Ledger) -> None:
    marked = edited(ledger)

    now, before = find(ledger, "hero"), find(ledger, marked)

    assert before.key == HERO.key
    assert before.id == marked
    assert before.gone
    assert by_key(ledger, HERO.key) == before
    assert now.key != HERO.key
    assert [key for key, _ in now.earlier] == [HERO.key]


def test_all_current_names_are_listed_once(ledger: Ledger) -> None:
    edited(ledger)

    assert [(job.batch, job.label) for job in all_named(ledger)] == [
        ("test", "hero"),
        ("test", "hero#2"),
        ("test", "other"),
    ]
