"""Displays: what people and machines read, and that no reader can break a run."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.reports import CENT, job, line, report

from kling_batch.core.events import EventKind, RunEvent
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import MicroUSD, clock, duration
from kling_batch.core.text import clean
from kling_batch.errors import ExitCode, Place
from kling_batch.output.files import replace_file
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.report.display.base import Display, painted
from kling_batch.report.display.choose import Both, choose
from kling_batch.report.display.live import LiveDisplay
from kling_batch.report.display.ndjson import JsonDisplay
from kling_batch.report.display.plain import PlainDisplay, inert
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import JobOutcome, RunStarted
from kling_batch.report.summary import StyledLine, Tone, brief, closing, opening

HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]x[/red]\r\nline two\x9b31m \u202egpj.exe\x00"


def plan(number: int = 2) -> Plan:
    kept = PlannedJob(job("kept"), Action.KEEP, "unchanged")
    bought = (PlannedJob(job(f"clip-{n}"), Action.SUBMIT, "new") for n in range(number))
    return Plan((kept, *bought))


def run_event(kind: str, name: str = "clip-0", message: str = "", **data: Any) -> RunEvent:
    return RunEvent(kind=EventKind(kind), job=name, batch="spring", message=message, data=data)


def ticking() -> Callable[[], datetime]:
    moments = iter(range(10_000))
    return lambda: datetime(2026, 11, 23, 6, tzinfo=UTC) + timedelta(seconds=next(moments))


def begin(display: Display, number: int = 2, cap: int | None = 4000 * CENT) -> None:
    limit = None if cap is None else MicroUSD(cap)
    display.start(RunStarted(plan=plan(number), cap=limit, output="outputs", emulated=False))


def text(said: list[StyledLine]) -> str:
    return "\n".join(part.text for part in said)


# -- plain lines -------------------------------------------------------------------------------


@pytest.fixture
def err() -> io.StringIO:
    return io.StringIO()


def test_plain_writes_a_line_an_event_and_the_summary(err: io.StringIO) -> None:
    display = PlainDisplay(SafeStream(err), now=ticking())
    begin(display)
    display.notify(run_event("submitted", message="accepted, $0.70"))
    display.notify(run_event("progress", message="IN_QUEUE", position=3))
    display.notify(run_event("progress", message="IN_PROGRESS"))
    display.notify(run_event("retrying", message="fal broke; a new attempt in 3 s"))
    display.notify(run_event("submitted", message="accepted, $0.70"))
    display.notify(run_event("saved", message="outputs/clip-0.mp4"))
    display.notify(RunEvent(kind=EventKind.WARNING, message="the list may not be asked"))
    display.finish(report(line("clip-0", JobOutcome.SUCCEEDED, files=("outputs/clip-0.mp4",))))
    display.close()

    assert err.getvalue() == (
        "06:00:00Z 3 jobs: 2 to render for up to $1.40, 1 unchanged, cap $40.00;"
        " files in outputs\n"
        "06:00:01Z [1/3] $1.40 clip-0: accepted, $0.70\n"
        "06:00:02Z [1/3] $1.40 clip-0: queued at fal, position 3 (1 s)\n"
        "06:00:03Z [1/3] $1.40 clip-0: rendering (2 s)\n"
        "06:00:04Z [1/3] $0.70 clip-0: failed for now: fal broke; a new attempt in 3 s\n"
        "06:00:05Z [1/3] $1.40 clip-0: accepted, $0.70\n"
        "06:00:06Z [2/3] $1.40 clip-0: saved outputs/clip-0.mp4 (1 s)\n"
        "06:00:07Z [2/3] $1.40 warning: the list may not be asked\n"
        "\n"
        "spring: 1 of 1 job done in 4 min 12 s\n"
        "\n"
        "  jobs   1 done\n"
        "  cost   $1.40 this run, $5.60 in all\n"
        "  files  1 file in outputs\n"
        "         outputs/clip-0.mp4\n"
    )


def test_a_silent_job_gives_a_sign_of_life_each_minute(err: io.StringIO) -> None:
    display = PlainDisplay(SafeStream(err), now=ticking())
    begin(display)
    display.notify(run_event("submitted"))
    for second in range(500, 500 + 125):
        display.tick(float(second))

    beats = [beat for beat in err.getvalue().splitlines() if " min " in beat]
    assert [beat.partition("Z ")[2] for beat in beats] == [
        "1 min 00 s: 1 of 3 done, 1 queued, 1 waiting; $1.40 of $40.00 committed",
        "2 min 00 s: 1 of 3 done, 1 queued, 1 waiting; $1.40 of $40.00 committed",
    ]


def test_quiet_says_only_what_needs_a_person(err: io.StringIO) -> None:
    display = PlainDisplay(SafeStream(err), now=ticking(), quiet=True)
    begin(display)
    display.notify(run_event("submitted"))
    display.notify(run_event("saved"))
    display.notify(run_event("failed", "clip-1", "refused", charged=Charged.NO))
    for second in range(200):
        display.tick(float(second))
    display.finish(report(line("clip-0", JobOutcome.SUCCEEDED)))

    assert err.getvalue().splitlines() == [
        "06:00:02Z [3/3] $1.40 clip-1: failed: refused",
        "spring: 1 of 1 job done in 4 min 12 s; $1.40 this run, $5.60 in all",
    ]


def test_jobs_carry_their_batch_where_there_are_several(err: io.StringIO) -> None:
    other = job("clip")._replace(batch="summer")
    display = PlainDisplay(SafeStream(err), now=ticking())
    items = tuple(PlannedJob(j, Action.SUBMIT, "") for j in (job("clip"), other))
    display.start(RunStarted(plan=Plan(items), cap=None, output="outputs", emulated=True))
    display.notify(RunEvent(kind=EventKind.SAVED, job="clip", batch="summer", message="x.mp4"))

    opened, saved = err.getvalue().splitlines()
    assert "on the emulator (nothing is paid)" in opened
    assert saved == "06:00:01Z [1/2] $0.00 summer/clip: saved x.mp4"


def test_finish_without_start_is_a_run_with_nothing_to_do(err: io.StringIO) -> None:
    display = PlainDisplay(SafeStream(err), now=ticking())
    display.finish(report(line("a", JobOutcome.UNCHANGED), spent_now=MicroUSD(0)))

    assert err.getvalue() == "spring: nothing to do, 1 job done before; files in outputs\n"


# -- JSON lines --------------------------------------------------------------------------------


def test_json_is_one_object_a_line_and_the_report_is_the_last() -> None:
    out = io.StringIO()
    display = JsonDisplay(SafeStream(out), now=ticking())
    begin(display)
    display.notify(run_event("progress", message="IN_QUEUE", position=3))
    for second in range(61):
        display.tick(float(second))
    display.finish(
        report(
            line("clip-0", JobOutcome.IN_DOUBT, place=Place("m.yaml", 3, 5), request_id="r1"),
            exit_code=ExitCode.IN_DOUBT,
            cap=MicroUSD(4000 * CENT),
        )
    )

    started, progress, beat, last = map(json.loads, out.getvalue().splitlines())
    assert started["data"] == {
        "jobs": 3,
        "actions": {"submit": 2, "keep": 1},
        "cost_usd": 1.4,
        "committed_usd": None,
        "cap_usd": 40.0,
        "output": "outputs",
        "emulated": False,
        "left_out": [],
        "covered_by_caps": None,
    }
    assert progress == {
        "schema_version": 1,
        "event": "progress",
        "time": "2026-11-23T06:00:01.000Z",
        "batch": "spring",
        "job": "clip-0",
        "message": "IN_QUEUE",
        "data": {"position": 3},
    }
    assert (beat["event"], beat["data"]["open"], beat["data"]["waiting"]) == ("heartbeat", 1, 1)
    assert (last["event"], last["schema_version"], last["exit_code"]) == ("report", 1, 5)
    assert last["counts"] == {"in_doubt": 1}
    assert last["jobs"] == [
        {
            "batch": "spring",
            "job": "clip-0",
            "ending": "in_doubt",
            "message": "",
            "mode": None,
            "tier": None,
            "prompt": "",
            "files": [],
            "cost_usd": 0.7,
            "seconds": None,
            "request_id": "r1",
            "place": "m.yaml:3:5",
        }
    ]


def test_json_survives_every_text() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    display = JsonDisplay(SafeStream(out), now=ticking())
    display.notify(run_event("failed", message=HOSTILE + "\udcff 雪", path=Path("x")))

    (written,) = raw.getvalue().decode("ascii").splitlines()
    assert json.loads(written)["message"] == HOSTILE + "\udcff 雪"


def test_json_leaves_standard_error_to_failures_and_the_summary() -> None:
    out, err = io.StringIO(), io.StringIO()
    display = choose(
        json=True,
        quiet=False,
        stream_is_terminal=True,
        environ={},
        out=SafeStream(out),
        err=SafeStream(err),
        now=ticking(),
    )
    begin(display)
    display.notify(run_event("submitted"))
    display.tick(0.0)
    display.finish(report(line("clip-0", JobOutcome.SUCCEEDED)))
    display.close()

    assert len(out.getvalue().splitlines()) == 3
    assert err.getvalue().startswith("\x1b[32mspring: 1 of 1 job done")


# -- the choice --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environ", "kind"),
    [
        ({"stream_is_terminal": True}, {"TERM": "xterm"}, LiveDisplay),
        ({"stream_is_terminal": True}, {"TERM": "dumb"}, PlainDisplay),
        ({"stream_is_terminal": True}, {"CI": "true"}, PlainDisplay),
        ({"stream_is_terminal": True}, {"CI": "false"}, LiveDisplay),
        ({"stream_is_terminal": True}, {"NO_COLOR": "1"}, LiveDisplay),
        ({"stream_is_terminal": False}, {"FORCE_COLOR": "1"}, PlainDisplay),
        ({"stream_is_terminal": False}, {}, PlainDisplay),
        ({"stream_is_terminal": True, "quiet": True}, {}, PlainDisplay),
        ({"stream_is_terminal": True, "json": True}, {}, Both),
        ({"stream_is_terminal": True, "json": True, "quiet": True}, {}, JsonDisplay),
    ],
)
def test_the_display_fits_the_terminal(
    arguments: dict[str, bool], environ: dict[str, str], kind: type
) -> None:
    display = choose(**{"json": False, "quiet": False, **arguments}, environ=environ)

    assert type(display) is kind


@pytest.mark.parametrize(
    ("environ", "terminal", "colored"),
    [
        ({}, True, False),
        ({"CI": "1", "FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colour_is_the_readers_choice(
    environ: dict[str, str], terminal: bool, colored: bool, err: io.StringIO
) -> None:
    display = choose(
        json=False,
        quiet=True,
        stream_is_terminal=terminal,
        environ={"CI": "1", **environ},
        err=SafeStream(err),
    )
    display.notify(run_event("failed"))

    assert ("\x1b[31m" in err.getvalue()) is colored


def test_rich_is_not_loaded_without_a_terminal() -> None:
    code = (
        "import sys; from kling_batch.report.display.choose import choose;"
        "choose(json=False, quiet=False, stream_is_terminal=False, environ={});"
        "sys.exit(any(name.split('.')[0] in ('rich', 'httpx') for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- the live table ----------------------------------------------------------------------------


class Terminal:
    """The far end of a pseudo-terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.far, near = pty.openpty()
        os.set_blocking(self.far, False)
        self.near = os.fdopen(near, "w", encoding=encoding)

    def read(self) -> str:
        text = b""
        try:
            while block := os.read(self.far, 65536):
                text += block
        except OSError:
            pass
        return text.decode("utf-8", "replace")

    def hang_up(self) -> None:
        if self.far >= 0:
            os.close(self.far)
            self.far = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.hang_up()
    terminal.near.close()


