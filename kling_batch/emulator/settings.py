"""Settings of the emulated account and platform, as data.

Where fal's documentation contradicts itself or is silent, a setting lets a test try both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from .checking import Range, refuse_misfits, refuse_out_of_range, refuse_unknown

DEMO: Mapping[str, float] = {
    "image": 2.0,
    "standard": 5.0,
    "pro": 8.0,
    "4k": 12.0,
    "edit": 8.0,
    "voice": 1.0,
}
"""Seconds per render, shortened for trying it out."""

REALISTIC: Mapping[str, float] = {
    "image": 30.0,
    "standard": 94.0,
    "pro": 318.0,
    "4k": 480.0,
    "edit": 318.0,
    "voice": 10.0,
}
"""Seconds per render from fal's pages (standard, pro); the others are estimates."""

INSTANT: Mapping[str, float] = dict.fromkeys(DEMO, 0.0)
"""Renders that end as soon as they start."""

PROFILES: Mapping[str, Mapping[str, float]] = {
    "demo": DEMO,
    "realistic": REALISTIC,
    "instant": INSTANT,
}


@dataclass(kw_only=True)
class Settings:
    """Settings of the emulated account and platform; all can be changed at run time."""

    seed: int = 0

    # -- renders --
    concurrency: int = 2  # fal's limit for a new account; queued requests do not count
    time_scale: float = 1.0  # 10: ten times as fast
    profile: Literal["demo", "realistic", "instant"] = "demo"
    service_times: Mapping[str, float] = field(
        default_factory=dict
    )  # overrides entries of the profile
    jitter: float = 0.15  # relative variation of each service time
    start_latency: float = 0.1  # minimum time in the queue
    rejection_time: float = 0.3  # seconds until the runner refuses an invalid input
    cancel_running: Literal["ignored", "honoured"] = "ignored"
    media: Literal["full", "template"] = "full"  # "template": one clip per shape, made once
    unknown_fields: Literal["ignore", "reject"] = "ignore"
    check_inputs: bool = True  # check uploaded images and videos as the runner does
    extra_endpoints: tuple[str, ...] = ()

    # -- the account --
    keys: frozenset[str] | None = field(default=None, repr=False)  # None: any non-empty key
    admin_keys: frozenset[str] = field(default=frozenset(), repr=False)
    locked: str | None = None  # the reason, for instance "Exhausted balance"
    lock_reads: bool = False  # a lock also refuses status and result
    balance: float | None = None  # US$; the account is locked when it is spent
    forbidden: tuple[str, ...] = ()  # globs of endpoints without access
    bill_content_policy: bool = False
    refuse_tags: bool = False  # request tags (X-Fal-Tags) are not enabled

    # -- HTTP --
    submit_http: int = 200
    status_http: int = 202  # while unfinished
    early_result_http: int = 400
    cancel_http: Literal[200, 202] = 202
    cancel_removes: bool = False  # a queued request is answered 200 `OK` instead
    url_form: Literal["app", "endpoint", "response"] = "app"
    declare_sizes: bool = True  # file_size in results
    stream_interval: float = 0.5

    # -- retention --
    result_ttl: float | None = 3600.0
    status_ttl: float | None = None
    file_ttl: float | None = None

    # -- the request list of the platform API --
    list_allowed: bool = True
    list_delay: float = 0.0  # seconds until the list shows a request
    list_unfinished: bool = False  # whether it shows running requests
    list_filter: Literal["ended_at", "sent_at"] = "ended_at"
    billing_delay: float = 0.0  # seconds until billing events show a request

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, list | set) and each.name in _FREEZE:
                setattr(self, each.name, _FREEZE[each.name](value))
        refuse_misfits("emulator setting", self)
        if unknown := sorted(set(self.service_times) - set(DEMO)):
            raise ValueError(f"unknown kind in service_times: {', '.join(unknown)}")
        if negative := sorted(kind for kind, time in self.service_times.items() if time < 0):
            raise ValueError(f"service_times cannot be negative: {', '.join(negative)}")
        refuse_out_of_range("emulator setting", self, _RANGES)

    def service_time(self, kind: str) -> float:
        """Average seconds of a render of this kind at time_scale 1."""
        return self.service_times.get(kind, PROFILES[self.profile][kind])

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Settings from a parsed YAML or JSON document; raises ValueError for unknown keys."""
        refuse_unknown("emulator setting", cls, values)
        return cls(**values)

    def update(self, values: Mapping[str, Any]) -> None:
        """Change several fields; on an error, none."""
        refuse_unknown("emulator setting", type(self), values)
        changed = type(self)(**{**self.as_dict(), **values})
        for each in fields(self):
            setattr(self, each.name, getattr(changed, each.name))

    def as_dict(self) -> dict[str, Any]:
        """Every field by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


_RANGES: Mapping[str, Range] = {
    "concurrency": (0, None),
    "time_scale": (1e-6, None),
    "jitter": (0, 1),
    **dict.fromkeys(("submit_http", "status_http", "early_result_http"), (200, 599)),
    **dict.fromkeys(
        (
            *("start_latency", "rejection_time", "stream_interval"),
            *("result_ttl", "status_ttl", "file_ttl", "list_delay", "billing_delay"),
        ),
        (0, None),
    ),
}

_FREEZE: Mapping[str, type[frozenset[str] | tuple[str, ...]]] = {
    "keys": frozenset,
    "admin_keys": frozenset,
    "extra_endpoints": tuple,
    "forbidden": tuple,
}
