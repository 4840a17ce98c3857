"""Fault plan: which fault applies to which call. `misbehaviour` carries the faults out.

A plan as a file (YAML or JSON) is a list of faults, alone or under `faults:`, next to an
optional `seed:`. Each fault is a mapping with the fields of `Fault`:

    seed: 7
    faults:
      - {stage: submit.after, nth: 3, what: reset}           # accepted, the answer is lost
      - {stage: submit.before, every: 10, what: status, status: 429, headers: {Retry-After: "2"}}
      - {stage: status, probability: 0.02, what: status, status: 502}
      - {stage: download, request: 4, what: truncated, times: 1}
      - {stage: job, prompt: "[forbidden]", what: fail, error: content_policy_violation}
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self

from .checking import Range, refuse_misfits, refuse_out_of_range, refuse_unknown
from .errors import MODEL_ERRORS, REQUEST_ERRORS

Stage = Literal[
    "submit.before",  # before acceptance: nothing is charged
    "submit.after",  # after acceptance: it is charged, and only the response is faulty
    "status",
    "result",
    "cancel",
    "list",
    "pricing",
    "schema",
    "upload",
    "download",
    "job",  # how the render ends; decided on acceptance
]
What = Literal[
    "status",  # respond with this HTTP status (default bodies like those of fal's proxies)
    "reset",  # reset the connection without a response
    "close",  # close the connection without a response
    "hang",  # no response for `seconds` (default: forever), then reset; job: ends late or never
    "delay",  # respond `seconds` later; job: takes that much longer
    "garbage",  # 200 with an unusable body; job: succeeds without media
    "truncated",  # declare the whole length, send half, close
    "short",  # send a complete body that is shorter than the result's file_size
    "expired",  # 404, or 410 with status: 410
    "html",  # 200 with an HTML page instead of a file or JSON
    "ignore_range",  # 200 with the whole file although a range was requested
    "headers",  # the regular response with these `headers` changed
    "units",  # result only: billable units times `scale`; the charge in dollars is as ever
    "fail",  # job only: end with the error named in `error`
]
_JOB = ("fail", "delay", "hang", "garbage")
_ERRORS = frozenset({*REQUEST_ERRORS, *MODEL_ERRORS})
_RANGES: Mapping[str, Range] = {
    **dict.fromkeys(("nth", "every", "request"), (1, None)),
    **dict.fromkeys(("times", "per_request"), (0, None)),  # 0: never
    "probability": (0, 1),
    **dict.fromkeys(("status", "http"), (200, 599)),
    **dict.fromkeys(("seconds", "scale"), (0, None)),
}
#: A header that can be sent (RFC 9110): its name, a colon and its value.
_HEADER = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:(?:[\x21-\x7e\x80-\xff]+(?:[ \t]+[\x21-\x7e\x80-\xff]+)*)?"
)


class ConnectionDropped(Exception):  # noqa: N818 (an event, not an error of the emulator)
    """The emulated server dropped the connection.

    On a port the socket is closed and this exception stays inside. In process it leaves the ASGI
    application; it then carries what had been sent before, if anything.
    """

    def __init__(self, *, politely: bool = False) -> None:
        super().__init__("the emulated server dropped the connection")
        self.politely = politely
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault and the calls that it applies to; all given conditions must hold.

    `nth` and `every` count the calls that match the other conditions. `request` is the number of
    the request in order of acceptance, from 1, for stages after acceptance.
    """

    stage: Stage
    what: What
    nth: int | tuple[int, ...] | None = None
    every: int | None = None
    probability: float | None = None
    endpoint: str | None = None  # glob
    prompt: str | None = None  # substring
    request: int | tuple[int, ...] | None = None
    times: int | None = None  # maximum in all
    per_request: int | None = None  # maximum per request
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | Mapping[str, Any] | None = None
    seconds: float | None = None  # for `hang` and `delay`; a delay before the other faults
    scale: float | None = None  # for `units`: a scale that no price belongs to
    error: str | None = None
    http: int | None = None  # job: HTTP code, if not the usual one of this error
    billed: bool | None = None  # job: charged although it fails

    def __post_init__(self) -> None:
        for name in ("nth", "request"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        if isinstance(self.headers, Mapping):  # YAML reads `Retry-After: 5` as a number
            text = {str(name): str(value) for name, value in self.headers.items()}
            object.__setattr__(self, "headers", text)
        refuse_misfits("fault", self)
        refuse_out_of_range("fault", self, _RANGES)
        if problem := self._problem():
            raise ValueError(f"fault {self.stage}/{self.what}: {problem}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Fault from a parsed document; raises ValueError with the reason."""
        refuse_unknown("fault field", cls, values)
        if missing := [name for name in ("stage", "what") if name not in values]:
            raise ValueError(f"a fault needs {' and '.join(missing)}")
        forever = values.get("seconds") == "forever"
        return cls(**{**values, "seconds": None} if forever else values)

    def as_dict(self) -> dict[str, Any]:
        """The fields that are set."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, {})}

    def _problem(self) -> str | None:
        job = self.stage == "job"
        problems = {
            "only a job can fail": self.what == "fail" and not job,
            f"a job can only {', '.join(_JOB)}": job and self.what not in _JOB,
            f"unknown error {self.error!r}": self.what == "fail" and self.error not in _ERRORS,
            "needs a status code": self.what == "status" and self.status is None,
            "only a result has units": self.what == "units" and self.stage != "result",
            "needs a scale": self.what == "units" and self.scale is None,
            "needs seconds": self.what == "delay" and self.seconds is None,
            "a header cannot be sent": not all(
                _HEADER.fullmatch(f"{name}:{value}") for name, value in self.headers.items()
            ),
            "its body is no JSON": not _is_json(self.body),
        }
        return next((text for text, holds in problems.items() if holds), None)


def _is_json(value: object) -> bool:
    """Whether it can be sent and shown; YAML has more kinds of values."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Properties of a call that faults are matched against."""

    stage: Stage
    endpoint: str = ""
    prompt: str = ""
    request: int | None = None


@dataclass(slots=True)
class _Armed:
    fault: Fault
    seen: int = 0
    fired: int = 0
    per_request: dict[int | None, int] = field(default_factory=dict)


class FaultPlan:
    """Active faults. One seeded random source, so that a run can be repeated."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 0) -> None:
        self._rng = random.Random(seed)  # noqa: S311 (repeatable on purpose)
        self._armed: list[_Armed] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Activate faults; if several match a call, the one added first applies."""
        self._armed += [_Armed(fault) for fault in faults]

    def clear(self) -> None:
        """Deactivate all faults."""
        self._armed.clear()

    def seed(self, seed: int) -> None:
        """Reseed the random source."""
        self._rng.seed(seed)

    def draw(self, call: Call) -> Fault | None:
        """Fault that applies to this call, or None; counts the call for every fault it matches."""
        met = [armed for armed in self._armed if self._meets(armed, call)]
        if not met:
            return None
        first = met[0]
        first.fired += 1
        first.per_request[call.request] = first.per_request.get(call.request, 0) + 1
        return first.fault

    def report(self) -> list[dict[str, Any]]:
        """Each fault with the number of calls that it matched and applied to."""
        return [
            {**armed.fault.as_dict(), "seen": armed.seen, "fired": armed.fired}
            for armed in self._armed
        ]

    def _meets(self, armed: _Armed, call: Call) -> bool:
        fault = armed.fault
        if not _matches(fault, call):
            return False
        armed.seen += 1
        if fault.times is not None and armed.fired >= fault.times:
            return False
        fired_here = armed.per_request.get(call.request, 0)
        if fault.per_request is not None and fired_here >= fault.per_request:
            return False
        if fault.nth is not None and not _among(armed.seen, fault.nth):
            return False
        if fault.every is not None and armed.seen % fault.every:
            return False
        return fault.probability is None or self._rng.random() < fault.probability


def _matches(fault: Fault, call: Call) -> bool:
    if fault.stage != call.stage:
        return False
    if fault.endpoint is not None and not fnmatchcase(call.endpoint, fault.endpoint):
        return False
    if fault.prompt is not None and fault.prompt not in call.prompt:
        return False
    return fault.request is None or _among(call.request, fault.request)


def _among(number: int | None, wanted: int | tuple[int, ...]) -> bool:
    return number in wanted if isinstance(wanted, tuple) else number == wanted


def parse_plan(document: object) -> tuple[list[Fault], int | None]:
    """Faults and seed of a parsed plan; raises ValueError with the reason."""
    seed = None
    if isinstance(document, Mapping):
        if unknown := sorted(set(document) - {"seed", "faults"}):
            raise ValueError(f"unknown key in a fault plan: {', '.join(map(str, unknown))}")
        seed = document.get("seed")
        document = document.get("faults", [])
    if not isinstance(seed, int | None) or isinstance(seed, bool):
        raise ValueError("the seed of a fault plan is a whole number")  # noqa: TRY004
    if not isinstance(document, list) or not all(isinstance(each, Mapping) for each in document):
        raise ValueError("a fault plan is a list of faults, alone or under `faults:`")
    return [Fault.from_mapping(each) for each in document], seed


def load_plan(path: Path | str) -> FaultPlan:
    """Fault plan of a YAML or JSON file; raises ValueError with the reason."""
    import yaml  # noqa: PLC0415

    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"fault plan {path} cannot be read: {error}") from error
    faults, seed = parse_plan(document)
    return FaultPlan(faults, seed or 0)
