"""The gallery in Chromium: grid, filters, viewer, compare, print, and nothing that axe minds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import Tab, browser, needs_chromium
from support.engine import Rig, make_job

from benchmarks.gallery import entries, write_page
from kling_batch.emulator import Fault, Settings
from kling_batch.emulator.media import Clip, make
from kling_batch.report.gallery import RelativeLinks, page_data, render_page, write_gallery
from kling_batch.report.gallery_data import items_of

pytestmark = [pytest.mark.acceptance, needs_chromium]

LEDGER = Path("/work of others/ledger.db")
HOSTILE = "</script><img src=x onerror=alert(2)>\"' {{ 7*7 }}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """226 renders: takes and tiers, images and videos, some without a file."""
    folder = tmp_path_factory.mktemp("season")
    clips = []
    for n, (width, height) in enumerate([(640, 360), (360, 640)]):
        clips.append(folder / f"clip-{n}.mp4")
        clips[-1].write_bytes(make(Clip(width=width, height=height, seconds=2.0, audio=n == 0)))
    return write_page(folder, 226, tuple(clips))


@pytest.fixture
def tab(chromium: Any, season: Path) -> Iterator[Tab]:
    opened = Tab(chromium)
    opened.open(season.as_uri())
    opened.page.wait_for_selector(".card img")
    yield opened
    opened.page.context.close()
    assert opened.complaints == []


def test_only_what_is_in_sight_exists_and_no_place_is_empty(tab: Tab) -> None:
    assert len(tab.cards) < 60
    boxes = [card.bounding_box() for card in tab.page.locator(".card").all()]
    columns = len({box["x"] for box in boxes if box})
    places = {(box["x"], box["y"]) for box in boxes if box}
    assert len(places) == len(boxes)
    assert len(boxes) % columns == 0

    tab.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    tab.wait("document.querySelector('.card:last-child').getAttribute('aria-posinset') === '226'")
    assert len(tab.cards) < 60


def test_two_thousand_renders_cost_no_more_than_those_in_sight(
    chromium: Any, tmp_path: Path
) -> None:
    shown = entries(tmp_path, 2000)
    target = tmp_path / "gallery.html"
    links = RelativeLinks(tmp_path)
    data = page_data(items_of(shown, links), ledger=LEDGER, title="Spring", total="charged $0.00")
    target.write_text(render_page(data), encoding="utf-8")
    tab = Tab(chromium)
    tab.open(target.as_uri())
    tab.wait("document.querySelectorAll('.card').length > 8")

    for _ in range(2):
        assert tab.page.evaluate("document.querySelectorAll('*').length") < 8000
        tab.page.evaluate("scrollTo(0, document.body.scrollHeight)")
        tab.wait("document.querySelector('.card:last-child').ariaPosInSet === '2000'")
    tab.press("/")
    tab.page.keyboard.type("spin-0333-pro")
    tab.wait("document.getElementById('count').value === '1 of 2,000'")
    assert tab.cards == ["spin-0333-pro"]
    assert tab.complaints == []


@pytest.mark.parametrize(
    ("words", "number"),
    [("schifffahrt 1", None), ("SPIN-0007", 3), ("spin-0007 sneaker", 0), ("spin-0007-pro", 1)],
)
def test_search_matches_prompts_and_ids_alone(tab: Tab, words: str, number: int | None) -> None:
    tab.press("/")
    tab.page.keyboard.type(words)

    expected = tab.page.evaluate(
        """(words) => JSON.parse(document.getElementById("data").textContent).items.filter((item) =>
          words.toLowerCase().split(" ").every((word) =>
            (item.label + " " + item.prompt).toLowerCase().includes(word))).length""",
        words,
    )
    assert number in (None, expected)
    tab.wait(f"document.getElementById('count').value === '{expected} of 226'")
    # Neither the endpoint nor the mode is searched.
    tab.page.fill("#search", "fal-ai")
    assert tab.page.input_value("#search") == "fal-ai"
    assert tab.page.inner_text("#empty") == "Nothing fits the filter."


def test_filters_live_in_the_address_and_survive_a_reload(tab: Tab) -> None:
    tab.page.get_by_label("failed").check(force=True)
    tab.page.get_by_label("in doubt").check(force=True)
    tab.page.select_option("select[name=tier]", "standard")
    tab.page.select_option("select[name=sort]", "name")
    shown = tab.cards

    assert shown == sorted(shown)
    assert 0 < len(shown) < 6
    tab.page.reload()
    tab.page.wait_for_selector(".card")
    assert tab.cards == shown
    assert "state=failed" in tab.page.url
    tab.page.click("#clear")
    assert len(tab.cards) > 8


def test_verdicts_and_costs_filter(tab: Tab) -> None:
    for value, word in (("picked", "is-picked"), ("rejected", "is-rejected")):
        tab.page.select_option("select[name=verdict]", value)
        kinds = tab.page.locator(".card").evaluate_all("(all) => all.map((card) => card.className)")
        assert kinds
        assert all(word in kind for kind in kinds)
    tab.page.select_option("select[name=verdict]", "")
    tab.page.select_option("select[name=cost]", "free")
    assert 0 < len(tab.cards) < 10


def test_everything_is_reached_by_keyboard(tab: Tab) -> None:
    tab.press("ArrowDown", "ArrowRight", "Enter")
    assert tab.viewed == "spin-0000#2"
    tab.press("ArrowRight", "ArrowRight")
    assert tab.viewed == "spin-0001"
    tab.press("ArrowLeft")
    assert tab.viewed == "spin-0000-pro"

    tab.press("Escape")
    assert not tab.page.evaluate("document.getElementById('viewer').open")
    tab.wait("document.activeElement.closest('.card') !== null")
    focused = tab.page.evaluate("document.activeElement.closest('.card').dataset.id")
    assert focused == tab.page.locator(".card").nth(2).get_attribute("data-id")


def test_the_viewer_plays_on_demand_and_space_pauses(tab: Tab) -> None:
    assert tab.page.locator("video").count() == 0
    tab.page.locator(".frame").first.click()
    tab.wait("document.querySelector('.stage video').currentTime > 0.1")
    assert tab.page.get_attribute(".stage video", "controls") is None

    tab.press(" ")
    tab.wait("document.querySelector('.stage video').paused")
    tab.press(" ")
    tab.wait("!document.querySelector('.stage video').paused")
    tab.press("m")
    tab.wait("!document.querySelector('.stage video').muted")
    tab.page.mouse.move(2, 2)  # over a card its preview would begin as soon as the viewer is gone
    tab.press("Escape")
    tab.page.wait_for_timeout(400)  # longer than a preview waits for a resting pointer
    tab.wait("!document.querySelector('video')")


def test_the_viewer_fills_the_screen_and_its_picture_stays_above_the_controls(tab: Tab) -> None:
    """Left by its key: a browser that leaves the full screen may take Escape for itself."""
    tab.page.locator(".frame").first.click()
    tab.wait("document.querySelector('.stage video').currentTime > 0.1")

    tab.press("f")
    tab.wait("document.fullscreenElement?.className === 'left'")
    tab.press("f")
    tab.wait("!document.fullscreenElement")

    picture = tab.page.locator(".stage video").bounding_box()
    bar = tab.page.locator(".controls").bounding_box()
    assert picture
    assert bar
    assert picture["y"] + picture["height"] <= bar["y"]


def test_takes_and_tiers_are_compared_together(tab: Tab) -> None:
    tab.page.locator(".siblings").first.click()
    assert tab.page.locator(".pane").count() == 3
    names = tab.page.locator(".pane figcaption button").all_inner_texts()
    assert names == ["spin-0000", "spin-0000#2", "spin-0000-pro"]

    tab.press("ArrowRight")
    assert tab.viewed == "spin-0001"
    tab.press("c")
    assert tab.page.locator(".pane").count() == 1


def test_videos_of_a_set_play_together(chromium: Any, tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8))
    rig.run([make_job("clip", prompt="a", take=take, duration="3") for take in (1, 2)])
    tab = Tab(chromium)
    tab.open(write_gallery(rig.ledger_path, tmp_path).as_uri())
    tab.page.locator(".siblings").first.click()

    tab.wait("""[...document.querySelectorAll(".stage video")].length === 2
        && [...document.querySelectorAll(".stage video")].every((v) => v.currentTime > 0.4)""")
    first, second = tab.page.evaluate(
        """() => [...document.querySelectorAll(".stage video")].map((v) => v.currentTime)"""
    )
    assert abs(first - second) < 0.3
    assert tab.complaints == []


def test_of_a_large_set_a_dozen_are_compared_at_once(chromium: Any, tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=40, media="template"))
    rig.run([make_job("clip", prompt="a", take=take) for take in range(1, 28)])
    tab = Tab(chromium)
    tab.open(write_gallery(rig.ledger_path, tmp_path).as_uri())
    tab.page.locator(".siblings").first.click()

    assert tab.page.locator(".pane").count() == 12
    heights = [box["height"] for p in tab.page.locator(".pane").all() if (box := p.bounding_box())]
    assert min(heights) > 150
    tab.press(*["ArrowDown"] * 12)
    assert tab.viewed == "clip#13"
    tab.press("ArrowRight")
    assert tab.viewed == "clip#25"
    assert tab.page.locator(".pane").count() == 3
    assert tab.complaints == []


def test_a_video_plays_while_the_pointer_rests_on_it(tab: Tab) -> None:
    tab.page.locator(".frame").first.hover()
    tab.page.wait_for_selector("video.preview.playing")
    tab.page.mouse.move(2, 2)
    tab.wait("!document.querySelector('video')")


def test_with_reduced_motion_nothing_plays_by_itself(chromium: Any, season: Path) -> None:
    tab = Tab(chromium, reduced_motion="reduce")
    tab.open(season.as_uri())
    tab.page.locator(".frame").first.click()
    tab.wait("document.querySelector('.stage video').readyState >= 2")

    assert tab.page.evaluate("document.querySelector('.stage video').paused")


def test_a_link_leads_to_its_render(tab: Tab, season: Path) -> None:
    tab.press("ArrowDown", "ArrowRight", "Enter")
    address = tab.page.url
    assert "#item=" in address
    tab.page.goto("about:blank")
    tab.open(address)
    assert tab.viewed == "spin-0000#2"


def test_prompt_and_id_are_copied(chromium: Any, season: Path) -> None:
    tab = Tab(chromium, permissions=["clipboard-read", "clipboard-write"])
    tab.open(season.as_uri())
    tab.press("ArrowDown", "Enter")
    tab.page.get_by_role("button", name="Prompt", exact=True).click()

    tab.wait("document.getElementById('toast').textContent === 'Prompt copied'")
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    assert copied == tab.page.inner_text(".panel section .whole")


def test_the_sheet_prints_everything_that_fits_the_filter(tab: Tab) -> None:
    tab.page.evaluate("() => { window.print = () => { window.printed = true; }; }")
    tab.press("Control+p")
    tab.wait("window.printed === true")

    images = "[...document.querySelectorAll('#sheet img')]"
    assert tab.page.evaluate(f"{images}.length") > 200
    assert tab.page.evaluate(f"{images}.filter((image) => !image.naturalWidth).length") == 0
    assert tab.page.locator("#sheet figure").count() == 226
    tab.page.emulate_media(media="print")
    assert tab.page.locator("#sheet figure").first.is_visible()
    assert not tab.page.locator("#filters").is_visible()
    assert not tab.page.locator("#grid").is_visible()
    tab.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.page.locator("#sheet figure").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(chromium: Any, season: Path, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab = Tab(
        chromium, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
    )
    tab.open(season.as_uri())
    tab.page.wait_for_selector(".card img")
    tab.page.click("#overview summary")
    found = list(serious(Axe().run(tab.page).response))
    tab.page.locator(".frame").first.click()
    found += serious(Axe().run(tab.page).response)
    tab.press("c")
    found += serious(Axe().run(tab.page).response)

    assert found == []


def serious(answer: Any) -> Iterator[str]:
    for violation in answer["violations"]:
        if violation["impact"] in ("serious", "critical"):
            yield f"{violation['id']}: {violation['nodes'][0]['html'][:200]}"


def test_nothing_is_wider_than_a_phone(chromium: Any, season: Path) -> None:
    tab = Tab(chromium, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    tab.open(season.as_uri())
    tab.page.wait_for_selector(".card")

    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    tab.page.locator(".frame").first.tap()
    assert tab.page.evaluate("document.getElementById('viewer').scrollWidth") <= 360


# -- what a run left behind ----------------------------------------------------------------------


def test_a_real_ledger_moved_elsewhere_with_hostile_prompts(chromium: Any, tmp_path: Path) -> None:
    rig = Rig(tmp_path / "there", Settings(concurrency=8, media="template"))
    (tmp_path / "there").mkdir(exist_ok=True)
    rig.world.faults.add(
        Fault(stage="job", what="fail", error="content_policy_violation", prompt="violent")
    )
    rig.run(
        [
            make_job("50% #1 雪", prompt=HOSTILE)._replace(path="test/50% #1 雪{output}{ext}"),
            make_job("bad", prompt="violent"),
        ]
    )
    write_gallery(rig.ledger_path, tmp_path / "there")
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "there", moved)
    tab = Tab(chromium)
    tab.page.on("dialog", lambda dialog: tab.complaints.append(dialog.message))
    tab.open((moved / "gallery.html").as_uri())
    tab.wait("document.querySelector('.card img')?.naturalWidth > 0")

    assert tab.page.locator(".card .prompt").first.inner_text().startswith("</script>")
    tab.page.locator(".frame").first.click()
    tab.wait("document.querySelector('.stage video').readyState >= 2")
    tab.press("ArrowRight")
    assert "kling-batch retry bad" in tab.page.inner_text("#viewer .panel")
    assert tab.complaints == []


def test_files_that_are_gone_or_damaged_are_reported(chromium: Any, tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    rig.run([make_job("gone"), make_job("broken", prompt="b"), make_job("noise", prompt="n")])
    (tmp_path / "test/gone.mp4").unlink()
    (tmp_path / "test/broken.mp4").write_bytes(b"no video")
    noise = tmp_path / "test/noise.mp4"
    noise.write_bytes(bytes(noise.stat().st_size))
    tab = Tab(chromium)
    tab.open(write_gallery(rig.ledger_path, tmp_path).as_uri())

    assert "gone.mp4 is no longer here" in tab.page.locator(".card").first.inner_text()
    assert (
        "broken.mp4 has changed since it was saved" in tab.page.locator(".card").nth(1).inner_text()
    )
    tab.page.locator(".frame").nth(1).click()
    assert "kling-batch verify --repair" in tab.page.inner_text(".stage")
    tab.press("ArrowRight")  # of the size of the saved one
    tab.page.wait_for_selector("text=cannot be played here")


def test_who_may_not_judge_is_reported_on_the_page(chromium: Any, tmp_path: Path) -> None:
    served = {"version": 1, "epoch": "e", "author": "", "can_write": False, "reason": "Only look"}
    links = RelativeLinks(tmp_path)
    items = items_of(entries(tmp_path, 3), links)
    target = tmp_path / "gallery.html"
    data = page_data(items, ledger=LEDGER, title="Spring", total="charged $0.00", served=served)
    target.write_text(render_page(data), encoding="utf-8")
    tab = Tab(chromium)
    tab.open(target.as_uri())

    assert tab.page.inner_text("#notice") == "Only look"
    assert tab.page.locator(".judge:not([disabled])").count() == 0
    tab.press("ArrowDown", "a")
    tab.wait("document.getElementById('toast').textContent === 'Only look'")


def test_an_empty_gallery_says_what_fills_it(chromium: Any, tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    with rig.ledger():
        pass
    tab = Tab(chromium)
    tab.open(write_gallery(rig.ledger_path, tmp_path).as_uri())

    assert "kling-batch run" in tab.page.inner_text("#empty")
    assert json.loads(tab.page.inner_text("#data") or "{}").get("items") in ([], None)
    assert tab.complaints == []
