"""Stand-in whose service is in trouble: slow answers, resets, refusals, files that are cut.

Reads meet all of them; a submission is at most refused before it is accepted, so that its outcome
is certain. What happens to lost answers is tested with `kling_batch.emulator`.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from benchmarks.answers import Answer, Fal, FileAnswer, Later, Reset
from benchmarks.clips import Clips
from benchmarks.schedule import ServiceTimes, Slots

#: Seconds for which a slow answer takes.
SLOW = 3.0


class TroubledFal(Fal):
    """As `Fal`, but a fraction of the requests meets trouble."""

    def __init__(self, slots: Slots, times: ServiceTimes, clips: Clips, fraction: float) -> None:
        super().__init__(slots, times, clips)
        self._fraction = fraction
        self._random = Random(13)
        self._met: Counter[str] = Counter()

    def answer(self, head: bytes, body: bytes) -> Answer:
        """The answer, or trouble instead of it."""
        if self._random.random() >= self._fraction:
            return super().answer(head, body)
        if head.startswith(b"POST "):
            return self._refusal()
        kind = self._random.choice(("slow", "reset", "refused", "broken", "cut"))
        if kind == "refused":
            return self._refusal()
        self._met[kind] += 1
        match kind:
            case "slow":
                return Later(SLOW, b"", lambda: super(TroubledFal, self).answer(head, body))
            case "broken":
                return self._reply(503, b"<html>Service Unavailable</html>", "trouble")
            case "cut":
                return self._cut(super().answer(head, body))
            case _:
                return Reset()

    def _refusal(self) -> bytes:
        self._met["refused"] += 1
        body = b'{"detail": "Too Many Requests"}'
        return self._reply(429, body, "trouble", b"Retry-After: 1\r\n")

    def _cut(self, answer: Answer) -> Answer:
        """A file ends in its middle; of anything else nothing comes."""
        if not isinstance(answer, FileAnswer):
            return Reset()
        answer.cut = (answer.position + answer.end) // 2
        return answer

    def books(self) -> dict[str, Any]:
        """The books, and what trouble there was."""
        return {**super().books(), "trouble": dict(self._met)}