def live(terminal: Terminal, **environ: str) -> LiveDisplay:
    sizes = {"COLUMNS": "80", "LINES": "12", "TERM": "xterm"}
    return LiveDisplay(SafeStream(terminal.near), environ={**sizes, **environ}, color=False)


def test_the_table_shows_what_moves_and_the_totals(terminal: Terminal) -> None:
    display = live(terminal)
    begin(display)
    display.tick(100.0)
    terminal.read()
    display.notify(run_event("submitted"))
    display.notify(run_event("progress", message="IN_QUEUE", position=3))
    display.tick(103.0)

    shown = terminal.read()
    assert "clip-0" in shown
    assert "queued" in shown
    assert "position 3" in shown
    assert "1 of 3 done" in shown
    assert "1 queued, 1 waiting" in shown
    assert "$0.70 spent, $0.70 owed, cap $40.00" in shown
    assert "clip-1" not in shown
    display.close()


def test_the_table_never_outgrows_the_terminal(terminal: Terminal) -> None:
    display = live(terminal)
    begin(display, number=50)
    for number in range(50):
        display.notify(run_event("submitted", f"clip-{number}"))
    terminal.read()
    display.tick(1.0)

    frame = terminal.read()
    assert frame.count("\n") < 12
    assert "and 45 more" in frame
    display.close()


