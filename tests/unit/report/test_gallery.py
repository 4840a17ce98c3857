"""The gallery: what a ledger holds, as one page that nothing foreign can break out of."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from support.engine import T2I, Rig, make_job

from kling_batch.core.jobs import Batch, Job, JobKey, OutputOf, unpicked_key
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Money
from kling_batch.core.verdicts import Verdict, VerdictRow
from kling_batch.emulator import Fault, Settings
from kling_batch.errors import LedgerError
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import record_verdict
from kling_batch.report.gallery import (
    RelativeLinks,
    money_words,
    page_data,
    relative_url,
    render_page,
    title_of,
    write_gallery,
)
from kling_batch.report.gallery_data import as_json, items_of, readable_size
from kling_batch.report.gallery_entries import entries_from
from kling_batch.report.gallery_entry import Entry, Media

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' {{ 7*7 }} \x00\u202e"
NOW = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
FOLDER = Path("/out")
LEDGER = FOLDER / "ledger.db"


def entry(job: str = "clip", state: str = "done", **more: Any) -> Entry:
    fields = {
        "batch": "spring",
        "job": job,
        "key": JobKey("k1:" + job.encode().hex().ljust(32, "0")[:32]),
        "attempt": 1,
        "state": JobStatus(state),
        "charged": MicroUSD(420_000),
        "exposed": MicroUSD(0),
        "estimate": MicroUSD(420_000),
    }
    return Entry(**{**fields, **more})


def picture(name: str = "a.png", kind: str = "image", **more: Any) -> Media:
    path = FOLDER / name
    return Media(path=path, sha256="5a" * 32, kind=kind, size=1234, **more)


def html_of(entries: Iterable[Entry], *, title: str = "spring", **more: Any) -> str:
    links = RelativeLinks(FOLDER, {"5a" * 32})
    return render_page(
        page_data(
            items_of(entries, links),
            **{"ledger": LEDGER, "title": title, "total": "charged $0.42", **more},
        )
    )


class Page(HTMLParser):
    """The page as a browser's parser takes it apart, and the data in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = ""
        (data,) = re.findall(
            r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL
        )
        self.feed(html)
        self.data = json.loads(data)
        self.items = self.data["items"]
        self.media = [media for item in self.items for media in item.get("media", [])]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(*entries: Entry, **more: Any) -> Page:
    return Page(html_of(entries, **more))


# -- rendering ---------------------------------------------------------------------------------


def test_an_item_tells_the_story_of_a_render() -> None:
    verdict = VerdictRow(
        id=7,
        job_key=JobKey("k1:1"),
        attempt_id=1,
        verdict=Verdict.PICKED,
        note="this one",
        author="Ada",
        at="2026-05-01T13:00:00.000Z",
    )
    (item,) = page(
        entry(
            mode="text-to-video",
            tier="pro",
            endpoint="fal-ai/kling-video/o3/pro/text-to-video",
            prompt="A samurai\non a cliff",
            parameters={"duration": "5", "generate_audio": True},
            tags=("hero",),
            attempts=2,
            media=(picture("clips/a.mp4", "video"),),
            request_id="r-1",
            at="2026-05-01 12:00",
            seconds=91.5,
            verdict=verdict,
        )
    ).items

    assert {name: item[name] for name in item if name not in ("id", "variants", "key")} == {
        "attempt": 1,
        "batch": "spring",
        "job": "clip",
        "take": 1,
        "label": "clip",
        "state": "done",
        "mode": "text-to-video",
        "tier": "pro",
        "model": "o3",
        "endpoint": "fal-ai/kling-video/o3/pro/text-to-video",
        "prompt": "A samurai\non a cliff",
        "parameters": {"duration": "5", "generate_audio": "true"},
        "tags": ["hero"],
        "cost": "$0.42",
        "micro": 420_000,
        "attempts": 2,
        "request": "r-1",
        "at": "2026-05-01 12:00",
        "seconds": 91.5,
        "sound": "with sound",
        "media": [
            {
                "name": "a.mp4",
                "kind": "video",
                "size": "1 kB",
                "url": "clips/a.mp4",
                "poster": f".posters/{'5a' * 16}.jpg",
            }
        ],
        "verdict": "picked",
        "note": "this one",
        "author": "Ada",
        "judged": "2026-05-01 13:00",
        "judgement": 7,
    }


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"generate_audio": True}, "with sound"),
        ({"generate_audio": False}, "silent"),
        ({"keep_audio": True}, None),  # as its source
        ({"audio_url": "speech.mp3"}, None),
    ],
)
def test_sound_is_reported_where_it_is_known(parameters: dict[str, Any], words: str | None) -> None:
    (item,) = page(entry(parameters=parameters)).items

    assert item.get("sound") == words


