"""Events of a run, passed on to a function of the calling program, and what that function raises.

Must not decide about the run; the function cannot change what others hear.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from copy import deepcopy
from dataclasses import replace
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Self

from kling_batch.core.events import EventKind, RunEvent
from kling_batch.errors import UsageError

NOT_AWAITED = "on_event is called and not awaited: give a plain function"


class Events:
    """Display that passes events to a function of the caller.

    An error of that function, of whatever kind, stops the run in order, as a cancellation does. It
    is raised where the context of this display ends: inside the run it would be taken for one of
    the event loop's own. A context may be entered again within itself.
    """

    def __init__(self, on_event: Callable[[RunEvent], object] | None) -> None:
        _check(on_event)
        self._on_event = on_event
        self._error: BaseException | None = None

    def start(self, *_args: Any, **_more: Any) -> None:
        """Nothing to do: the function gets events only."""

    def notify(self, event: RunEvent) -> None:
        """Pass on one event, unless an earlier one has failed."""
        if self._on_event is None or self._error is not None:
            return
        given = replace(event, data=deepcopy(event.data))  # the original is of others, too
        try:
            _refuse_awaitable(self._on_event(given))
        except BaseException as error:  # noqa: BLE001 - raised by `__exit__`, in order
            self._error = error

    def warn(self, message: str) -> None:
        """Pass on a warning about the selection; nothing has been sent yet."""
        self.notify(RunEvent(kind=EventKind.WARNING, message=message))
        self.tick()

    def tick(self, *_args: object) -> None:
        """Stop the run where the caller's function has failed."""
        if self._error is not None:
            raise _StoppedError

    def finish(self, report: object) -> None:
        """Nothing to do: the report is returned."""

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Raise the error of the caller's function as it was."""
        if self._error is None or error is self._error:
            return
        context = self._error.__context__
        try:
            raise self._error
        finally:
            self._error.__context__ = context  # not what it was translated into meanwhile


class _StoppedError(Exception):
    """The caller's function has failed; `Events` has the error."""


def _refuse_awaitable(answer: object) -> None:
    """Raise `UsageError` for what nobody will await; a coroutine is closed."""
    if isinstance(answer, Coroutine):
        answer.close()
    if isawaitable(answer):
        raise UsageError(NOT_AWAITED)


def _check(on_event: object) -> None:
    """Raise `UsageError` for what cannot be called, or would be called and never awaited."""
    if on_event is None:
        return
    if not callable(on_event):
        raise UsageError("on_event is no function")
    if iscoroutinefunction(on_event) or iscoroutinefunction(type(on_event).__call__):
        raise UsageError(NOT_AWAITED)
