"""What the emulated platform remembers of a request: plain data, saved as JSON and read back."""

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
    """The only three states fal knows; a failed request is COMPLETED too."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One accepted submission. Only the queue and the world write to it."""

    ordinal: int
    request_id: str
    endpoint: str
    payload: dict[str, Any]
    payload_hash: str
    seed: int
    accepted_at: float
    eligible_at: float
    service: float  # seconds of work at time_scale 1; inf: never ends
    planned: Failure | None = None  # how it will end, decided when it is accepted
    price_micro_usd: int = 0  # what it will cost if it ends as planned
    price_units: float = 0.0
    start_by: float | None = None
    store_io: bool = True
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
        """The words of the prompt, or of all shots, for faults and pictures."""
        return prompt_of(self.payload)

    @property
    def succeeded(self) -> bool:
        """Whether it is done and has an output."""
        return self.state is State.COMPLETED and self.failure is None

    @property
    def committed_micro_usd(self) -> int:
        """What it has cost, or will cost if it is left alone."""
        return self.charged_micro_usd if self.finished_at is not None else self.price_micro_usd

    def to_json(self) -> str:
        """The whole record."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of to_json."""
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
