"""The emulated platform in this process, on a clock that a test sets."""

from __future__ import annotations

import pytest

from kling_batch.emulator import Settings, World


class Clock:
    """Stands still until a test changes `now`."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings() -> Settings:
    """What a module's world is like; most say it themselves."""
    return Settings(profile="instant", start_latency=0.0)


@pytest.fixture
def world(settings: Settings, clock: Clock) -> World:
    return World(settings, clock=clock)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
