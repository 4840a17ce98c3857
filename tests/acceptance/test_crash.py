"""SIGKILL of the real program at random moments; the emulator's books are the judge.

A kill falls after the program has reached the emulator, however slow the machine: killing an
interpreter that still starts proves nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random

import pytest
from support.process import environment, run, start

from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.server import running
from kling_batch.errors import LedgerError
from kling_batch.ledger.reader import Reader
from kling_batch.operations.connections import FILE_THREADS

MANIFEST = """\
version: 1
limits: {doubt_wait: 5s}
defaults: {mode: text-to-video, tier: standard}
jobs:
"""
CHAIN = """\
  - {id: still, mode: text-to-image, prompt: a still, takes: 2}
  - {id: moving, mode: image-to-video, image_url: {job: still, take: 2}, prompt: it moves}
  - {id: twice, prompt: the same words}
  - {id: again, prompt: the same words}
"""


@dataclass
class Night:
    """A folder, a manifest, an emulated account, and the command that renders it."""

    folder: Path
    world: World
    words: tuple[str, ...]
    #: How many requests, and how many files, a whole night is.
    paid: int
    files: int
    kills: int = 0

    def round(self, rng: Random) -> bool:
        """Start the program and kill it a moment after it has reached fal; whether it lived on."""
        before = self._activity()
        process = start(*self.words, cwd=self.folder)
        while self._activity() == before and process.poll() is None:
            time.sleep(0.01)
        try:
            process.wait(rng.uniform(0, 0.6) ** 2)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        _, told = process.communicate()
        killed = process.returncode == -signal.SIGKILL
        assert killed or process.returncode == 0, told
        self.kills += killed
        judge(self.folder, self.world)
        return not killed

    def traced(self, calls: str, *words: str, out: str = os.devnull) -> int:
        """Run the program under strace, which sees these system calls; its exit code."""
        strace = ["strace", "-f", "-qq", "-o", out, "-e", f"trace={calls}", *words]
        done = subprocess.run(
            [*strace, sys.executable, "-m", "kling_batch", *self.words],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
        judge(self.folder, self.world)
        return done.returncode

    def killed_at(self, call: str, n: int) -> bool:
        """Kill the program at the n-th of these system calls; False: it has made fewer."""
        return self.traced(call, "-e", f"inject={call}:signal=SIGKILL:when={n}") != 0

    def calls_made(self, calls: str) -> dict[str, tuple[int, int]]:
        """How many of each of these system calls a run makes that nobody disturbs.

        The fewest that its busiest thread can make, and all: strace counts each kind in each thread
        for itself, and which thread does what is chance.
        """
        log = self.folder / "calls"
        assert self.traced(calls, out=str(log)) == 0
        made = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE))
        loop = min((thread for thread, _ in made), key=int)
        found = {}
        for call in calls.split(","):
            every = sum(number for (_, name), number in made.items() if name == call)
            others = every - made[loop, call]
            found[call] = max(made[loop, call], -(-others // THREADS)), every
        return found

    def to_the_end(self, *codes: int) -> str:
        """Everything renders at once now; one more run."""
        self.world.settings.service_times = {}
        self.world.complete_now()
        done = run(*self.words, cwd=self.folder, timeout=300)
        assert done.returncode in (codes or (0,)), done.stderr
        judge(self.folder, self.world)
        return done.stderr

    def a_person_looks(self) -> int:
        """Say of each submission without a trace that it never reached fal; how many there were.

        The books know: a kill fell between the intent and the POST.
        """
        sql = "select job_id, take from job_status where state = 'in_doubt' group by job_key"
        with Reader.open(self.folder / "outputs/ledger.db") as ledger:
            names = [f"{row['job_id']}#{row['take']}" for row in ledger.db.query(sql)]
            known = ledger.request_ids()
        assert {request.request_id for request in self.world.books.accepted} <= known
        for name in names:
            done = run("resolve", name.removesuffix("#1"), "--not-submitted", cwd=self.folder)
            assert done.returncode == 0, done.stderr
        return len(names)

    def all_is_here(self) -> None:
        found = [*clips(self.folder), *clips(self.folder, ".png")]
        assert len(found) == self.files
        assert sum(self.world.books.charges().values()) == self.paid
        assert list((self.folder / "outputs").rglob("*.part")) == []

    def _activity(self) -> int:
        books = self.world.books
        reads = (books.status_gets, books.result_gets, books.downloads)
        return len(books.posts) + sum(sum(each.values()) for each in reads)


@contextmanager
def night(
    folder: Path, jobs: int, *faults: Fault, chain: bool = False, seed: int = 0, **settings: object
) -> Iterator[Night]:
    rows = "".join(f"  - {{id: job-{n}, prompt: 'clip number {n}'}}\n" for n in range(jobs))
    (folder / "night.yaml").write_text(MANIFEST + (CHAIN if chain else "") + rows)
    values = {"concurrency": 8, "media": "template", "profile": "instant", "seed": seed, **settings}
    world = World(Settings.from_mapping(values))
    world.faults.add(*faults)
    with running(world) as url:
        words = ("run", "night.yaml", "--emulator-url", url, "--rate", "40/s", "-j", "40")
        paid = jobs + 4 * chain
        yield Night(folder, world, words, paid, files=paid + chain)


def clips(folder: Path, suffix: str = ".mp4") -> list[Path]:
    found = (folder / "outputs").rglob(f"*{suffix}")
    return [path for path in found if not path.name.startswith(".")]


def judge(folder: Path, world: World) -> None:
    """What must hold at every instant, whatever was killed."""
    charged = Counter(r.payload_hash for r in world.books.accepted if r.committed_micro_usd)
    takes = Counter(r.payload_hash for r in world.books.accepted if r.prompt == "a still")
    assert all(count <= (2 if key in takes else 1) for key, count in charged.items())
    files = world.files
    whole = {sha256(files.data(file)).hexdigest() for file in list(files._files.values())}
    for path in [*clips(folder), *clips(folder, ".png")]:
        assert sha256(path.read_bytes()).hexdigest() in whole, f"{path} is not what fal made"
    ledger = folder / "outputs/ledger.db"
    if not ledger.exists():
        assert world.books.accepted == []
        return
    try:
        reader = Reader.open(ledger)
    except LedgerError:  # killed while it was being made
        assert world.books.accepted == []
        return
    with reader:
        known = reader.request_ids()
        sql = "select payload from attempts where request_id is null and state in (?, ?)"
        doubts = Counter(
            json.loads(row["payload"])["prompt"]
            for row in reader.db.query(sql, ["submitting", "in_doubt"])
        )
    lost = Counter(r.prompt for r in world.books.accepted if r.request_id not in known)
    assert lost <= doubts, f"accepted and forgotten: {lost - doubts}"


#: fal takes a moment to answer: time enough to be killed between a POST and its answer.
SLOW_ANSWERS = Fault(stage="submit.after", what="delay", seconds=0.15, probability=0.5)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kills", "jobs"), [(5, 12), pytest.param(25, 60, marks=pytest.mark.acceptance)]
)
def test_killed_again_and_again_every_file_is_there_and_nothing_paid_twice(
    tmp_path: Path, kills: int, jobs: int
) -> None:
    seed = 20
    print(f"seed {seed}")
    rng = Random(seed)
    # Renders last longer than the kills do on any machine, so that every kill finds work.
    slow = {"standard": 600.0}
    with night(tmp_path, jobs, SLOW_ANSWERS, service_times=slow) as place:
        for _ in range(kills):
            place.round(rng)
        assert place.kills == kills
        place.to_the_end(0, 5)
        if place.a_person_looks():
            place.to_the_end()
        place.all_is_here()


@pytest.mark.acceptance
def test_lost_answers_are_found_in_the_list(tmp_path: Path) -> None:
    """15 % of 100 POSTs lose their answer; the list is there."""
    lost = [
        Fault(stage="submit.after", what=what, probability=0.05)
        for what in ("reset", "garbage", "close")
    ]
    with night(tmp_path, 100, *lost, seed=3) as hundred:
        hundred.to_the_end()
        hundred.all_is_here()
        books = hundred.world.books
        assert sum(each["fired"] for each in hundred.world.faults.report()) >= 8
        assert len(books.posts) == len(books.accepted) == 100


@pytest.mark.acceptance
def test_lost_answers_and_no_list_are_reported_and_nothing_is_sent_again(tmp_path: Path) -> None:
    """The same, and the key may not read the list: exit 5, everything else is done."""
    lost = Fault(stage="submit.after", what="reset", every=7)
    with night(tmp_path, 100, lost, list_allowed=False) as hundred:
        for _ in range(2):
            told = hundred.to_the_end(5)
            assert "kling-batch resolve job-" in told
        assert len(clips(tmp_path)) == 100 - 14
        assert len(hundred.world.books.posts) == 100


@pytest.mark.acceptance
@pytest.mark.parametrize("often", [0.05, 0.2])
@pytest.mark.timeout(300)
def test_reads_that_fail_cost_no_render(tmp_path: Path, often: float) -> None:
    faults = [
        Fault(stage=stage, what=what, status=status, probability=often / 4)
        for stage in ("status", "result", "list", "download")
        for what, status in (("reset", None), ("garbage", None), ("html", None), ("status", 502))
    ]
    with night(tmp_path, 80, *faults) as eighty:
        eighty.to_the_end()
        eighty.all_is_here()
        assert len(eighty.world.books.posts) == 80


# -- longer: pytest -m long ----------------------------------------------------------------------

LOSSES = (
    SLOW_ANSWERS,
    Fault(stage="submit.after", what="reset", probability=0.05),
    Fault(stage="submit.before", what="status", status=429, probability=0.05),
    Fault(stage="status", what="status", status=502, probability=0.05),
    Fault(stage="download", what="truncated", probability=0.2),
    Fault(stage="result", what="garbage", probability=0.1),
)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(6))
def test_killed_a_hundred_times(tmp_path: Path, seed: int) -> None:
    """Six batches with chains, takes and twins, a hundred kills each, all else breaking as well."""
    print(f"seed {seed}")
    rng = Random(seed)
    slow = {"standard": 100.0, "pro": 20.0, "image": 3.0}
    with night(tmp_path, 160, *LOSSES, chain=True, seed=seed, service_times=slow) as many:
        while many.kills < 100:
            many.round(rng)
        many.world.faults.clear()
        many.to_the_end(0, 5)
        if many.a_person_looks():
            many.to_the_end()
        many.all_is_here()


#: Every system call by which the program changes a disk or talks to fal; a test for each group.
CALLS = (
    "sendto,recvfrom,connect",
    "rename,renameat2,link,linkat,unlink,unlinkat,mkdir,ftruncate,fsync",
    "fdatasync",
    "write",
    "pwrite64",
)
#: Threads beside the loop's that share such calls: for files, the ledger's log and checkpoints.
THREADS = FILE_THREADS + 2
#: Runs in a row that live on, because no thread has come to the n-th call.
SPARED = 3


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("calls", CALLS)
def test_killed_at_every_system_call_of_three_jobs(tmp_path: Path, calls: str) -> None:
    """In a new folder with a new account each time: killed at the n-th call, then run again."""
    with night(new(tmp_path / "undisturbed"), 3) as place:
        made = place.calls_made(calls)
    assert any(every for _, every in made.values())
    for call, (fewest, every) in made.items():
        kills = killed_at_each(tmp_path / call, call)
        # Not to the call: how often a status is read depends on the time that a run takes.
        assert 0.7 * fewest <= kills <= 1.3 * every + 5, call


def killed_at_each(parent: Path, call: str) -> int:
    """How many runs were killed, each at the next of these calls, and then brought to an end."""
    parent.mkdir()
    kills = spared = 0
    for n in count(1):
        folder = new(parent / str(n))
        with night(folder, 3) as place:
            if not place.killed_at(call, n):
                spared += 1
                if spared == SPARED:
                    return kills  # no thread makes as many
                continue
            kills, spared = kills + 1, 0
            place.to_the_end(0, 5)
            if place.a_person_looks():
                place.to_the_end()
            place.all_is_here()
        shutil.rmtree(folder)
    raise AssertionError


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder
