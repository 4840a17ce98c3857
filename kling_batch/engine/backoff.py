"""How long to wait: pure functions from counts and hints to seconds.

Must not sleep, read a clock, or own a random source.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential growth with full-range jitter, in seconds."""

    first: float = 1.0
    factor: float = 2.0
    ceiling: float = 30.0

    def delay(self, n: int, rng: Random, retry_after: float | None = None) -> float:
        """Seconds before try `n + 1`, `n` ≥ 1; never less than what the server asked for.

        A huge `n` or hint is clamped: `ceiling` bounds the growth, an hour bounds the hint.
        """
        grown = min(self.ceiling, self.first * self.factor ** min(n - 1, 32))
        jittered = grown * rng.uniform(0.75, 1.25)
        return max(jittered, min(retry_after or 0.0, 3600.0))


#: The paid POST, where it provably was not accepted.
SUBMIT = Backoff(first=0.5, ceiling=30.0)
#: The same, where fal says that the account is locked: a moment, to tell a blip from a lock.
LOCKED = Backoff(first=1.0)
#: Between submissions while fal answers none of them for certain.
PROBE = Backoff(first=2.0, ceiling=120.0)
#: Reads of status, result and list: they cost nothing, but a broken service wants rest.
READ = Backoff(first=0.5, ceiling=20.0)
#: Downloads.
DOWNLOAD = Backoff(first=0.5, ceiling=20.0)
#: A new attempt after a transient, unbilled failure.
ATTEMPT = Backoff(first=2.0, ceiling=60.0)


def poll_interval(elapsed: float) -> float:
    """Seconds until the next look at a request that was accepted `elapsed` seconds ago.

    Renders take seconds (images) to minutes (pro video, facts §1.2). A tenth of the age notices
    an end 5 % late on average, with about 60 looks in the first five minutes.
    """
    return min(10.0, max(0.4, elapsed * 0.1))


def doubt_interval(elapsed: float) -> float:
    """Seconds until the platform's list is asked again, `elapsed` seconds after the intent."""
    return min(60.0, max(1.0, elapsed * 0.25))
