"""Benchmarks: every row runs, the stand-in keeps to the schedule, the document to the results."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support.process import environment

from benchmarks import document
from benchmarks.answers import Fal, FileAnswer, Later, Reset
from benchmarks.clips import Clips
from benchmarks.plot import Panel, svg
from benchmarks.results import Figure, RowResult, from_json, write_json
from benchmarks.rows import ROWS
from benchmarks.schedule import ServiceTimes, Slots, ideal, makespan
from benchmarks.trouble import TroubledFal
from kling_batch.output.filetype import FileBytes, sniff, whole

ROOT = Path(__file__).parents[1]
ENDPOINT = "fal-ai/kling-video/o3/standard/text-to-video"


@pytest.mark.acceptance
@pytest.mark.timeout(400)  # of the row of workers, beside other tests
@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_every_row_runs(tmp_path: Path, name: str) -> None:
    results = tmp_path / "results.json"
    words = ["-m", "benchmarks", name, "--scale", "tiny", "--json", str(results)]

    done = subprocess.run(
        [sys.executable, *words, "--folder", str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    row = from_json(results)[1][name]
    assert row.error == ""
    assert row.figures
    assert all(figure.value is not None for figure in row.figures if figure.bound is not None)


def test_the_readme_lists_every_row() -> None:
    text = (ROOT / "benchmarks/README.md").read_text().partition("## Rows")[2]

    assert re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE) == [row.name for row in ROWS]


def test_the_document_has_the_results() -> None:
    if os.environ.get("UPDATE_DOCS"):
        document.renew(None)

    text = document.DOCUMENT.read_text()
    assert document.renewed(text) == text
    assert document.PLOT.read_text() == document.plot()


# -- the ideal ---------------------------------------------------------------------------------


def test_equal_requests_are_rendered_in_rounds() -> None:
    assert ideal(400, 40, 2) == 20
    assert ideal(41, 40, 2) == 4


def test_a_free_slot_takes_the_next_request() -> None:
    assert makespan([3, 1, 1, 1], 2) == 3
    assert makespan([1, 1, 3], 2) == 4


def test_service_times_are_the_same_for_everybody() -> None:
    times = list(islice(ServiceTimes(10, 0.3), 1000))

    assert times == list(islice(ServiceTimes(10, 0.3), 1000))
    assert 7 <= min(times) < 8
    assert 12 < max(times) <= 13


# -- the stand-in ------------------------------------------------------------------------------


def ask(fal: Fal, line: str, body: bytes = b"", fields: str = "") -> tuple[int, dict[str, Any]]:
    answer = fal.answer(f"{line} HTTP/1.1\r\nHost: x{fields}".encode(), body)
    assert isinstance(answer, bytes)
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


def submit(fal: Fal, prompt: str = "x") -> str:
    status, answer = ask(fal, f"POST /{ENDPOINT}", json.dumps({"prompt": prompt}).encode())
    assert status == 200
    return str(answer["status_url"]).removeprefix("https://queue.fal.run")


def test_requests_wait_in_line_for_a_slot() -> None:
    fal = Fal(Slots(1), ServiceTimes(1000), Clips(5000))
    first, second, third = submit(fal), submit(fal), submit(fal)

    assert ask(fal, f"GET {first}")[1]["status"] == "IN_PROGRESS"
    assert ask(fal, f"GET {second}") == (202, {"status": "IN_QUEUE", "queue_position": 0})
    assert ask(fal, f"GET {third}") == (202, {"status": "IN_QUEUE", "queue_position": 1})
    assert fal.books()["asked"] == {"submit": 3, "status": 3}
    assert fal.books()["open"] == 3


def test_a_rendered_request_has_a_result_and_a_file() -> None:
    fal = Fal(Slots(1), ServiceTimes(0), Clips(5000))
    url = submit(fal, "a lamp")

    assert ask(fal, f"GET {url}")[0] == 200
    result = ask(fal, f"GET {url.removesuffix('/status')}")[1]
    file = fal.answer(b"GET /files/bench/0.mp4 HTTP/1.1\r\nRange: bytes=4000-", b"")
    listed = ask(fal, f"GET /v1/models/requests/by-endpoint?endpoint_id={ENDPOINT}&expand=payloads")

    assert result["video"]["file_size"] == 5000
    assert isinstance(file, FileAnswer)
    assert (file.position, file.end) == (4000, 5000)
    assert file.head.startswith(b"HTTP/1.1 206")
    (item,) = listed[1]["items"]
    assert item["json_input"] == {"prompt": "a lamp"}
    assert item["json_output"] == result


def test_a_stream_of_statuses_ends_with_the_render() -> None:
    waiting = Fal(Slots(1), ServiceTimes(1000), Clips(5000))
    done = Fal(Slots(1), ServiceTimes(0), Clips(5000))

    first = waiting.answer(f"GET {submit(waiting)}/stream HTTP/1.1\r\n".encode(), b"")
    whole = done.answer(f"GET {submit(done)}/stream HTTP/1.1\r\n".encode(), b"")

    assert isinstance(first, Later)
    assert 999 < first.seconds < 1001
    assert b"IN_PROGRESS" in first.start
    assert isinstance(whole, bytes)
    assert b"COMPLETED" in whole
    assert whole.endswith(b"0\r\n\r\n")


def test_trouble_leaves_no_doubt_about_a_submission() -> None:
    fal = TroubledFal(Slots(1), ServiceTimes(0), Clips(5000), fraction=0.5)
    codes = [
        ask(fal, f"POST /{ENDPOINT}", json.dumps({"prompt": str(n)}).encode())[0]
        for n in range(100)
    ]

    assert set(codes) == {200, 429}
    assert fal.books()["submitted"] == codes.count(200)


def test_reads_meet_every_trouble() -> None:
    fal = TroubledFal(Slots(1), ServiceTimes(0), Clips(5000), fraction=0.5)
    while fal.books()["submitted"] == 0:
        fal.answer(f"POST /{ENDPOINT} HTTP/1.1".encode(), b"{}")
    answers = [fal.answer(b"GET /files/bench/0.mp4 HTTP/1.1\r\nHost: x", b"") for _ in range(200)]

    met = fal.books()["trouble"]
    assert set(met) == {"slow", "reset", "refused", "broken", "cut"}
    assert sum(isinstance(each, Reset) for each in answers) == met["reset"]
    assert sum(isinstance(each, Later) for each in answers) == met["slow"]
    cut = [each for each in answers if isinstance(each, FileAnswer) and each.cut is not None]
    assert {each.cut for each in cut} == {2500}
    assert len(cut) == met["cut"]


@pytest.mark.parametrize("size", [3000, 2_500_000])
def test_clips_are_whole_and_differ(size: int) -> None:
    clips = Clips(size)

    def read(number: int, offset: int = 0) -> bytes:
        data = b""
        while offset + len(data) < size:
            data += clips.piece(number, offset + len(data), 700_000)
        return data

    one, other = read(1), read(2)
    kind = sniff(one[:512])
    assert len(one) == len(other) == size == clips.size
    assert kind is not None
    assert kind.ext == ".mp4"
    assert whole(FileBytes(io.BytesIO(one)), kind)
    assert one != other
    assert read(1, size // 3) == one[size // 3 :]


# -- results -----------------------------------------------------------------------------------


def test_a_bound_is_the_most_or_the_least() -> None:
    assert Figure(name="x", value=2, bound=2).holds is True
    assert Figure(name="x", value=2.1, bound=2).holds is False
    assert Figure(name="x", value=2, bound=3, at_least=True).holds is False
    assert Figure(name="x", value=None, bound=2).holds is False
    assert Figure(name="x", value=2).holds is None


def test_a_row_with_an_error_does_not_hold() -> None:
    assert not RowResult(name="a", title="", error="it broke").holds
    assert not RowResult(name="a", title="", figures=[Figure(name="x", value=3, bound=2)]).holds


def test_results_of_rows_that_do_not_run_again_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    one, two = (
        RowResult(name=name, title=name, figures=[Figure(name="x", value=1, bound=2)])
        for name in ("one", "two")
    )
    write_json(file, [one, two])
    again = RowResult(name="two", title="two", figures=[Figure(name="x", value=3, bound=2)])

    write_json(file, [again])

    assert from_json(file)[1] == {"one": one, "two": again}


def test_a_line_is_drawn_as_one() -> None:
    drawn = svg([Panel("time", {"run": [(100, 1.0), (1000, 10.0), (10_000, 100.0)]})])

    (path,) = re.findall(r'points="([^"]+)"', drawn)
    (x1, y1), (x2, y2), (x3, y3) = (map(float, each.split(",")) for each in path.split())
    assert (x2 - x1, y2 - y1) == pytest.approx((x3 - x2, y3 - y2), abs=0.2)