def test_a_heading_names_a_few_batches() -> None:
    batches = [entry(batch=f"b{n}") for n in (1, 1, 2, 3, 4)]

    assert title_of(batches) == "b1, b2, b3, b4"
    assert title_of([*batches, entry(batch="b5"), entry(batch="b6")]) == "b1, b2, b3, b4 and 2 more"


def test_hostile_text_stays_text_everywhere() -> None:
    named = Media(path=FOLDER / "a", sha256="", kind="file", content_type=HOSTILE)
    html = html_of(
        [
            entry(
                HOSTILE,
                state,
                batch=HOSTILE,
                mode=HOSTILE,
                tier=HOSTILE,
                endpoint=HOSTILE,
                prompt=HOSTILE,
                parameters={HOSTILE: HOSTILE},
                parents=(JobKey(HOSTILE),),
                tags=(HOSTILE,),
                message=HOSTILE,
                request_id=HOSTILE,
                at=HOSTILE,
                take=take,
                media=(named,) if state == "done" else (),
            )
            for take, state in enumerate(["done", "failed", "in doubt"])
        ],
        title=HOSTILE,
        written=HOSTILE,
    )
    shown = Page(html)

    assert [script.get("type") for script in shown.all("script")] == ["application/json", None]
    assert html.count("</script>") == 2
    assert not [tag for tag, attributes in shown.tags if "onerror" in attributes]
    assert shown.all("img") == []
    assert "{{ 7*7 }}" in shown.text
    assert "\u202e" not in as_json(shown.items)
    assert "<img src=x onerror=alert(2)>" in shown.items[0]["prompt"]


def test_nothing_in_the_script_sets_markup() -> None:
    html = html_of([entry()])

    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in html


def test_nothing_is_loaded_from_elsewhere() -> None:
    html = html_of([entry(media=(picture(),), prompt="see https://x.test/a.png")])
    shown = Page(html)

    links = [a[k] or "" for _, a in shown.tags for k in ("src", "href", "action") if a.get(k)]
    assert links
    assert [link for link in links if urlsplit(link).scheme not in ("", "data")] == []
    assert "url(" not in html
    assert "@import" not in html


@pytest.mark.parametrize("served", [None, {"version": 1}])
def test_only_this_style_and_this_script_may_run(served: dict[str, Any] | None) -> None:
    html = html_of([entry()], served=served)
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
    assert ("connect-src 'self'" in policy) is bool(served)
    assert not [a for _, a in Page(html).tags if "style" in a]


def test_takes_and_tiers_of_one_prompt_stand_together() -> None:
    items = page(
        entry("still", take=1, prompt="a", mode="m"),
        entry("other", prompt="b", mode="m"),
        entry("still", take=2, prompt="a", mode="m"),
        entry("still", take=1, superseded=True, prompt="the old prompt", mode="m"),
        entry("still-pro", prompt="a", tier="pro", mode="m"),
        entry("elsewhere", prompt="a", mode="m", parameters={"image_url": "https://x.test/1.png"}),
    ).items

    assert [(item["label"], item.get("older", False)) for item in items] == [
        ("still", False),
        ("still#2", False),
        ("still-pro", False),
        ("still", True),
        ("other", False),
        ("elsewhere", False),
    ]
    assert items[0]["variants"] == items[2]["variants"] != items[5]["variants"]
    assert len({item["id"] for item in items[:3]}) == 3


def test_jobs_without_files_say_why_and_what_happens_next() -> None:
    items = page(
        entry("bad", "failed", message="refused by policy", charged=MicroUSD(0)),
        entry("lost", "in doubt", take=2, message="no trace", exposed=MicroUSD(420_000)),
        entry("later", "waiting", charged=MicroUSD(0)),
        entry("slow", "queued", message="queued at fal", charged=MicroUSD(0)),
        entry("away", media=(picture(missing=True),)),
    ).items

    bad, lost, later, slow, away = items
    assert (bad["message"], bad["cost"]) == ("refused by policy", "$0.00")
    assert bad["next"].endswith("kling-batch retry bad")
    assert lost["next"].endswith("kling-batch resolve 'lost#2'")
    assert (later["cost"], later["next"]) == (
        "about $0.42",
        "The next run takes it on: kling-batch run",
    )
    assert slow["message"] == "queued at fal"
    assert away["media"] == [{"name": "a.png", "kind": "image", "size": "1 kB", "missing": True}]


def test_an_output_of_another_job_has_its_name() -> None:
    key = JobKey("k1:" + b"still".hex().ljust(32, "0"))
    items = page(
        entry("still"),
        entry("clip", parameters={"image_url": {"$output": [key, 0]}}, parents=(key,)),
    ).items

    assert items[1]["parents"] == ["still"]
    assert items[1]["parameters"] == {"image_url": "output of still"}


