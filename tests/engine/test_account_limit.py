"""The limit over all hosts of an account: several folders and ledgers, one emulated account.

Judged by the emulator's books.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trio
import trio.testing
from support.engine import LOCK, START, Bent, Rig, account, make_jobs, slow

from kling_batch.core.events import RunResult, StopReason
from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import BillingEvent, BillingEvents
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import AccountBills, Cap
from kling_batch.emulator import Fault, Settings
from kling_batch.emulator.records import Request
from kling_batch.engine.account import FRESH, read_bills
from kling_batch.engine.context import RunPolicy
from kling_batch.errors import ExitCode
from kling_batch.settings import ACCOUNT_PER_DAY

EACH = 420_000
KEY = frozenset({"test"})


def limit(micro: int) -> Cap:
    return Cap(limit=MicroUSD(micro), window=timedelta(days=1), name=ACCOUNT_PER_DAY)


def admin(**changes: Any) -> Settings:
    """An account whose key may read billing events."""
    return account(admin_keys=KEY, **changes)


def other_host(rig: Rig, folder: Path) -> Rig:
    """Another folder and ledger on the same account."""
    rig.epoch, rig._virtual = rig.now(), 0.0
    host = Rig(folder, rig.settings)
    host.world, host.epoch, host._virtual = rig.world, rig.epoch, rig._virtual
    return host


def stop_of(result: RunResult) -> StopReason:
    (stop,) = result.stops
    return stop


def test_a_date_of_another_century_hides_no_bill() -> None:
    class Told:
        async def billing_events(self, *, since: str) -> BillingEvents:
            billed = BillingEvent("r-1", 4.2, START)
            return BillingEvents((billed,), datetime(2126, 5, 1, tzinfo=UTC))

    bills = trio.run(read_bills, Told(), START)

    assert isinstance(bills, AccountBills)
    assert bills.total == 4_200_000


# -- one host --------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.0, 5_000.0])
def test_what_fal_has_not_billed_yet_counts_and_nothing_counts_twice(
    tmp_path: Path, delay: float
) -> None:
    rig = Rig(tmp_path, admin(billing_delay=delay))
    jobs = make_jobs(8)

    result = rig.run(jobs[:3], account=limit(4 * EACH), concurrency=1, rate=1 / 100)
    assert not result.stops
    result = rig.run(jobs, account=limit(4 * EACH), concurrency=1)

    assert rig.world.books.total_charged_micro_usd == 4 * EACH
    assert stop_of(result).code is ExitCode.BUDGET
    assert stop_of(result).cap == ACCOUNT_PER_DAY
    billed = 0 if delay else 3 * EACH  # the fourth came after the last look
    assert f"billed the account ${billed / 1e6:.2f} in 24 hours" in stop_of(result).reason


def test_what_is_open_for_longer_than_a_day_still_counts(tmp_path: Path) -> None:
    rig = Rig(tmp_path, admin(service_times={"standard": 200_000.0}, jitter=0.0))
    jobs = make_jobs(3)
    rig.run(jobs[:1], detach=True)
    rig._virtual += 100_000

    result = rig.run(jobs[1:], account=limit(2 * EACH), detach=True)

    assert len(rig.world.books.accepted) == 2
    assert stop_of(result).cap == ACCOUNT_PER_DAY


def test_what_was_billed_days_ago_and_is_collected_now_does_not_count(tmp_path: Path) -> None:
    rig = Rig(tmp_path, admin())
    jobs = make_jobs(3)
    rig.run(jobs[:2], detach=True)
    rig._virtual += 3 * 86_400

    result = rig.run(jobs, account=limit(EACH), concurrency=1, rate=1 / 200)

    assert not result.stops
    assert rig.states(jobs) == [State.SUCCEEDED] * 3


# -- a list that does not tell ---------------------------------------------------------------------


def test_a_key_without_the_right_pays_nothing_and_collects(tmp_path: Path) -> None:
    rig = Rig(tmp_path, slow())
    jobs = make_jobs(3)
    rig.run(jobs[:1], detach=True)

    result = rig.run(jobs, account=limit(100 * EACH))

    assert rig.states(jobs) == [State.SUCCEEDED, None, None]
    assert stop_of(result).code is ExitCode.AUTH
    assert "admin key" in stop_of(result).reason
    assert len(rig.world.books.accepted) == 1


def test_a_list_that_breaks_ends_payments_and_not_collecting(tmp_path: Path) -> None:
    broken = Fault(stage="list", what="status", status=500)
    rig = Rig(tmp_path, slow(admin_keys=KEY), [broken])
    jobs = make_jobs(2)
    rig.run(jobs[:1], detach=True)

    result = rig.run(jobs, account=limit(100 * EACH))

    assert rig.states(jobs) == [State.SUCCEEDED, None]
    assert stop_of(result).code is ExitCode.BUDGET
    assert "cannot be read" in stop_of(result).reason


def test_a_locked_account_is_no_matter_of_the_key(tmp_path: Path) -> None:
    locked = Fault(stage="list", what="status", status=403, body=LOCK)
    rig = Rig(tmp_path, admin(), [locked])

    result = rig.run(make_jobs(1), account=limit(100 * EACH))

    assert stop_of(result).code is ExitCode.BUDGET
    assert "admin key" not in stop_of(result).reason
    assert not rig.world.books.accepted


def test_a_bill_without_an_amount_is_no_sum(tmp_path: Path) -> None:
    """What cannot be added up may be any amount."""
    rig = Rig(tmp_path, admin())
    rig.run(make_jobs(2))

    result = rig.run(make_jobs(3), account=limit(100 * EACH), transport=NoAmounts(rig.world))

    assert "a billing event has no amount" in stop_of(result).reason
    assert len(rig.world.books.accepted) == 2


class NoAmounts(Bent):
    """Billing events whose amounts are null."""

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if not request.url.path.endswith("billing-events"):
            return answer
        text = re.sub(r'("cost_(?:sub)?total"): ?[0-9.]+', r"\1:null", answer.text)
        return httpx.Response(answer.status_code, text=text)


def test_a_list_that_comes_back_lets_payments_go_on(tmp_path: Path) -> None:
    broken = Fault(stage="list", what="status", status=500, times=3)
    rig = Rig(tmp_path, admin(), [broken])
    jobs = make_jobs(2)

    assert not rig.run(jobs, account=limit(100 * EACH)).stops
    assert rig.charges == [1, 1]


# -- several hosts ---------------------------------------------------------------------------------


def test_what_another_host_was_billed_counts(tmp_path: Path) -> None:
    one = Rig(tmp_path / "one", admin())
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    jobs = make_jobs(6)
    one.run(jobs[:3])
    two = other_host(one, tmp_path / "two")

    result = two.run(jobs[3:], account=limit(4 * EACH), concurrency=1)

    assert one.world.books.total_charged_micro_usd == 4 * EACH
    assert f"fal billed the account ${3 * EACH / 1e6:.2f}" in stop_of(result).reason


@pytest.mark.parametrize("delay", [0.0, 300.0])
def test_two_hosts_at_once_pass_the_limit_by_no_more_than_what_neither_could_see(
    tmp_path: Path, delay: float
) -> None:
    settings = admin(
        concurrency=40, billing_delay=delay, service_times={"standard": 90.0}, jitter=0.0
    )
    most, jobs = 10 * EACH, make_jobs(40)
    rig = Rig(tmp_path, settings)
    hosts = [tmp_path / "one", tmp_path / "two"]
    shares = [jobs[:20], jobs[20:]]

    results = run_together(rig, hosts, shares, limit(most))

    accepted = sorted(rig.world.books.accepted, key=lambda each: each.accepted_at)
    assert all(stop_of(result).cap == ACCOUNT_PER_DAY for result in results)
    owner = {job.arguments["prompt"]: n for n, share in enumerate(shares) for job in share}
    for number, each in enumerate(accepted):
        seen = [e for e in accepted[:number] if visible(e, each, owner, delay)]
        assert (len(seen) + 1) * EACH <= most
    last = accepted[-1]
    unseen = [e for e in accepted[:-1] if not visible(e, last, owner, delay)]
    total = rig.world.books.total_committed_micro_usd
    assert most < total <= most + len(unseen) * EACH


def visible(earlier: Request, paying: Request, owner: dict[Any, int], delay: float) -> bool:
    """Whether a host must have known of an earlier payment when it paid."""
    if owner[earlier.prompt] == owner[paying.prompt]:
        return True
    assert earlier.finished_at is not None
    return earlier.finished_at + delay + FRESH < paying.accepted_at


def run_together(
    rig: Rig, folders: list[Path], shares: list[list[Job]], cap: Cap
) -> list[RunResult]:
    """A run a folder, all at the same time on the same account."""
    results: list[RunResult] = []
    policy = RunPolicy(account=cap, rate=1 / 20, concurrency=20)

    async def one(host: Rig, jobs: list[Job]) -> None:
        with host.ledger() as ledger:
            ledger.begin_run(command="test", batches=["test"], pid=1, version="0", cap=None)
            ledger.register(Batch(name="test", source="test.yaml", jobs=tuple(jobs)))
            results.append(
                await host._drive(ledger, jobs, False, None, policy, None, lambda *_: None)
            )
            ledger.end_run(0)

    async def both() -> None:
        async with anyio.create_task_group() as tasks:
            for folder, jobs in zip(folders, shares, strict=True):
                folder.mkdir()
                tasks.start_soon(one, other_host(rig, folder), jobs)

    trio.run(partial(both), clock=trio.testing.MockClock(autojump_threshold=0))
    return results