def test_a_clean_screen_is_left_behind(terminal: Terminal) -> None:
    display = live(terminal)
    begin(display)
    display.notify(run_event("submitted"))
    display.notify(run_event("failed", "clip-1", "refused"))
    display.tick(0.0)
    terminal.read()
    display.finish(report(line("clip-0", JobOutcome.SUCCEEDED)))
    display.close()

    ended = terminal.read()
    assert "\x1b[?25h" in ended, "the cursor is shown again"
    assert "clip-0  " not in ended
    assert ended.rstrip().endswith("$1.40 this run, $5.60 in all")


def test_what_needs_a_person_stays_above_the_table(terminal: Terminal) -> None:
    display = live(terminal)
    begin(display)
    display.tick(0.0)
    terminal.read()
    display.notify(run_event("held", message="in doubt: no trace"))
    display.notify(run_event("saved", "clip-1", "clip-1.mp4"))
    display.tick(0.25)

    shown = terminal.read()
    assert shown.count("clip-0: in doubt: no trace") == 1
    assert "clip-1.mp4" not in shown
    display.tick(0.5)
    assert "no trace" not in terminal.read(), "said once"
    display.close()


def test_job_text_cannot_steer_the_terminal(terminal: Terminal) -> None:
    display = live(terminal)
    begin(display)
    display.notify(run_event("retrying", message=HOSTILE))
    display.notify(run_event("failed", "clip-1", HOSTILE))
    display.tick(0.0)
    display.finish(report(line("clip-1", JobOutcome.FAILED, message=HOSTILE)))

    shown = terminal.read()
    assert "owned" not in shown
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert shown.count("[red]x[/red]") >= 3, "markup is text"


