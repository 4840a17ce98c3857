"""Counter of failed renders, which ends the buying of a run at `max_failures`. Pure.

A batch whose prompts are all refused would otherwise be paid for to its end. Must not stop anything
itself.
"""

from __future__ import annotations

from kling_batch.core.outcomes import Failure, FailureKind
from kling_batch.core.quantities import FailureLimit
from kling_batch.core.text import count


class Failures:
    """The failures of one run. The next one counts anew: whoever starts it has seen how this ended.

    Args:
        limit: after which ones nothing more is bought; None: there is no limit.
        renders: how many renders may end in this run.
    """

    def __init__(self, limit: FailureLimit | None, renders: int) -> None:
        """Nothing has ended yet."""
        self._limit = limit
        self._renders = renders
        self._kind: FailureKind | None = None
        self._in_a_row = 0
        self._all = 0

    def count(self, failure: Failure | None) -> str:
        """Count one end; why nothing more should be bought, or empty. None: it succeeded."""
        if failure is None:
            self._kind, self._in_a_row = None, 0
            return ""
        self._in_a_row = self._in_a_row + 1 if failure.kind is self._kind else 1
        self._kind = failure.kind
        self._all += 1
        return self._reason(failure)

    def _reason(self, failure: Failure) -> str:
        if self._limit is None:
            return ""
        most, share = self._limit.in_a_row, self._limit.share
        if most is not None and self._in_a_row >= most:
            failures = f"{count(self._in_a_row, 'failure')} in a row"
        elif share is not None and self._all >= share * self._renders:
            have = "has" if self._all == 1 else "have"
            failures = f"{self._all:,} of {count(self._renders, 'job')} {have} failed"
        else:
            return ""
        return f"{failures}, the last one: {failure.message}; max_failures is {self._limit}"
