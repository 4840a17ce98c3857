"""State of the emulated platform: acceptance, queue, renders, charges, retention.

All methods are thread-safe; the clock is injected. Must not know HTTP.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from .books import Books, payload_hash
from .catalogue import endpoint_for
from .endpoints import Endpoint
from .errors import Failure, invalid, named_failure
from .faults import Call, Fault, FaultPlan
from .files import File, Files
from .media import Clip
from .outputs import input_complaints, input_seconds, output_of, recipes_for
from .prices import charge_for
from .queue import Queue
from .records import Request, State, prompt_of
from .settings import Settings
from .store import Store
from .validation import complaints

_LATEST = 221_845_392_000  # the year 9000: dates of responses end with 9999
LOCK_TEXT = "User is locked. Reason: {}. Top up your balance at fal.ai/dashboard/billing."


class World:
    """One emulated fal account and its platform.

    `alone`: no other process may take the state file while this world is open.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        clock: Callable[[], float] = time.time,
        state: Path | str | None = None,
        faults: FaultPlan | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self.settings = settings or Settings()
        self.faults = faults or FaultPlan(seed=self.settings.seed)
        self.lock = threading.RLock()
        self._clock = clock
        self._store = Store(state, alone=alone)
        self._offset = self._store.fact("clock_offset", 0.0)
        self.files = Files(self.settings, self._store)
        self.books = Books(self._store, self.catch_up)
        self.queue = Queue(self.settings, self._changed)
        self._by_id: dict[str, Request] = {}
        self._restore()

    # -- time --

    def now(self) -> float:
        """Current time of the platform, in epoch seconds."""
        return self._clock() + self._offset

    def catch_up(self) -> None:
        """Process everything that is due by now."""
        with self.lock:
            self.queue.advance(self.now())

    def advance(self, seconds: float) -> None:
        """Move the platform's clock forward; raises ValueError where that is not possible."""
        with self.lock:
            # Compared first: NaN is in no order, and a whole number may be too large for a sum.
            if not 0 <= seconds <= _LATEST or self.now() + seconds > _LATEST:
                raise ValueError(
                    "seconds: the clock only moves forward, and not past the year 9000"
                )
            self._offset += seconds
            self._store.set_fact("clock_offset", self._offset)
            self.catch_up()

    def complete_now(self, request_id: str | None = None) -> int:
        """End one unfinished request, or all, now; returns how many."""
        with self.lock:
            self.catch_up()
            chosen = [r for r in self.queue.unfinished if request_id in (None, r.request_id)]
            for request in chosen:
                self.queue.complete(request, self.now())
            return len(chosen)

    def reset(self, seed: int | None = None) -> None:
        """Clear requests, files, faults and books; settings stay."""
        with self.lock:
            if seed is not None:
                self.settings.update({"seed": seed})
            self._store.clear()
            self.files.clear()
            self.books.clear()
            self.faults.clear()
            self.faults.seed(self.settings.seed)
            self.queue = Queue(self.settings, self._changed)
            self._by_id.clear()
            self._offset = 0.0

    def change_settings(self, values: Mapping[str, Any]) -> None:
        """Change settings from now on; everything due before is processed under the old ones."""
        with self.lock:
            self.catch_up()
            self.settings.update(values)

    def close(self) -> None:
        """Close the state file."""
        self._store.close()

    # -- the account --

    @property
    def lock_text(self) -> str | None:
        """fal's message if the account is locked, else None."""
        reason = self.settings.locked
        if reason is None and self.settings.balance is not None and self.balance_left <= 0:
            reason = "Exhausted balance"
        return None if reason is None else LOCK_TEXT.format(reason)

    @property
    def balance_left(self) -> float:
        """Remaining balance in US$."""
        spent = self.books.total_committed_micro_usd / 1_000_000
        return round((self.settings.balance or 0.0) - spent, 6)

    def may_use(self, endpoint_id: str) -> bool:
        """Whether the account has access to this endpoint."""
        return not any(fnmatchcase(endpoint_id, glob) for glob in self.settings.forbidden)

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        """Endpoint of this id, or None."""
        return endpoint_for(endpoint_id, self.settings.extra_endpoints)

    # -- requests --

    def hash_of(self, endpoint_id: str, payload: object) -> str:
        """Digest under which the books count this payload."""
        return payload_hash(endpoint_id, payload, self._content_of)

    def accept(
        self,
        endpoint: Endpoint,
        payload: dict[str, Any],
        *,
        start_timeout: float | None = None,
        store_io: bool = True,
        tags: dict[str, str] | None = None,
    ) -> Request:
        """Accept a submission: it will be rendered, and charged if it succeeds."""
        with self.lock:
            now = self.now()
            self.queue.advance(now)
            request = self._new_request(endpoint, payload, now)
            request.store_io = store_io
            request.tags = tags or {}
            if start_timeout is not None:
                request.start_by = now + start_timeout
            self._decide(request, endpoint, now)
            self._by_id[request.request_id] = request
            self.books.accept(request)
            self._store.save_request(request)
            self.queue.submit(request)
            return request

    def find(self, request_id: str) -> Request | None:
        """Request of this id in its state at this moment, or None."""
        with self.lock:
            self.catch_up()
            return self._by_id.get(request_id)

    def cancel(self, request: Request) -> bool:
        """Cancel a request; False if it had already ended."""
        with self.lock:
            self.catch_up()
            if request.state is State.COMPLETED:
                return False
            self.queue.cancel(request, self.now())
            return True

    def output(self, request: Request) -> dict[str, Any]:
        """Result JSON of a successful request. Renders the media on first use."""
        with self.lock:
            if request.output is None:
                request.output = self._output(request, sizes=self.settings.declare_sizes)
                self._store.save_request(request)
            return request.output

    def listed_output(self, request: Request) -> dict[str, Any]:
        """Result JSON for lists: does not render media only to state their size."""
        with self.lock:
            if request.output is not None:
                return request.output
            return self._output(request, sizes=False)

    def _output(self, request: Request, *, sizes: bool) -> dict[str, Any]:
        endpoint = self._endpoint_of(request)
        shelved = self._shelve(request, endpoint)
        return output_of(request, endpoint, shelved, self.files, sizes=sizes)

    def result_expired(self, request: Request) -> bool:
        """Whether the queue no longer has the result; the request list still has it."""
        return self._older(request, self.settings.result_ttl)

    def status_expired(self, request: Request) -> bool:
        """Whether the queue no longer knows the request."""
        return self._older(request, self.settings.status_ttl)

    # -- acceptance and outcome --

    def _new_request(self, endpoint: Endpoint, payload: dict[str, Any], now: float) -> Request:
        ordinal = len(self._by_id) + 1
        rng = Random(f"{self.settings.seed}/{ordinal}/{now}")  # noqa: S311 (repeatable on purpose)
        spread = 1 + self.settings.jitter * rng.uniform(-1, 1)
        return Request(
            ordinal=ordinal,
            request_id=_time_ordered_id(now, rng),
            endpoint=endpoint.id,
            payload=payload,
            payload_hash=self.hash_of(endpoint.id, payload),
            seed=self.settings.seed,
            accepted_at=now,
            eligible_at=now + self.settings.start_latency / self.settings.time_scale,
            service=self.settings.service_time(endpoint.speed) * spread,
        )

    def _decide(self, request: Request, endpoint: Endpoint, now: float) -> None:
        """Decide how a request will end and what it will cost."""
        strict = self.settings.unknown_fields == "reject"
        details = complaints(endpoint, request.payload, strict=strict)
        if not details and self.settings.check_inputs:
            details = input_complaints(endpoint, request.payload, self.files, now)
        if details:
            request.planned = invalid(details)
            request.service = self.settings.rejection_time
            return
        fault = self.faults.draw(_job_call(request))
        billed = self._plan(request, fault)
        if billed:
            recipes = recipes_for(endpoint, request.payload, self.files, "", now)
            seconds = sum(recipe.seconds for recipe in recipes if isinstance(recipe, Clip))
            charge = charge_for(
                endpoint,
                request.payload,
                seconds=seconds,
                images=len(recipes),
                input_seconds=input_seconds(request.payload, self.files, now),
            )
            request.price_micro_usd, request.price_units = charge.micro_usd, charge.units

    def _plan(self, request: Request, fault: Fault | None) -> bool:
        """Apply a fault to the request; returns whether its outcome is billed."""
        if fault is None:
            return True
        match fault.what:
            case "delay":
                request.service += fault.seconds or 0.0
            case "hang":
                request.service = math.inf if fault.seconds is None else fault.seconds
            case "garbage":
                request.output = dict(fault.body) if isinstance(fault.body, Mapping) else {}
            case _:
                assert fault.error is not None
                given = request.payload.get("prompt")
                failure = named_failure(fault.error, fault.http, given)
                request.planned = _with_extras(failure, fault)
                return self._bills(request.planned) if fault.billed is None else fault.billed
        return fault.billed is not False

    def _bills(self, failure: Failure) -> bool:
        policy = failure.error_type == "content_policy_violation"
        return policy and self.settings.bill_content_policy

    def _changed(self, request: Request) -> None:
        """Handle the start or end of a request."""
        if request.state is State.COMPLETED and request.failure == request.planned:
            request.charged_micro_usd = request.price_micro_usd
            request.charged_units = request.price_units
        if request.succeeded:
            self._shelve(request, self._endpoint_of(request))
        self._store.save_request(request)

    def _shelve(self, request: Request, endpoint: Endpoint) -> list[File]:
        tag = f"{endpoint.tier} {endpoint.operation} {request.request_id}"
        at = request.finished_at or self.now()
        # Inputs are checked as they were when the request was accepted.
        recipes = recipes_for(endpoint, request.payload, self.files, tag, request.accepted_at)
        return self.files.shelve(request, recipes, at)

    def _endpoint_of(self, request: Request) -> Endpoint:
        # Passed as an extra endpoint: the settings may no longer list it.
        endpoint = endpoint_for(request.endpoint, (request.endpoint,))
        assert endpoint is not None
        return endpoint

    def _content_of(self, url: str) -> str | None:
        if not self.files.is_ours(url):
            return None
        file = self.files.find(url, self.now())
        return f"sha256:{file.sha256}" if file is not None and file.sha256 else None

    def _older(self, request: Request, ttl: float | None) -> bool:
        if ttl is None or request.finished_at is None:
            return False
        return self.now() >= request.finished_at + ttl

    def _restore(self) -> None:
        for request in self._store.requests():
            self._by_id[request.request_id] = request
            self.books.accept(request)
            if request.succeeded:
                self._shelve(request, self._endpoint_of(request))
        self.queue.restore(self._by_id.values())


def _with_extras(failure: Failure, fault: Fault) -> Failure:
    body = fault.body if isinstance(fault.body, Mapping) else failure.body
    return replace(failure, body=body, headers={**failure.headers, **fault.headers})


def _job_call(request: Request) -> Call:
    return Call(
        stage="job",
        endpoint=request.endpoint,
        prompt=prompt_of(request.payload),
        request=request.ordinal,
    )


def _time_ordered_id(now: float, rng: Random) -> str:
    """Version 7 UUID, like fal's request ids."""
    milliseconds = max(0, int(now * 1000)) & ((1 << 48) - 1)
    bits = milliseconds << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62
    return str(UUID(int=bits | rng.getrandbits(62)))