def test_a_vanished_terminal_is_no_reason_to_stop(terminal: Terminal) -> None:
    display = live(terminal)
    begin(display)
    terminal.hang_up()
    for second in range(5):
        display.notify(run_event("failed", message="refused"))
        display.tick(float(second))
    display.finish(report(line("clip-0", JobOutcome.SUCCEEDED)))
    display.close()


def test_a_hung_terminal_holds_up_nobody(terminal: Terminal) -> None:
    display = live(terminal)
    begin(display, number=20)
    for second in range(2000):
        display.notify(run_event("throttled", f"clip-{second % 20}", "429"))
        if second % 100 == 0:
            display.notify(run_event("failed", "clip-0", f"refused {second}"))
        display.tick(float(second))

    said = ""
    for second in range(2000, 4000):
        said += terminal.read()
        display.tick(float(second))
        if "refused 1900" in said:
            break
    assert [said.count(f"refused {n}\r") for n in range(0, 2000, 100)] == [1] * 20
    display.close()


def test_leaving_does_not_wait_for_a_hung_terminal(terminal: Terminal) -> None:
    display = live(terminal)
    begin(display)
    for second in range(2000):
        display.notify(run_event("failed", message="refused"))
        display.tick(float(second))

    display.close()
    display.close()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "shift_jis"])
