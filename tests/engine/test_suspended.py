"""A run that was suspended for seven hours (SIGSTOP): every timeout is over when it wakes.

Nothing is paid twice, nothing is lost, and nothing is said to be gone or unanswered that nobody
has asked for meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
from support.engine import Rig, account, is_result, make_jobs

from kling_batch.core.lifecycle import State
from kling_batch.emulator.inprocess import InProcessTransport

HOURS = 7


class Suspending(InProcessTransport):
    """The emulator; the program is stopped once, before or after one kind of request."""

    def __init__(self, rig: Rig, kind: str, *, before: bool) -> None:
        super().__init__(rig.world)
        self.kind, self.before, self.stopped = kind, before, False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        hit = not self.stopped and kind_of(request) == self.kind
        self.stopped |= hit
        if hit and self.before:
            await self.sleep()
        answer = await super().handle_async_request(request)
        if hit and not self.before:
            if self.kind != "download":
                await answer.aread()
            await self.sleep()
        return answer

    async def sleep(self) -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(HOURS * 3600)
        await trio.lowlevel.checkpoint()


def kind_of(request: httpx.Request) -> str:
    if request.url.host.endswith("fal.media"):
        return "download"
    if request.method == "POST":
        return "submit"
    if request.url.path.endswith("/status"):
        return "poll"
    return "result" if is_result(request) else "other"


@pytest.mark.parametrize(
    ("kind", "before"),
    [
        ("submit", False),
        *((kind, before) for kind in ("poll", "result", "download") for before in (True, False)),
    ],
)
def test_a_run_that_slept_goes_on_as_if_nothing_had_been(
    tmp_path: Path, kind: str, *, before: bool
) -> None:
    rig = Rig(tmp_path, account())
    jobs = make_jobs(8)
    transport = Suspending(rig, kind, before=before)
    begun = rig.now()

    run_result = rig.run(jobs, transport=transport, concurrency=4)

    assert transport.stopped
    assert (rig.now() - begun).total_seconds() > HOURS * 3600
    assert not run_result.stops
    assert run_result.reasons == {}
    assert rig.states(jobs) == [State.SUCCEEDED] * 8
    assert rig.charges == [1] * 8


def test_a_post_that_never_left_is_in_doubt_and_sent_by_nobody(tmp_path: Path) -> None:
    """fal never had it, but after seven hours of silence nobody can know that."""
    rig = Rig(tmp_path, account())
    jobs = make_jobs(8)

    run_result = rig.run(jobs, transport=Suspending(rig, "submit", before=True), concurrency=4)

    assert sorted(map(str, rig.states(jobs))) == ["in_doubt", *["succeeded"] * 7]
    assert list(run_result.reasons.values()) == ["no trace in fal's request list yet"]
    assert rig.charges == [1] * 7
