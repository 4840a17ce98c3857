"""Order of syncs, from the system calls of the installed program: what a power cut cannot take.

`tests/engine/test_power_cut.py` cuts the power at any moment, but believes that SQLite syncs where
it is told to. Here the calls themselves are read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from support.process import environment

from kling_batch.emulator import Settings, World
from kling_batch.emulator.server import running

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

JOBS = 6
CALLS = "fsync,fdatasync,pwrite64,rename,renameat,renameat2,sendto,sendmsg,write,writev"
STRACE = ["strace", "-f", "-qq", "-y", "-s", "8192", "-o", "trace", "-e", f"trace={CALLS}"]


@dataclass
class Call:
    """A system call: where it begins and ends in the order of all."""

    thread: str
    name: str
    text: str
    begun: int
    ended: int


def calls_of(trace: Path) -> list[Call]:
    found: list[Call] = []
    open_calls: dict[str, Call] = {}
    for n, line in enumerate(trace.read_text("utf-8", errors="replace").splitlines()):
        pid, _, text = line.partition(" ")
        text = text.lstrip()
        if resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            call = open_calls.pop(pid)
            call.text += text[resumed.end() :]
            call.ended = n
        elif begun := re.match(r"(\w+)\(", text):
            call = Call(pid, begun[1], text, n, n)
            found.append(call)
            if text.endswith("<unfinished ...>"):
                open_calls[pid] = call
    return found


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    folder = tmp_path_factory.mktemp("traced")
    rows = "".join(f"  - {{id: job-{n}, prompt: 'clip number {n}'}}\n" for n in range(JOBS))
    head = "version: 1\ndefaults: {mode: text-to-video, tier: standard}\njobs:\n"
    (folder / "night.yaml").write_text(head + rows)
    values = {"concurrency": 8, "media": "template", "service_times": {"standard": 0.5}}
    with running(World(Settings.from_mapping(values))) as url:
        program = [sys.executable, "-m", "kling_batch", "run", "night.yaml"]
        subprocess.run(
            [*STRACE, *program, "--emulator-url", url, "--rate", "20/s"],
            cwd=folder,
            env=environment(),
            check=True,
            capture_output=True,
            timeout=120,
        )
    return calls_of(folder / "trace")


def log_writes(calls: list[Call], text: str = "") -> list[Call]:
    return [
        call
        for call in calls
        if call.name == "pwrite64" and "ledger.db-wal>" in call.text and text in call.text
    ]


def log_syncs(calls: list[Call]) -> list[Call]:
    syncs = ("fsync", "fdatasync")
    return [call for call in calls if call.name in syncs and "ledger.db-wal>" in call.text]


def sent(calls: list[Call], words: str) -> list[Call]:
    """What leaves by a socket."""
    return [c for c in calls if re.match(r"\w+\(\d+<socket:", c.text) and words in c.text]


def socket_of(call: Call) -> str:
    return call.text.partition(">")[0].partition("(")[2]


def intents(calls: list[Call], prompt: str) -> list[Call]:
    """Writes of the row whose POST is about to leave."""
    row = re.compile(r"submittingpaid[\w/.-]*\{[^}]*" + prompt)
    return [write for write in log_writes(calls) if row.search(write.text)]


def synced_between(calls: list[Call], first: Call, last: Call) -> bool:
    return any(first.ended < c.begun and c.ended < last.begun for c in log_syncs(calls))


def test_every_intent_is_synced_before_its_post_leaves(calls: list[Call]) -> None:
    posts = sent(calls, "POST /queue.fal.run/")

    assert len(posts) == JOBS
    for n in range(JOBS):
        (body,) = sent(calls, f"clip number {n}")
        (*_, post) = [
            post
            for post in posts
            if socket_of(post) == socket_of(body) and post.begun <= body.begun
        ]
        assert synced_between(calls, intents(calls, f"clip number {n}")[0], post)


def test_every_request_id_is_synced_before_the_request_is_followed(calls: list[Call]) -> None:
    reads = sent(calls, "GET /queue.fal.run/")
    first = {}
    for read in reads:
        (request_id,) = re.findall(r"/requests/([\w-]+)", read.text)
        first.setdefault(request_id, read)

    assert len(first) == JOBS
    for request_id, read in first.items():
        answer = log_writes(calls, request_id)[0]
        assert synced_between(calls, answer, read), request_id


def test_every_result_is_synced_before_its_file_is_fetched(calls: list[Call]) -> None:
    fetches = sent(calls, ".fal.media/")

    assert len(fetches) >= JOBS
    for fetch in fetches:
        (path,) = re.findall(r"\.fal\.media(/\S+) HTTP", fetch.text)
        result = log_writes(calls, path)[0]
        assert synced_between(calls, result, fetch), path


def test_files_and_folder_are_synced_before_the_ledger_says_so(calls: list[Call]) -> None:
    renames = [c for c in calls if c.name.startswith("rename") and '.mp4"' in c.text]

    assert len(renames) == JOBS
    for rename in renames:
        part, final = re.findall(r'"([^"]+)"', rename.text)
        syncs = [c for c in calls if c.name == "fsync"]
        assert any(part in c.text and c.ended < rename.begun for c in syncs), final
        folder = f"{Path(final).parent}>"
        durable = next(c for c in syncs if folder in c.text and c.begun > rename.ended)
        saved = [w for w in log_writes(calls, "artifacts_saved") if Path(final).name in w.text]
        assert saved, final
        assert all(w.begun > durable.ended for w in saved), final


def test_a_job_holds_the_loop_for_one_sync(calls: list[Call]) -> None:
    """That of its intent. All others are made in threads, or left out."""
    first, *_ = intents(calls, "clip number ")
    mine = [c for c in calls if c.thread == first.thread and c.begun > first.begun]
    files = [call.text for call in mine if call.name == "fsync"]
    of_log = [call for call in mine if call in log_syncs(calls) or call in log_writes(calls)]
    # The log begins anew after a checkpoint, a few times a second, with a synced head.
    heads = [before for before, after in pairwise(of_log) if _is_head(before) and _syncs(after)]

    assert files == []
    # Three more at the end, as the ledger is closed.
    assert JOBS <= sum(map(_syncs, of_log)) - len(heads) <= JOBS + 3


def _syncs(call: Call) -> bool:
    return "sync" in call.name


def _is_head(call: Call) -> bool:
    return call.text.endswith(", 32, 0) = 32")