def test_a_terminal_of_another_encoding_gets_what_it_can_show(encoding: str) -> None:
    terminal = Terminal(encoding)
    display = live(terminal)
    begin(display)
    display.notify(run_event("throttled", message="雪 → Ω ‹é› 🎬"))
    display.notify(run_event("failed", "clip-1", "雪 → Ω ‹é› 🎬"))
    display.tick(0.0)
    display.finish(report(line("é", JobOutcome.FAILED, message="雪 → Ω", files=("ä/雪.mp4",))))

    assert "clip-1: failed: " in terminal.read()
    terminal.hang_up()
    terminal.near.close()


# -- readers that go away ----------------------------------------------------------------------


def test_a_closed_pipe_makes_the_writer_silent() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        writer = SafeStream(stream)
        display = Both(
            JsonDisplay(writer, now=ticking()), PlainDisplay(SafeStream(stream), now=ticking())
        )
        begin(display)
        display.notify(run_event("saved"))
        display.tick(0.0)
        display.finish(report(line("clip-0", JobOutcome.SUCCEEDED)))
        display.close()

        assert writer.gone


def test_a_closed_pipe_does_not_change_the_exit_code() -> None:
    code = (
        "import sys; from kling_batch.report.display.stream import SafeStream\n"
        "out, err = SafeStream(sys.stdout), SafeStream(sys.stderr)\n"
        "sys.stdin.read()\n"
        "for n in range(9): out.line('x' * 9000); err.line('y')\n"
        "sys.exit(5)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for pipe in (process.stdout, process.stderr, process.stdin):
        assert pipe is not None
        pipe.close()

    assert process.wait(20) == 5


def test_a_program_without_streams_is_silent() -> None:
    writer = SafeStream(None)
    writer.line("nobody")

    assert writer.gone
    writer.drain()
    assert not writer.isatty()
    assert not writer.ready


@pytest.mark.parametrize("blocking", [True, False])
def test_a_slow_reader_holds_up_nobody_and_misses_nothing(blocking: bool) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    with os.fdopen(writing, "w") as stream:
        writer = SafeStream(stream)
        for number in range(20_000):
            writer.line(f"line {number}")
        assert not writer.ready
        assert not writer.gone
        got: list[bytes] = []
        read = os.fdopen(reading, "rb")
        reader = Thread(target=lambda: got.extend(read))
        reader.start()
        writer.drain()
    reader.join(10)
    read.close()

    assert got == [f"line {number}\n".encode() for number in range(20_000)]


def test_what_others_wrote_before_comes_first() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        stream.write("first, ")
        SafeStream(stream).line("second")
    with os.fdopen(reading) as read:
        assert read.read() == "first, second\n"


# -- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x9b2Jc1", "c1"),
        ("two\r\nlines\tand\x0btabs", "two lines and tabs"),
        ("\u202eevil\u2066x", "evilx"),
        ("half \udcff surrogate", "half \ufffd surrogate"),
        ("雪 👩\u200d👧 é", "雪 👩\u200d👧 é"),
        ("end\x1b", "end"),
        ("\x00\x07\x08", ""),
    ],
)
def test_foreign_text_is_one_harmless_line(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [
        (0.2, "0 s", "0:00"),
        (59.6, "1 min 00 s", "0:59"),
        (252, "4 min 12 s", "4:12"),
        (7505, "2 h 05 min", "2:05:05"),
    ],
)
def test_durations(seconds: float, long: str, short: str) -> None:
    assert (duration(seconds), clock(seconds)) == (long, short)


def test_a_log_line_is_never_a_command_of_the_ci() -> None:
    assert inert("  ::add-mask::a") == "  : :add-mask::a"
    assert inert("x ##[group]y") == "x ## [group]y"
    assert inert("06:00:00Z a::b") == "06:00:00Z a::b"
    assert painted(StyledLine("x", Tone.BAD), color=False) == "x"


