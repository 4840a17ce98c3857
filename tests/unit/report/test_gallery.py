"""The gallery: what a ledger holds, as one page that nothing foreign can break out of."""

from __future__ import annotations

import re
import shutil
import subprocess
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from support.engine import T2I, Rig, make_job

from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.quantities import MicroUSD
from kling_batch.emulator import Fault, Settings
from kling_batch.errors import LedgerError
from kling_batch.ledger.reader import Reader
from kling_batch.report.gallery import (
    Entry,
    Media,
    entries_from,
    readable_size,
    relative_url,
    render_gallery,
    write_gallery,
)

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' {{ 7*7 }} \x00\u202e"
NOW = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)


def entry(job: str = "clip", state: str = "done", **more: Any) -> Entry:
    fields = {
        "batch": "spring",
        "job": job,
        "state": JobStatus(state),
        "charged": MicroUSD(420_000),
        "exposed": MicroUSD(0),
        "estimate": MicroUSD(420_000),
    }
    return Entry(**{**fields, **more})


def picture(url: str = "a.png", kind: str = "image", **more: Any) -> Media:
    return Media(url=url, name=unquote(url), kind=kind, size=1234, **more)


class Page(HTMLParser):
    """The page as a browser's parser takes it apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(*entries: Entry, **more: Any) -> Page:
    return Page(render_gallery(entries, **{"title": "spring", **more}))


# -- rendering ---------------------------------------------------------------------------------


def test_a_card_tells_the_story_of_a_render() -> None:
    shown = page(
        entry(
            mode="text-to-video",
            tier="pro",
            endpoint="fal-ai/x",
            prompt="A samurai\non a cliff",
            media=(picture("clips/a.mp4", "video"),),
            request_id="r-1",
            at="2026-05-01 12:00",
        )
    )

    assert (
        "clip done · text-to-video · pro · $0.42 A samurai on a cliff details"
        " job clip endpoint fal-ai/x rendered 2026-05-01 12:00 UTC request r-1"
        " file clips/a.mp4 , 1 kB" in shown.text
    )
    (video,) = shown.all("video")
    assert video == {
        "src": "clips/a.mp4",
        "controls": None,
        "playsinline": None,
        "loop": None,
        "preload": "metadata",
        "aria-label": "clips/a.mp4",
    }


def test_images_are_lazy_and_lead_to_the_file() -> None:
    shown = page(entry(media=(picture("a.png"), picture("a-2.png"))))

    assert [i["src"] for i in shown.all("img")] == ["a.png", "a-2.png"]
    assert {i["loading"] for i in shown.all("img")} == {"lazy"}
    assert {"a.png", "a-2.png"} <= {a["href"] for a in shown.all("a")}


def test_a_large_gallery_does_not_open_every_video() -> None:
    many = [entry(f"c{n}", media=(picture(f"{n}.mp4", "video"),)) for n in range(101)]

    assert {v["preload"] for v in page(*many).all("video")} == {"none"}


def test_hostile_text_stays_text_everywhere() -> None:
    html = render_gallery(
        [
            entry(
                HOSTILE,
                state,
                batch=HOSTILE,
                mode=HOSTILE,
                tier=HOSTILE,
                endpoint=HOSTILE,
                prompt=HOSTILE,
                message=HOSTILE,
                request_id=HOSTILE,
                at=HOSTILE,
                take=take,
                media=(Media(url=HOSTILE, name=HOSTILE, kind=kind),) if kind else (),
            )
            for take, (state, kind) in enumerate(
                [
                    ("done", "image"),
                    ("done", "video"),
                    ("done", "audio"),
                    ("done", "file"),
                    ("failed", ""),
                    ("in doubt", ""),
                ]
            )
        ],
        title=HOSTILE,
        written=HOSTILE,
    )
    shown = Page(html)

    assert len(shown.all("script")) == 1
    (script,) = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    assert "alert" not in script
    assert not [tag for tag, attributes in shown.tags if "onerror" in attributes]
    assert [i["src"] for i in shown.all("img")] == [HOSTILE]
    assert "{{ 7*7 }}" in shown.text


def test_nothing_is_loaded_from_elsewhere() -> None:
    html = render_gallery([entry(media=(picture(),), prompt="see https://x.test/a.png")], title="t")
    shown = Page(html)

    links = [a[k] or "" for _, a in shown.tags for k in ("src", "href", "action") if a.get(k)]
    assert [link for link in links if urlsplit(link).scheme not in ("", "data")] == []
    assert "url(" not in html
    assert "@import" not in html


def test_only_this_style_and_this_script_may_run() -> None:
    html = render_gallery([entry()], title="t")
    (policy,) = [
        meta["content"] or ""
        for meta in Page(html).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]

    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not [a for _, a in Page(html).tags if "style" in a]


def test_takes_stand_together_and_what_they_replaced_is_folded() -> None:
    html = render_gallery(
        [
            entry("still", take=1),
            entry("still", take=2),
            entry("still", take=1, superseded=True, prompt="the old prompt"),
            entry("gone", superseded=True),
        ],
        title="t",
    )
    shown = Page(html)

    sections = [section["aria-label"] for section in shown.all("section")]
    assert sections == ["still", "gone"]
    assert "still 2 takes" in shown.text
    assert "gone no longer in the manifest" in shown.text
    folded = html[html.index('<details class="older">') :]
    assert "1 earlier render" in folded
    assert "the old prompt" in folded
    assert "2 jobs, $1.68 in all" in shown.text


def test_jobs_without_files_say_why_and_what_to_do() -> None:
    shown = page(
        entry("bad", "failed", message="refused by policy", charged=MicroUSD(0)),
        entry("lost", "in doubt", take=2, message="no trace", exposed=MicroUSD(420_000)),
        entry("later", "waiting", charged=MicroUSD(0)),
        entry("slow", "queued", message="queued at fal", charged=MicroUSD(0)),
        entry("away", media=(picture(missing=True),)),
    )

    assert "refused by policy bad failed · $0.00" in shown.text
    assert "no trace fal may have accepted it and may bill it. To settle it:" in shown.text
    assert "kling-batch resolve 'lost#2'" in shown.text
    assert "waiting later waiting · about $0.42" in shown.text
    assert "queued at fal slow queued" in shown.text
    assert "a.png is no longer here; the next run fetches it again, at no cost" in shown.text
    assert shown.all("img") == []


def test_states_can_be_picked_and_everything_reached_by_keyboard() -> None:
    shown = page(entry("a"), entry("b"), entry("c", "failed"))

    boxes = [i["value"] for i in shown.all("input") if i.get("type") == "checkbox"]
    assert boxes == ["done", "failed"]
    assert "done 2" in shown.text
    assert all("tabindex" not in a for _, a in shown.tags)
    assert shown.all("html") == [{"lang": "en"}]


def test_the_emulator_is_named_and_an_empty_ledger_too() -> None:
    assert "would have cost $0.42 on fal; the emulator charges nothing" in (
        page(entry(), emulated=True).text
    )
    assert "Nothing here yet." in page().text


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("out/a b.png", "a%20b.png"),
        ("out/50% #1?.png", "50%25%20%231%3F.png"),
        ("out/a:b&c'd\".png", "a%3Ab%26c%27d%22.png"),
        ("out/雪/é.mp4", "%E9%9B%AA/%C3%A9.mp4"),
        ("out/javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("elsewhere/a.png", "../elsewhere/a.png"),
        ("out/\udcff.png", "%FF.png"),
    ],
)
def test_urls_are_relative_and_encoded(name: str, url: str, tmp_path: Path) -> None:
    assert relative_url(tmp_path / name, tmp_path / "out") == url


@pytest.mark.parametrize(
    ("size", "words"), [(0, "1 kB"), (812_400, "812 kB"), (3_449_000, "3.4 MB")]
)
def test_sizes(size: int, words: str) -> None:
    assert readable_size(size) == words


# -- from a ledger that a run wrote ------------------------------------------------------------


def still(name: str, prompt: str, take: int = 1, images: int = 1) -> Job:
    job = make_job(
        name,
        take=take,
        endpoint=T2I,
        prompt=prompt,
        aspect_ratio="1:1",
        num_images=images,
        duration=None,
        generate_audio=None,
        shot_type=None,
        estimate=28_000 * images,
    )
    return job._replace(mode="text-to-image", tier="pro")


def season(folder: Path) -> Rig:
    """Two runs: a prompt changes, one job fails, one is in doubt, one has not begun."""
    rig = Rig(folder, Settings(concurrency=8, media="template"))
    odd = make_job("odd", prompt="雪")._replace(path="test/50% #1 雪{output}{ext}")
    jobs = [
        still("still", "a sneaker", images=2),
        still("still", "a sneaker", take=2, images=2),
        make_job("clip", prompt="zooms in"),
        odd,
        make_job("hostile", prompt=HOSTILE),
    ]
    rig.run(jobs)
    rig.world.faults.add(
        Fault(stage="job", what="fail", error="content_policy_violation", prompt="violent"),
        Fault(stage="submit.after", what="reset", prompt="at sea"),
        Fault(stage="list", what="status", status=403),
    )
    jobs[2] = make_job("clip", prompt="orbits")
    jobs += [make_job("bad", prompt="violent"), make_job("lost", prompt="lost at sea")]
    rig.run(jobs, doubt_wait=5.0)
    jobs.append(make_job("later"))
    with rig.ledger() as ledger:
        ledger.register(Batch(name="test", source="t.yaml", jobs=tuple(jobs)))
    return rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return season(tmp_path_factory.mktemp("season"))


def test_entries_are_what_the_manifest_wants_and_what_it_once_wanted(rig: Rig) -> None:
    with Reader.open(rig.ledger_path) as reader:
        entries = entries_from(reader, rig.folder)

    assert [(e.label, e.state, e.superseded, [m.url for m in e.media]) for e in entries] == [
        ("still", "done", False, ["test/still.png", "test/still-2.png"]),
        ("still#2", "done", False, ["test/still-t2.png", "test/still-t2-2.png"]),
        ("clip", "done", False, ["test/clip.mp4"]),
        ("clip", "done", True, [e.media[0].url for e in entries if e.superseded]),
        ("odd", "done", False, ["test/50%25%20%231%20%E9%9B%AA.mp4"]),
        ("hostile", "done", False, ["test/hostile.mp4"]),
        ("bad", "failed", False, []),
        ("lost", "in doubt", False, []),
        ("later", "waiting", False, []),
    ]
    by_label = {e.label: e for e in entries if not e.superseded}
    assert by_label["clip"].prompt == "orbits"
    assert "flagged" in by_label["bad"].message
    assert by_label["bad"].cost == "$0.00"
    assert "reset" in by_label["lost"].message
    assert by_label["lost"].cost == "up to $0.42"
    assert by_label["later"].cost == "about $0.42"
    assert by_label["still"].cost == "$0.06"


def test_every_file_that_the_page_names_is_there(rig: Rig) -> None:
    target = write_gallery(rig.ledger_path, rig.folder, now=lambda: NOW)
    shown = Page(target.read_text(encoding="utf-8"))

    assert target == rig.folder / "gallery.html"
    sources = [a["src"] or "" for _, a in shown.tags if a.get("src")]
    assert len(sources) == 8
    assert all((rig.folder / unquote(source)).is_file() for source in sources)
    assert "8 jobs, would have cost $2.22 on fal; the emulator charges nothing" in shown.text
    assert "as of 2026-05-01 12:30 UTC" in shown.text


def test_a_page_can_be_written_during_a_run_and_is_the_same_again(rig: Rig) -> None:
    with rig.ledger():
        first = write_gallery(rig.ledger_path, rig.folder, now=lambda: NOW).read_bytes()

    assert write_gallery(rig.ledger_path, rig.folder, now=lambda: NOW).read_bytes() == first
    assert list(rig.folder.glob(".*.part")) == []


def test_a_submission_without_its_answer_is_shown_as_in_doubt(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = [make_job("clip")]
    with rig.ledger() as ledger:
        ledger.begin_run(command="t", batches=["test"], pid=1, version="0", cap=None)
        ledger.register(Batch(name="test", source="t.yaml", jobs=tuple(jobs)))
        ledger.intend(jobs[0], {"prompt": "x"}, tries=1)
        with Reader.open(rig.ledger_path) as reader:
            (shown,) = entries_from(reader, tmp_path)

    assert (shown.state, shown.cost) == ("in doubt", "up to $0.42")
    assert shown.message == "sent to fal, no answer yet"


def test_the_page_may_lie_in_another_folder(rig: Rig, tmp_path: Path) -> None:
    target = write_gallery(rig.ledger_path, tmp_path / "page", now=lambda: NOW)
    sources = [a["src"] or "" for _, a in Page(target.read_text()).tags if a.get("src")]

    assert all((target.parent / unquote(source)).is_file() for source in sources)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    rig.run([make_job("clip")])
    (tmp_path / "test" / "clip.mp4").unlink()
    shown = Page(write_gallery(rig.ledger_path, tmp_path).read_text())

    assert shown.all("video") == []
    assert "clip.mp4 is no longer here" in shown.text


def test_without_a_ledger_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger here yet"):
        write_gallery(tmp_path / "ledger.db", tmp_path)

    assert not (tmp_path / "gallery.html").exists()


# -- in a browser ------------------------------------------------------------------------------

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize(
    ("fragment", "visible"),
    [
        ("", {"still", "clip", "odd", "hostile", "bad", "lost", "later"}),
        ("#q=ORBITS", {"clip"}),
        ("#state=failed&state=in+doubt", {"bad", "lost"}),
        ("#q=lost+sea&state=in+doubt", {"lost"}),
        ("#q=nothing+like+this", set()),
    ],
)
def test_the_filter_works_and_nothing_is_refused(
    rig: Rig, tmp_path: Path, fragment: str, visible: set[str]
) -> None:
    target = write_gallery(rig.ledger_path, rig.folder)
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path}",
            "--enable-logging=stderr",
            "--virtual-time-budget=2000",
            "--dump-dom",
            target.as_uri() + fragment,
        ],
        capture_output=True,
        check=False,
        timeout=90,
    )
    said = done.stderr.decode("utf-8", "replace")
    shown = Page(done.stdout.decode("utf-8", "replace"))

    assert [text for text in said.splitlines() if "CONSOLE" in text] == []
    assert {s["aria-label"] for s in shown.all("section") if "hidden" not in s} == visible
    assert all("hidden" not in form for form in shown.all("form"))
    (nothing,) = [p for p in shown.all("p") if p.get("id") == "none"]
    assert ("hidden" in nothing) is bool(visible)
