"""The review in Chromium: two hundred renders judged by key, by two people, beside a run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import Tab, browser, needs_chromium, reviewing
from support.cli import Workspace
from support.engine import Rig, make_job
from support.process import run

from kling_batch.core.jobs import Job
from kling_batch.emulator import Settings
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import latest_verdicts, verdict_history

pytestmark = [pytest.mark.acceptance, needs_chromium]

#: 75 jobs of three takes, and one more: 226 renders.
JOBS = [
    make_job(f"clip-{n:02}", prompt=f"the prompt {n}", take=take)
    for n in range(75)
    for take in (1, 2, 3)
] + [make_job("last", prompt="the last one")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    made = Rig(tmp_path_factory.mktemp("rendered"), Settings(concurrency=300, media="template"))
    made.run(JOBS)
    return made


@pytest.fixture
def rig(rendered: Rig, tmp_path: Path) -> Rig:
    """The rendered batch, copied: rendering it takes seconds."""
    shutil.copytree(rendered.folder, tmp_path, dirs_exist_ok=True)
    # Another seed: the copy's emulator must not give ids that the ledger has already.
    copied = Rig(tmp_path, Settings(seed=1, concurrency=300, media="template"))
    copied.epoch = rendered.now()
    return copied


def verdicts(rig: Rig) -> dict[str, str]:
    names = {job.key: job.label for job in JOBS}
    with Reader.open(rig.ledger_path) as reader:
        rows = latest_verdicts(reader).values()
        return {names[row.job_key]: row.verdict.value for row in rows if row.verdict != "none"}


def progress(tab: Tab) -> str:
    return str(tab.page.inner_text("#judging b"))


def until(tab: Tab, judged: str) -> None:
    tab.wait(f"document.querySelector('#judging b').textContent === '{judged}'")


def ledger_words(rig: Rig) -> tuple[str, str]:
    return ("--ledger", str(rig.ledger_path))


def test_a_director_goes_through_the_takes_by_key(chromium: Any, rig: Rig) -> None:
    with reviewing(rig.folder, *ledger_words(rig), "--author", "Ada") as address:
        tab = Tab(chromium)
        tab.open(address)
        tab.page.wait_for_selector(".card img")
        assert progress(tab) == "0 of 226 judged"

        tab.press("ArrowDown", "Enter")
        tab.press("a", "r", "p")  # each brings the next one
        until(tab, "3 of 226 judged")
        assert tab.viewed == "clip-01"
        tab.press("n")
        tab.page.keyboard.type("slower, a r p u")
        tab.press("Enter")
        tab.press("r")
        until(tab, "4 of 226 judged")
        tab.press("Escape")
        tab.wait("!document.getElementById('viewer').open")
        tab.press("a")  # on the card that has the focus now
        until(tab, "5 of 226 judged")

        assert verdicts(rig) == {
            "clip-00": "approved",
            "clip-00#2": "rejected",
            "clip-00#3": "picked",
            "clip-01": "rejected",
            "clip-01#2": "approved",
        }
        with Reader.open(rig.ledger_path) as reader:
            rows = verdict_history(reader, JOBS[3].key)
        assert [(row.verdict, row.note, row.author) for row in rows] == [
            ("none", "slower, a r p u", "Ada"),
            ("rejected", "slower, a r p u", "Ada"),
        ]

        tab.press("u")
        until(tab, "4 of 226 judged")
        tab.press("u")
        until(tab, "3 of 226 judged")
        assert verdicts(rig).keys() == {"clip-00", "clip-00#2", "clip-00#3"}

        tab.page.reload()
        tab.page.wait_for_selector(".card")
        assert progress(tab) == "3 of 226 judged"
        assert tab.page.locator(".card.is-picked").count() == 1
        assert tab.complaints == []


def test_a_pick_moves_and_its_undo_moves_it_back(chromium: Any, rig: Rig) -> None:
    with reviewing(rig.folder, *ledger_words(rig)) as address:
        tab = Tab(chromium)
        tab.open(address)
        tab.press("ArrowDown", "p")
        # The other takes of the job need not be judged any more, and are passed over.
        until(tab, "3 of 226 judged")
        focused = "document.activeElement.closest('.card').ariaPosInSet"
        assert tab.page.evaluate(focused) == "4"
        tab.press("ArrowLeft", "ArrowLeft", "p")
        tab.wait("document.querySelectorAll('.card.is-picked').length === 1")
        tab.wait("document.querySelectorAll('.card')[1].classList.contains('is-picked')")
        assert verdicts(rig) == {"clip-00#2": "picked"}

        tab.press("u")
        tab.wait("document.querySelectorAll('.card')[0].classList.contains('is-picked')")
        assert verdicts(rig) == {"clip-00": "picked"}


def test_two_people_see_each_other(chromium: Any, rig: Rig) -> None:
    with reviewing(rig.folder, *ledger_words(rig)) as address:
        ada, bea = Tab(chromium), Tab(chromium)
        for tab, name in ((ada, "Ada"), (bea, "Bea")):
            tab.open(address)
            tab.page.get_by_label("Your name").fill(name)
            tab.page.get_by_label("Your name").blur()
        ada.press("ArrowDown", "r")
        until(ada, "1 of 226 judged")
        start = time.monotonic()
        until(bea, "1 of 226 judged")
        assert time.monotonic() - start < 4

        bea.wait("document.getElementById('toast').textContent === 'Ada: clip-00 rejected'")
        bea.page.locator(".frame").first.click()
        assert "rejected by Ada" in bea.page.inner_text("#viewer .verdict")
        bea.press("a")
        until(bea, "1 of 226 judged")
        ada.wait("document.querySelectorAll('.card.is-approved').length === 1")
        ada.press("u")
        ada.wait(
            "document.getElementById('toast').textContent.startsWith('Bea has judged clip-00')"
        )
        assert verdicts(rig) == {"clip-00": "approved"}


def test_a_page_follows_a_run_and_keeps_its_verdicts(chromium: Any, rig: Rig) -> None:
    with reviewing(rig.folder, *ledger_words(rig)) as address:
        tab = Tab(chromium)
        tab.open(address)
        tab.press("ArrowDown", "a", "r")
        until(tab, "2 of 226 judged")

        changed: list[Job] = [make_job("clip-00", prompt="another prompt"), *JOBS[1:]]
        rig.run([*changed, make_job("fresh", prompt="quite new")])

        # The first take is another render now; its verdict stays with the one it was about.
        until(tab, "1 of 227 judged")
        tab.page.fill("#search", "quite new")
        tab.wait("document.querySelectorAll('.card').length === 1")
        tab.wait("document.querySelector('.card img').naturalWidth > 0")
        assert verdicts(rig) == {"clip-00": "approved", "clip-00#2": "rejected"}
        assert tab.complaints == []


def test_what_is_compared_can_be_judged_in_place(chromium: Any, rig: Rig) -> None:
    with reviewing(rig.folder, *ledger_words(rig)) as address:
        tab = Tab(chromium)
        tab.open(address)
        tab.page.locator(".siblings").first.click()
        tab.page.locator(".pane").nth(1).get_by_role("button", name="Pick").click()
        until(tab, "3 of 226 judged")
        assert tab.viewed == "clip-00#2"
        tab.page.locator(".pane").nth(0).get_by_role("button", name="Reject").click()
        tab.wait("document.querySelector('.pane.is-rejected') !== null")

        assert progress(tab) == "3 of 226 judged"
        assert tab.page.locator(".pane").count() == 3
        assert verdicts(rig) == {"clip-00": "rejected", "clip-00#2": "picked"}
        # The same button takes it back.
        tab.page.locator(".pane").nth(1).get_by_role("button", name="Pick").click()
        until(tab, "1 of 226 judged")
        assert tab.complaints == []


def test_keys_judge_the_current_one_of_the_compared(chromium: Any, rig: Rig) -> None:
    with reviewing(rig.folder, *ledger_words(rig)) as address:
        tab = Tab(chromium)
        tab.open(address)
        tab.page.locator(".siblings").first.click()
        current = ".pane.current .link"
        assert tab.page.locator(current).all_inner_texts() == ["clip-00"]

        tab.press("ArrowDown", "r")  # the second one; then the next of the set, and of the next set
        until(tab, "1 of 226 judged")
        assert tab.page.locator(current).all_inner_texts() == [tab.viewed]
        assert tab.page.locator(".pane").count() == 3
        tab.press("r", "r")
        until(tab, "3 of 226 judged")
        assert set(verdicts(rig)) == {"clip-00", "clip-00#2", "clip-00#3"}
        assert tab.page.locator(current).all_inner_texts() == ["clip-01"]
        tab.page.locator(".pane").nth(2).locator("video").click()
        assert tab.viewed == "clip-01#3"
        assert tab.complaints == []


def render(workspace: Workspace) -> str:
    """A run in a process of its own: Playwright has the event loop of this one."""
    done = run("run", workspace.file, "--emulator-url", workspace.url, cwd=workspace.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_of_twenty_drafts_eight_approved_ones_become_finals(
    chromium: Any, workspace: Workspace
) -> None:
    workspace.put(
        "version: 1\nreview: {draft: {tier: standard}, final: {tier: pro}}\n"
        "defaults: {mode: text-to-video, duration: 3}\njobs:\n"
        + "".join(f"  - {{id: shot-{n:02}, prompt: shot number {n}}}\n" for n in range(20))
    )
    render(workspace)
    assert workspace.charges() == [1] * 20

    with reviewing(workspace.folder) as address:
        tab = Tab(chromium)
        tab.open(address)
        tab.page.locator(".frame").first.focus()
        for key in "aaaarrrrraaaar":
            tab.press(key)
        until(tab, "14 of 20 judged")
        tab.page.reload()
        tab.page.wait_for_selector(".card")
        assert progress(tab) == "14 of 20 judged"

        # The server stays while the finals are rendered, and the page follows.
        render(workspace)
        until(tab, "14 of 28 judged")
        assert tab.complaints == []

    assert workspace.charges() == [1] * 28
    endpoints = [request.endpoint for request in workspace.world.books.accepted]
    assert sum("/pro/" in endpoint for endpoint in endpoints) == 8
    assert "nothing to do" in render(workspace)


def test_a_server_that_has_ended_is_reported(chromium: Any, rig: Rig) -> None:
    tab = Tab(chromium)
    with reviewing(rig.folder, *ledger_words(rig)) as address:
        tab.open(address)
        tab.press("ArrowDown", "a")
        until(tab, "1 of 226 judged")
    tab.press("a")
    tab.wait("!document.getElementById('notice').hidden")

    assert "kling-batch review" in tab.page.inner_text("#notice")
    assert verdicts(rig) == {"clip-00": "approved"}


def test_axe_finds_nothing_serious(chromium: Any, rig: Rig) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with reviewing(rig.folder, *ledger_words(rig)) as address:
        tab = Tab(chromium, bypass_csp=True)
        tab.open(address)
        tab.press("ArrowDown", "p")
        until(tab, "3 of 226 judged")
        answers = [Axe().run(tab.page).response]
        tab.press("Enter")
        answers.append(Axe().run(tab.page).response)
        tab.press("c")
        answers.append(Axe().run(tab.page).response)

    found = [v for answer in answers for v in answer["violations"]]
    bad = [v["id"] for v in found if v["impact"] in ("serious", "critical")]
    assert bad == []
