"""Headers of the paid POST: tags within fal's rules."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_batch.emulator.queue_api import read_tags
from kling_batch.fal.request_headers import refuses_tags, tags_header


@pytest.mark.parametrize(
    ("tags", "header"),
    [
        ({"batch": "spring", "job": "hero#2", "attempt": "7"}, "batch=spring,job=hero#2,attempt=7"),
        ({"job": "one,two\nthree"}, "job=one_two_three"),
        ({"job": "Äpfel 🎲"}, "job=Apfel _"),
        ({"job": "  "}, ""),
        ({"Job Name": "x"}, "job_name=x"),
        ({"fal.batch": "x"}, ""),
        ({}, ""),
    ],
)
def test_tags_are_written_as_fal_takes_them(tags: dict[str, str], header: str) -> None:
    assert tags_header(tags) == header


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.text(max_size=80), st.text(max_size=400), max_size=14))
def test_whatever_is_written_is_within_fals_rules(tags: dict[str, str]) -> None:
    header = tags_header(tags)

    assert re.fullmatch(r"[\x20-\x7e]{0,1024}", header)
    pairs = header.split(",") if header else []
    assert len(pairs) <= 10
    assert len(read_tags(header)) == len({pair.split("=")[0] for pair in pairs})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("HTTP 403: X-Fal-Tags: request tags are not enabled for this account", True),
        ("HTTP 400: Invalid X-Fal-Tags header", True),
        ("HTTP 403: Request tags are disabled", True),
        ("HTTP 403: Cannot access application. Access denied.", False),
        ("HTTP 422: body.prompt: tag the prompt", False),
    ],
)
def test_a_refusal_of_tags_is_reported_from_others(message: str, expected: bool) -> None:
    assert refuses_tags(message) is expected