def test_a_long_parameter_is_cut() -> None:
    (item,) = page(entry(parameters={"image_url": "data:image/png;base64," + "A" * 10_000})).items

    assert len(item["parameters"]["image_url"]) == 301


def test_without_scripts_there_are_the_files() -> None:
    shown = page(entry(media=(picture("a b.png"),), prompt="A samurai"))

    assert {"a%20b.png"} == {a["href"] for a in shown.all("a")}
    assert "clip (done) a b.png A samurai" in shown.text


def test_the_emulator_is_named_and_an_empty_ledger_too() -> None:
    assert "1 job , charged $0.42" in page(entry()).text
    assert page().items == []


@pytest.mark.parametrize(
    ("charged", "exposed", "emulated", "words"),
    [
        (420_000, 0, False, "charged $0.42"),
        (420_000, 260_000, False, "charged $0.42, possibly owed $0.26"),
        (420_000, 0, True, "would have cost $0.42 on fal; nothing was paid: this is the emulator"),
        (0, 260_000, True, "would have cost $0.00 on fal, and perhaps $0.26 more; nothing was"),
    ],
)
def test_what_may_be_owed_is_reported_apart(
    charged: int, exposed: int, emulated: bool, words: str
) -> None:
    money = Money(charged=MicroUSD(charged), exposed=MicroUSD(exposed), unknown=MicroUSD(0))

    assert money_words(money, emulated=emulated).startswith(words)


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
        entries = entries_from(reader)

    urls = RelativeLinks(rig.folder).file
    assert [(e.label, e.state, e.superseded, [urls(m) for m in e.media]) for e in entries] == [
        ("still", "done", False, ["test/still.png", "test/still-2.png"]),
        ("still#2", "done", False, ["test/still-t2.png", "test/still-t2-2.png"]),
        ("clip", "done", False, ["test/clip.mp4"]),
        ("clip", "done", True, [urls(e.media[0]) for e in entries if e.superseded]),
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
    assert by_label["clip"].seconds is not None
    assert by_label["clip"].attempts == 1


def test_every_file_that_the_page_names_is_there(rig: Rig) -> None:
    target = write_gallery(rig.ledger_path, rig.folder, now=lambda: NOW)
    shown = Page(target.read_text(encoding="utf-8"))

    assert target == rig.folder / "gallery.html"
    sources = [media[name] for media in shown.media for name in ("url", "poster")]
    assert len(sources) == 16
    assert all((rig.folder / unquote(source)).is_file() for source in sources)
    assert (
        "9 jobs , would have cost $1.80 on fal, and perhaps $0.42 more;"
        " nothing was paid: this is the emulator" in shown.text
    )
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
            (shown,) = entries_from(reader)

    assert (shown.state, shown.cost) == ("in doubt", "up to $0.42")
    assert shown.message == "sent to fal, no answer yet"


def test_the_page_may_lie_in_another_folder(rig: Rig, tmp_path: Path) -> None:
    target = write_gallery(rig.ledger_path, tmp_path / "page", now=lambda: NOW)
    sources = [media["url"] for media in Page(target.read_text()).media]

    assert len(sources) == 8
    assert all((target.parent / unquote(source)).is_file() for source in sources)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    rig.run([make_job("clip")])
    (tmp_path / "test" / "clip.mp4").unlink()
    shown = Page(write_gallery(rig.ledger_path, tmp_path).read_text())

    assert [media.get("url") for media in shown.media] == [None]
    assert shown.media[0]["missing"]


def test_without_a_ledger_there_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger here yet"):
        write_gallery(tmp_path / "ledger.db", tmp_path)

    assert not (tmp_path / "gallery.html").exists()


def test_verdicts_stand_on_the_page(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    job = make_job("clip")
    rig.run([job])
    record_verdict(rig.ledger_path, job.key, Verdict.REJECTED, "too fast", "Ada", at=NOW)

    (item,) = Page(write_gallery(rig.ledger_path, tmp_path).read_text()).items
    assert (item["verdict"], item["note"], item["author"]) == ("rejected", "too fast", "Ada")


def test_a_final_says_what_it_waits_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    here = f" --ledger {rig.ledger_path}"
    drafts = [make_job("hero~draft", take=take) for take in (1, 2)]
    finals = [make_job("hero", prompt="final", take=take) for take in (1, 2)]
    rig.run(drafts)
    with rig.ledger() as ledger:
        ledger.register(Batch(name="test", source="t.yaml", jobs=(*drafts, *finals)))

    def told() -> list[str]:
        with Reader.open(rig.ledger_path) as reader:
            return [e.next_step for e in entries_from(reader) if e.job == "hero"]

    assert told() == [
        f"Waits for a verdict on hero~draft: kling-batch review{here}",
        f"Waits for a verdict on hero~draft#2: kling-batch review{here}",
    ]
    record_verdict(rig.ledger_path, drafts[0].key, Verdict.APPROVED, at=NOW)
    record_verdict(rig.ledger_path, drafts[1].key, Verdict.REJECTED, at=NOW)
    assert told() == [
        f"The next run pays for it: kling-batch run{here}",
        "Not wanted: hero~draft#2 is rejected",
    ]
    record_verdict(rig.ledger_path, drafts[1].key, Verdict.PICKED, at=NOW)
    assert told() == [
        "Not wanted: another take of its draft is picked",
        f"The next run pays for it: kling-batch run{here}",
    ]


def waits(rig: Rig, *jobs: Job) -> dict[str, str]:
    """What the cards of a batch of these jobs say comes next."""
    with rig.ledger() as ledger:
        ledger.register(Batch(name="test", source="t.yaml", jobs=jobs))
    with Reader.open(rig.ledger_path) as reader:
        return {e.label: e.next_step for e in entries_from(reader) if e.state == "waiting"}


def child_of(key: JobKey, job_id: str = "source", name: str = "child") -> Job:
    return make_job(name, prompt=name, start_image_url=OutputOf(key=key, job_id=job_id, take=1))


def test_a_render_says_which_source_it_waits_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    here = f" --ledger {rig.ledger_path}"
    rig.world.faults.add(
        Fault(stage="job", what="fail", error="content_policy_violation", prompt="violent")
    )
    source, bad = make_job("source", prompt="calm"), make_job("bad", prompt="violent")
    jobs = (source, bad, child_of(source.key), child_of(bad.key, name="blocked"))
    assert waits(rig, *jobs)["child"] == "Begins when source is rendered"

    rig.run([source, bad])

    assert waits(rig, *jobs) == {
        "child": f"The next run takes it on: kling-batch run{here}",
        "blocked": f"Needs bad, which is failed: kling-batch retry bad{here}",
    }


def test_a_render_says_that_it_waits_for_a_pick(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    here = f" --ledger {rig.ledger_path}"
    takes = [make_job("key", prompt="a key", take=take) for take in (1, 2, 3)]
    rig.run(takes)
    child = child_of(unpicked_key("test", "key"))

    assert waits(rig, *takes, child) == {
        "child": f"Waits for a pick among key#1..#3: kling-batch review{here}"
    }
    (item,) = [
        each
        for each in Page(write_gallery(rig.ledger_path, tmp_path).read_text()).items
        if each["label"] == "child"
    ]
    assert item["parents"] == ["the picked take of key"]
    assert item["parameters"]["start_image_url"] == "output of the picked take of key"
    record_verdict(rig.ledger_path, takes[1].key, Verdict.PICKED, at=NOW)
    assert waits(rig, *takes, child) == {
        "child": f"The next run takes it on: kling-batch run{here}"
    }


def test_a_replaced_file_is_said_and_gives_no_poster(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    rig.run([make_job("clip"), make_job("other", prompt="other")])
    other = tmp_path / "test/other.mp4"
    (tmp_path / "test/clip.mp4").write_bytes(other.read_bytes() + b"more")

    first, second = Page(write_gallery(rig.ledger_path, tmp_path).read_text()).media

    assert (first["changed"], "poster" in first) == (True, False)
    assert ("changed" in second, "poster" in second) == (False, True)


def test_tags_are_those_of_the_ledger(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    rig.run([make_job("clip")._replace(tags=("hero", "wide")), make_job("bare", prompt="none")])

    items = Page(write_gallery(rig.ledger_path, tmp_path).read_text()).items
    assert [item.get("tags") for item in items] == [["hero", "wide"], None]


def test_tags_come_from_the_manifest(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=8, media="template"))
    job = make_job("clip")
    rig.run([job])

    target = write_gallery(rig.ledger_path, tmp_path, tags={job.key: ("hero", "wide")})
    assert Page(target.read_text()).items[0]["tags"] == ["hero", "wide"]


def test_what_the_page_proposes_is_about_its_own_ledger() -> None:
    assert page(entry()).data["commands"] == {
        "run": "kling-batch run --ledger /out/ledger.db",
        "review": "kling-batch review --ledger /out/ledger.db",
        "verify": "kling-batch verify --ledger /out/ledger.db",
        "repair": "kling-batch verify --repair --ledger /out/ledger.db",
    }
    usual = page(entry(), ledger=Path("outputs/ledger.db")).data["commands"]
    assert usual["repair"] == "kling-batch verify --repair"
    trial = page(entry(), ledger=Path("outputs-emulator/ledger.db")).data["commands"]
    assert trial["review"] == "kling-batch review --emulator"