def test_a_tone_is_one_escape_sequence_and_a_plain_line_none() -> None:
    lines = [StyledLine("x", tone) for tone in Tone]

    assert [painted(line, color=True) for line in lines] == [
        "x",
        "\x1b[1mx\x1b[0m",
        "\x1b[32mx\x1b[0m",
        "\x1b[31mx\x1b[0m",
        "\x1b[33mx\x1b[0m",
        "\x1b[2mx\x1b[0m",
    ]


# -- the summary -------------------------------------------------------------------------------


def test_the_summary_says_what_happened_what_it_costs_and_what_to_do() -> None:
    ended = report(
        line("still", JobOutcome.SUCCEEDED, files=("outputs/still.png", "outputs/still-2.png")),
        line("old", JobOutcome.UNCHANGED, files=("outputs/old.mp4",)),
        line("bad", JobOutcome.FAILED, message="refused by policy", place=Place("m.yaml", 14, 3)),
        line("child", JobOutcome.BLOCKED, message="a job whose output it needs did not succeed"),
        line("lost", JobOutcome.IN_DOUBT, message="no trace in fal's request list yet"),
        line("slow", JobOutcome.RUNNING),
        line("late", JobOutcome.UNDELIVERED, message="502 from the CDN"),
        line("never", JobOutcome.NOT_STARTED),
        exit_code=ExitCode.BUDGET,
        reasons=("never would pass the cap of $6.00",),
        exposed=MicroUSD(140 * CENT),
        cap=MicroUSD(600 * CENT),
        next_steps=(
            "kling-batch resolve lost --request-id ID   (found in the fal dashboard)",
            "kling-batch run m.yaml",
        ),
    )

    assert text(closing(ended)) == (
        "\n"
        "spring: 2 of 8 jobs done in 4 min 12 s\n"
        "Stopped: never would pass the cap of $6.00\n"
        "\n"
        "  jobs   1 done, 1 unchanged, 1 failed, 1 blocked, 1 in doubt, 1 queued,"
        " 1 downloading, 1 waiting\n"
        "  cost   $1.40 this run, $7.00 in all, $1.40 of it not certain yet, cap $6.00\n"
        "  files  3 files in outputs\n"
        "         outputs/still.png\n"
        "         outputs/still-2.png\n"
        "         outputs/old.mp4\n"
        "\n"
        "Failed:\n"
        "  bad  refused by policy  [m.yaml:14:3]\n"
        "\n"
        "Blocked by other jobs:\n"
        "  child  a job whose output it needs did not succeed\n"
        "\n"
        "Paid and rendered, not here yet (downloading costs nothing):\n"
        "  late  502 from the CDN\n"
        "\n"
        "In doubt (fal may have accepted and may bill these; nothing is sent twice):\n"
        "  lost  no trace in fal's request list yet\n"
        "\n"
        "Still with fal (billed when rendered):\n"
        "  slow ($0.70)\n"
        "\n"
        "Next:\n"
        "  kling-batch resolve lost --request-id ID  (found in the fal dashboard)\n"
        "  kling-batch run m.yaml\n"
        "\n"
        "exit code 4: stopped by budget, credits or account lock"
    )


def test_the_emulator_charges_nothing_and_says_what_fal_would() -> None:
    same = report(line("a", JobOutcome.SUCCEEDED), emulated=True, charged=MicroUSD(140 * CENT))
    more = report(line("a", JobOutcome.SUCCEEDED), emulated=True)

    assert "cost   would have cost $1.40 on fal; the emulator charges nothing" in text(
        closing(same)
    )
    assert "$1.40 on fal ($5.60 over all runs); the emulator" in text(closing(more))


def test_on_the_emulator_nobody_bills() -> None:
    said = text(
        closing(
            report(line("a", JobOutcome.RUNNING), line("b", JobOutcome.IN_DOUBT), emulated=True)
        )
    )

    assert "bill" not in said
    assert "Still with the emulator:\n  a ($0.70)" in said


