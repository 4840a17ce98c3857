"""Scheduler of the account: one FIFO queue and a number of slots.

Nothing runs in the background. Before each read, advance(now) processes everything that has become
due since the last call, in order, so that real and virtual time give the same history. Must not
know HTTP, money or media.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable

from .errors import named_failure
from .records import Request, State
from .settings import Settings


class Queue:
    """Queue and slots of one account."""

    def __init__(self, settings: Settings, changed: Callable[[Request], None]) -> None:
        self._settings = settings
        self._changed = changed  # called after every start and end
        self._time = -math.inf
        self._waiting: list[int] = []  # ordinals, ascending: the FIFO
        self._requests: dict[int, Request] = {}  # not completed
        self._running: set[int] = set()
        self._due: list[tuple[float, int]] = []  # heap; entries may be stale
        self._deadlines = 0

    def restore(self, requests: Iterable[Request]) -> None:
        """Restore the requests of an earlier process."""
        for request in requests:
            known = (request.accepted_at, request.started_at, request.finished_at)
            self._time = max(self._time, *(at for at in known if at is not None))
            if request.state is State.COMPLETED:
                continue
            if request.state is State.IN_QUEUE:
                self._wait(request)
            else:
                self._requests[request.ordinal] = request
                self._running.add(request.ordinal)
                heapq.heappush(self._due, (request.due_at, request.ordinal))

    def submit(self, request: Request) -> None:
        """Append a request to the queue."""
        self.advance(request.accepted_at)
        self._wait(request)

    def advance(self, now: float) -> None:
        """Process everything that is due by now."""
        while True:
            start_at, finish_at = self._next_start(), self._next_finish()
            at = min(start_at, finish_at)
            if at > now or at == math.inf:
                break
            self._time = max(self._time, at)
            if finish_at <= start_at:
                ordinal = heapq.heappop(self._due)[1]
                self._finish(self._requests[ordinal], finish_at)
            else:
                self._start(self._first(), start_at)
        self._time = max(self._time, now)
        if self._deadlines:
            self._expire(now)

    def position(self, request: Request) -> int:
        """Number of requests ahead of this one."""
        return bisect_left(self._waiting, request.ordinal)

    @property
    def length(self) -> int:
        """Number of waiting requests."""
        return len(self._waiting)

    @property
    def unfinished(self) -> list[Request]:
        """Waiting and running requests, oldest first."""
        return [self._requests[ordinal] for ordinal in sorted(self._requests)]

    def cancel(self, request: Request, now: float) -> None:
        """Remove a waiting request; a running one gets a signal that it may ignore."""
        request.cancel_requested = True
        if request.state is State.IN_QUEUE or self._settings.cancel_running == "honoured":
            request.cancelled = True
            self._drop(request, now, "client_cancelled")
        else:
            self._changed(request)

    def complete(self, request: Request, now: float) -> None:
        """End a request now, whatever its service time."""
        if request.state is State.IN_QUEUE:
            self._start(request, now)
        if request.state is State.IN_PROGRESS:
            self._finish(request, now)

    # -- steps --

    def _wait(self, request: Request) -> None:
        self._requests[request.ordinal] = request
        insort(self._waiting, request.ordinal)
        self._deadlines += request.start_by is not None

    def _first(self) -> Request:
        return self._requests[self._waiting[0]]

    def _next_start(self) -> float:
        if not self._waiting or len(self._running) >= self._settings.concurrency:
            return math.inf
        return max(self._time, self._first().eligible_at)

    def _next_finish(self) -> float:
        while self._due:
            at, ordinal = self._due[0]
            if ordinal in self._running and self._requests[ordinal].due_at == at:
                return at
            heapq.heappop(self._due)
        return math.inf

    def _start(self, request: Request, at: float) -> None:
        if request.start_by is not None and at > request.start_by:
            self._miss(request)
            return
        self._leave_line(request)
        self._running.add(request.ordinal)
        request.state = State.IN_PROGRESS
        request.started_at = at
        request.due_at = at + request.service / self._settings.time_scale
        heapq.heappush(self._due, (request.due_at, request.ordinal))
        self._changed(request)

    def _finish(self, request: Request, at: float) -> None:
        self._running.discard(request.ordinal)
        del self._requests[request.ordinal]
        request.state = State.COMPLETED
        request.finished_at = at
        request.failure = request.failure or request.planned
        self._changed(request)

    def _drop(self, request: Request, at: float, why: str) -> None:
        if request.state is State.IN_QUEUE:
            self._leave_line(request)
        request.failure = named_failure(why)
        self._finish(request, at)

    def _leave_line(self, request: Request) -> None:
        del self._waiting[bisect_left(self._waiting, request.ordinal)]
        self._deadlines -= request.start_by is not None

    def _expire(self, now: float) -> None:
        for ordinal in list(self._waiting):
            request = self._requests[ordinal]
            if request.start_by is not None and request.start_by < now:
                self._miss(request)

    def _miss(self, request: Request) -> None:
        """Fail a request whose start deadline (X-Fal-Request-Timeout) has passed."""
        assert request.start_by is not None
        self._drop(request, request.start_by, "startup_timeout")
