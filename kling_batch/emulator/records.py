"""Record of a request on the emulated platform: plain data that is stored as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from .errors import Failure


class State(StrEnum):
    """fal's three states; a failed request is COMPLETED too (docs/fal-api.md#status)."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One accepted submission. Only `Queue` and `World` change it."""

    ordinal: int
    request_id: str
    endpoint: str
    payload: dict[str, Any]
    payload_hash: str
    seed: int
    accepted_at: float
    eligible_at: float
    service: float  # seconds of rendering at time_scale 1; inf: never ends
    planned: Failure | None = None  # how it will end; decided on acceptance
    price_micro_usd: int = 0  # cost if it ends as planned
    price_units: float = 0.0
    start_by: float | None = None
    store_io: bool = True
    tags: dict[str, str] = field(default_factory=dict)
    state: State = State.IN_QUEUE
    started_at: float | None = None
    due_at: float = math.inf
    finished_at: float | None = None
    failure: Failure | None = None
    cancelled: bool = False
    cancel_requested: bool = False
    charged_micro_usd: int = 0
    charged_units: float = 0.0
    output: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def prompt(self) -> str:
        """Text of the prompt or of all shots, for faults and rendered media."""
        return prompt_of(self.payload)

    @property
    def succeeded(self) -> bool:
        """Whether it is completed and has an output."""
        return self.state is State.COMPLETED and self.failure is None

    @property
    def committed_micro_usd(self) -> int:
        """Cost so far, or the cost it will have if nothing interferes."""
        return self.charged_micro_usd if self.finished_at is not None else self.price_micro_usd

    def to_json(self) -> str:
        """The whole record as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Record from the output of `to_json`."""
        values = json.loads(text)
        values["state"] = State(values["state"])
        for name in ("planned", "failure"):
            if values[name] is not None:
                values[name] = Failure(**values[name])
        return cls(**values)


def prompt_of(payload: Mapping[str, Any]) -> str:
    """Every prompt text of an input, in order."""
    prompt = payload.get("prompt")
    texts = [prompt] if isinstance(prompt, str) else []
    shots = payload.get("multi_prompt")
    for shot in shots if isinstance(shots, list) else ():
        prompt = shot.get("prompt") if isinstance(shot, dict) else None
        texts += [prompt] if isinstance(prompt, str) else []
    return " / ".join(texts)