def test_a_large_batch_names_the_folder_and_the_first_failures() -> None:
    done = [line(f"a{n}", JobOutcome.SUCCEEDED, files=(f"outputs/a{n}.mp4",)) for n in range(1300)]
    bad = [line(f"b{n}", JobOutcome.FAILED, message="refused") for n in range(50)]
    said = text(closing(report(*done, *bad, exit_code=ExitCode.SOME_FAILED)))

    assert "files  1,300 files in outputs\n" in said
    assert "a0.mp4" not in said
    assert "  b19  refused\n  and 30 more; see: kling-batch status" in said


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_summary_fits_the_terminal(width: int) -> None:
    long = "the prompt was refused by the content policy of the provider, " * 4
    said = closing(
        report(
            line("spin-sneaker", JobOutcome.FAILED, message=long),
            exit_code=ExitCode.SOME_FAILED,
            exposed=MicroUSD(1),
            cap=MicroUSD(1),
        ),
        width=width,
    )

    assert max(len(part.text) for part in said) <= width
    folded = [part.text for part in said if "provider" in part.text]
    assert all(part.startswith(("  spin-sneaker", " " * 16)) for part in folded)


@pytest.mark.parametrize("width", [20, 40, None])
def test_a_command_to_type_is_neither_folded_nor_changed(width: int | None) -> None:
    """Half of it, pasted, is another command; a blank less in a prompt is another prompt."""
    command = "kling-batch generate --prompt 'Bär  über   (Wald)' --only a --max-cost 0.42"
    step = f"{command}   (after raising the cap)"
    ended = report(reasons=("the cap",), exit_code=ExitCode.BUDGET, next_steps=(command, step))
    said = closing(ended, width=width)

    lines = [part.text for part in said if "kling-batch" in part.text]
    assert lines == [f"  {command}", f"  {command}  (after raising the cap)"]


def test_a_command_to_type_never_steers_the_terminal() -> None:
    said = closing(report(reasons=("stopped",), next_steps=("kling-batch run a\x1b[2Jb.yaml",)))

    assert "kling-batch run ab.yaml" in text(said)


def test_brief_is_one_line_only_where_all_is_well() -> None:
    assert len(brief(report(line("a", JobOutcome.SUCCEEDED)))) == 1
    assert len(brief(report(line("a", JobOutcome.FAILED), exit_code=ExitCode.SOME_FAILED))) > 5


def test_the_opening_names_money_and_place() -> None:
    items = tuple(PlannedJob(job(a), a, "") for a in Action)
    said = opening(RunStarted(plan=Plan(items), cap=None, output="out\x1b[2Jputs", emulated=False))

    assert said == (
        "12 jobs: 1 to render for up to $0.70, 1 to collect, 1 in doubt, 1 recovered,"
        " 3 to download, 1 unchanged, 2 failed before or blocked, 1 waiting for a verdict,"
        " 1 declined; files in outputs"
    )


@pytest.mark.parametrize(
    ("concurrency", "rate", "pace"),
    [
        (40, 40.0, "at most 40/s submitted and 40 open at once"),
        (1500, 0.5, "at most 30/min submitted and 1,500 open at once"),
        (None, 10.0, "at most 10/s submitted"),
    ],
)
def test_the_opening_names_the_pace(concurrency: int | None, rate: float, pace: str) -> None:
    items = (PlannedJob(job(Action.SUBMIT), Action.SUBMIT, ""),)
    said = opening(
        RunStarted(
            plan=Plan(items),
            cap=None,
            output="out",
            emulated=False,
            concurrency=concurrency,
            rate=rate,
        )
    )

    assert said == f"1 job: 1 to render for up to $0.70, {pace}; files in out"


# -- files -------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.xml"
    replace_file(target, "one")
    replace_file(target, "two \udcff")

    assert target.read_text() == "two ?"
    assert [p.name for p in target.parent.iterdir()] == ["report.xml"]


def test_a_device_is_written_to_and_stays_a_device() -> None:
    replace_file(Path("/dev/null"), "x")

    assert not Path("/dev/null").is_file()


def test_a_link_keeps_pointing(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.xml"
    link.symlink_to("real/report.xml")
    replace_file(link, "x")

    assert link.is_symlink()
    assert (tmp_path / "real" / "report.xml").read_text() == "x"
