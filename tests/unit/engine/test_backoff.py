"""How long to wait: bounds that hold for every count, hint and stroke of luck."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_batch.engine import pacing
from kling_batch.engine.pacing import Backoff, doubt_interval

thorough = settings(max_examples=100, deadline=None, derandomize=True, database=None)
POLICIES = [pacing.SUBMIT, pacing.READ, pacing.DOWNLOAD, pacing.ATTEMPT]


@thorough
@given(st.sampled_from(POLICIES), st.integers(1, 10**9), st.integers(0, 10**6))
def test_a_pause_stays_within_a_quarter_of_its_growth(policy: Backoff, n: int, seed: int) -> None:
    grown = min(policy.ceiling, policy.first * policy.factor ** min(n - 1, 60))

    pause = policy.delay(n, Random(seed))

    assert 0.75 * grown <= pause <= 1.25 * grown


@thorough
@given(st.sampled_from(POLICIES), st.integers(1, 99), st.integers(0, 99), st.floats(0, 3600))
def test_never_less_than_the_server_asked_for(
    policy: Backoff, n: int, seed: int, asked: float
) -> None:
    assert policy.delay(n, Random(seed), asked) >= asked


@pytest.mark.parametrize("asked", [math.inf, 1e300, 3601.0, 86_400.0])
def test_an_absurd_wish_is_an_hour(asked: float) -> None:
    assert pacing.READ.delay(1, Random(1), asked) == 3600.0


@pytest.mark.parametrize("asked", [None, 0.0, -5.0])
def test_no_wish_changes_nothing(asked: float | None) -> None:
    assert pacing.READ.delay(3, Random(1), asked) == pacing.READ.delay(3, Random(1))


def test_a_wish_that_is_no_number_changes_nothing() -> None:
    pause = pacing.READ.delay(3, Random(1), math.nan)

    assert pause == pacing.READ.delay(3, Random(1)) or pause == 3600.0
    assert math.isfinite(pause)


@pytest.mark.parametrize("policy", POLICIES)
def test_pauses_grow_to_their_ceiling(policy: Backoff) -> None:
    middles = [policy.delay(n, Random(5)) / policy.delay(1, Random(5)) for n in range(1, 40)]

    assert middles == sorted(middles)
    assert middles[-1] == pytest.approx(policy.ceiling / policy.first)


@thorough
@given(st.floats(-1e6, 1e9), st.floats(0, 1e6))
def test_looks_at_the_list_become_rarer_and_never_rare(elapsed: float, later: float) -> None:
    assert 1 <= doubt_interval(elapsed) <= doubt_interval(elapsed + later) <= 60
