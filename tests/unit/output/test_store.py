"""Giving files their names: atomic, durable, inside the folder, never over somebody else's."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.engine import START, Rig, make_job
from support.privileges import unprivileged

from kling_batch.core.lifecycle import State
from kling_batch.emulator import Settings
from kling_batch.errors import ExitCode, LedgerError, UsageError
from kling_batch.output.files import digest_of
from kling_batch.output.sidecar import public
from kling_batch.output.store import OutputStore, Superseded, sidecar_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


@pytest.fixture
def store(root: Path) -> OutputStore:
    return OutputStore({"test": root}, root)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def publish(
    store: OutputStore,
    temporary: Path,
    final: Path,
    *,
    record: Any = None,
    superseded: Superseded = lambda _path, _kept_as, _digest: None,
) -> str:
    digest = digest_of(temporary)
    return store.publish(temporary, final, sha256=digest, record=record, superseded=superseded)


def copy(store: OutputStore, source: Path, final: Path) -> str:
    return store.publish_copy(
        source,
        final,
        token="abc",
        sha256=digest_of(source),
        record={"schema_version": 1, "key": "k1:x"},
        superseded=lambda _path, _kept_as, _digest: None,
    )


def write_sidecar(store: OutputStore, final: Path, record: Any) -> None:
    store.write_sidecar(final, record, store.temporary(final, "abc", 0))


def media(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if not name.endswith(".json")}


# -- inside the folder -------------------------------------------------------------------------


def test_a_folder_is_made_for_a_file_that_needs_one(store: OutputStore, root: Path) -> None:
    assert store.prepare("test", "a/b/clip.mp4") == root / "a/b/clip.mp4"
    assert (root / "a/b").is_dir()


@pytest.mark.parametrize("relative", ["../x.mp4", "a/../../x.mp4", "../outputs-2/x.mp4", "/tmp/x"])
def test_nothing_is_written_or_made_outside(
    store: OutputStore, root: Path, tmp_path: Path, relative: str
) -> None:
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(UsageError, match="leads out of the output folder"):
        store.prepare("test", relative)

    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_that_leads_out_makes_no_folder_there(
    store: OutputStore, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "link").symlink_to(outside)

    with pytest.raises(UsageError):
        store.prepare("test", "link/deep/clip.mp4")

    assert list(outside.iterdir()) == []


def test_a_link_that_stays_inside_is_a_folder_like_any_other(
    store: OutputStore, root: Path
) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to(root / "real")

    store.prepare("test", "link/clip.mp4").write_bytes(b"x")

    assert (root / "real/clip.mp4").read_bytes() == b"x"


def test_the_output_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "outputs").symlink_to(tmp_path / "disk")
    store = OutputStore({"test": tmp_path / "outputs"}, tmp_path / "outputs")

    store.prepare("test", "a/clip.mp4").write_bytes(b"x")

    assert (tmp_path / "disk/a/clip.mp4").exists()


@pytest.mark.parametrize("name", ["a/clip.mp4", "ü/ß–日本.mp4", "e\u0301.mp4", "sp ace/😀.png"])
@pytest.mark.parametrize("ledger", [".", "..", "../elsewhere"])
def test_a_stored_name_leads_back_to_the_same_file(root: Path, name: str, ledger: str) -> None:
    store = OutputStore({"test": root}, root / ledger)
    final = store.wanted("test", name)

    stored = store.stored(final)

    assert "\\" not in stored
    assert Path(os.path.normpath(store.located(stored))) == Path(os.path.normpath(final))


# -- names -------------------------------------------------------------------------------------


def test_a_name_appears_by_rename_after_the_sync_and_before_the_folders(
    store: OutputStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def traced(name: str, told: Callable[..., str]) -> None:
        real: Any = getattr(os, name)

        def call(*words: Any, **more: Any) -> Any:
            steps.append(told(*words))
            return real(*words, **more)

        monkeypatch.setattr(os, name, call)

    def what(handle: int) -> str:
        return "sync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "sync file"

    traced("replace", lambda source, target: f"rename to {Path(target).name}")
    traced("fsync", what)
    final = store.prepare("test", "clip.mp4")
    temporary = store.temporary(final, "abc", 0)
    temporary.write_bytes(b"x")

    publish(store, temporary, final)

    assert steps == ["rename to clip.mp4", "sync folder"]
    assert contents(root) == {"clip.mp4": b"x"}


def test_publishing_keeps_commits_renames_and_then_writes_the_sidecar(
    store: OutputStore, root: Path
) -> None:
    """Whatever line the program dies at, both files are there and the ledger knows of both."""
    final = store.prepare("test", "clip.mp4")
    final.write_bytes(b"old")
    temporary = store.temporary(final, "abc", 0)
    temporary.write_bytes(b"new")
    seen: list[tuple[str, str, str]] = []

    def superseded(*names: str) -> None:
        seen.append((names[0], names[1], names[2]))
        kept = f"clip.{digest_of(final)[:8]}.mp4"
        assert contents(root) == {temporary.name: b"new", "clip.mp4": b"old", kept: b"old"}

    record = {"schema_version": 1, "key": "k1:x"}
    old = digest_of(final)
    stored = publish(store, temporary, final, record=record, superseded=superseded)

    assert stored == "clip.mp4"
    assert seen == [("clip.mp4", f"clip.{old[:8]}.mp4", old)]
    assert media(root) == {"clip.mp4": b"new", f"clip.{old[:8]}.mp4": b"old"}
    assert json.loads(sidecar_of(final).read_text()) == record


def test_a_commit_that_fails_stops_the_publishing_before_the_rename(
    store: OutputStore, root: Path
) -> None:
    final = store.prepare("test", "clip.mp4")
    final.write_bytes(b"old")
    temporary = store.temporary(final, "abc", 0)
    temporary.write_bytes(b"new")

    def superseded(*_: str) -> None:
        raise LedgerError("the disk is full")

    with pytest.raises(LedgerError):
        publish(store, temporary, final, record={}, superseded=superseded)

    assert final.read_bytes() == b"old"
    assert temporary.read_bytes() == b"new"
    assert not sidecar_of(final).exists()


def test_the_same_content_published_again_keeps_no_second_name(
    store: OutputStore, root: Path
) -> None:
    final = store.prepare("test", "clip.mp4")
    final.write_bytes(b"clip")
    temporary = store.temporary(final, "abc", 0)
    temporary.write_bytes(b"clip")
    seen: list[str] = []

    publish(store, temporary, final, superseded=lambda path, *_: seen.append(path))

    assert contents(root) == {"clip.mp4": b"clip"}
    assert seen == []


def test_the_growing_file_is_hidden_beside_the_final_one(store: OutputStore, root: Path) -> None:
    final = store.prepare("test", "a/clip.mp4")

    temporary = store.temporary(final, "abc", 3)

    assert temporary.parent == final.parent
    assert temporary.name.startswith(".")
    assert temporary != store.temporary(final, "abd", 3) != store.temporary(final, "abd", 4)


def test_what_lies_there_is_kept_beside_it(store: OutputStore, root: Path) -> None:
    final = store.prepare("test", "clip.mp4")
    final.write_bytes(b"a stranger's")
    story = json.dumps({"sha256": digest_of(final)})
    sidecar_of(final).write_text(story)

    kept = store.back_up(final)

    assert kept is not None
    assert kept.name == f"clip.{digest_of(final)[:8]}.mp4"
    assert kept.read_bytes() == final.read_bytes() == b"a stranger's"
    assert sidecar_of(kept).read_text() == story
    assert store.back_up(final) == kept  # the run died and does it once more
    assert len(contents(root)) == 4


@pytest.mark.parametrize("story", ['{"sha256": "of the whole file"}', "no JSON", "[]"])
def test_a_damaged_file_is_kept_without_the_sidecar_of_the_whole_one(
    store: OutputStore, root: Path, story: str
) -> None:
    final = store.prepare("test", "clip.mp4")
    final.write_bytes(b"half of i")
    sidecar_of(final).write_text(story)

    kept = store.back_up(final)

    assert kept is not None
    assert kept.read_bytes() == b"half of i"
    assert not sidecar_of(kept).exists()
    assert sidecar_of(final).read_text() == story


def test_nothing_is_kept_of_nothing(store: OutputStore) -> None:
    assert store.back_up(store.prepare("test", "clip.mp4")) is None


def test_a_kept_file_that_was_changed_meanwhile_does_not_cost_the_next_one(
    store: OutputStore, root: Path
) -> None:
    """The name is taken, by something else: what lies here must be kept all the same."""
    final = store.prepare("test", "clip.mp4")
    final.write_bytes(b"paid for")
    taken = final.with_name(f"clip.{digest_of(final)[:8]}.mp4")
    taken.write_bytes(b"cut by hand")

    kept = store.back_up(final)

    assert kept not in (None, final, taken)
    assert taken.read_bytes() == b"cut by hand"
    assert kept is not None
    assert kept.read_bytes() == b"paid for"
    assert store.back_up(final) == kept


@pytest.mark.parametrize("code", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP])
def test_a_disk_without_links_gets_copies(
    store: OutputStore, root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    source = store.prepare("test", "a/one.mp4")
    source.write_bytes(b"clip")
    final = store.prepare("test", "b/two.mp4")

    copy(store, source, final)
    kept = store.back_up(source)

    assert kept is not None
    assert set(media(root)) == {"a/one.mp4", f"a/{kept.name}", "b/two.mp4"}
    assert set(media(root).values()) == {b"clip"}


def test_a_link_that_fails_for_another_reason_is_reported(
    store: OutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", link)
    final = store.prepare("test", "clip.mp4")
    final.write_bytes(b"x")

    with pytest.raises(OSError, match="No space"):
        store.back_up(final)


def test_a_copy_is_made_once_more_over_what_a_dead_run_left(store: OutputStore, root: Path) -> None:
    source = store.prepare("test", "one.mp4")
    source.write_bytes(b"clip")
    final = store.prepare("test", "two.mp4")
    store.temporary(final, "abc", 0).write_bytes(b"half")

    copy(store, source, final)
    copy(store, source, final)

    assert media(root) == {"one.mp4": b"clip", "two.mp4": b"clip"}


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(
    store: OutputStore, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "precious"
    outside.write_bytes(b"not ours")
    final = store.prepare("test", "clip.mp4")
    final.symlink_to(outside)
    temporary = store.temporary(final, "abc", 0)
    temporary.write_bytes(b"clip")

    publish(store, temporary, final, record={})

    assert not final.is_symlink()
    assert outside.read_bytes() == b"not ours"


# -- sidecars ----------------------------------------------------------------------------------


def test_a_sidecar_is_json_in_the_users_own_letters(store: OutputStore, root: Path) -> None:
    final = store.prepare("test", "clip.mp4")

    store.write_sidecar(
        final,
        {"schema_version": 1, "key": "k1:x", "prompt": "ü 日本"},
        store.temporary(final, "abc", 0),
    )
    store.write_sidecar(
        final,
        {"schema_version": 1, "key": "k1:y", "prompt": "ü 日本"},
        store.temporary(final, "abc", 0),
    )

    text = (root / "clip.mp4.json").read_text("utf-8")
    assert json.loads(text)["key"] == "k1:y"
    assert "日本" in text
    assert set(contents(root)) == {"clip.mp4.json"}


def test_a_link_in_the_place_of_a_half_sidecar_is_replaced_not_followed(
    store: OutputStore, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "mine.txt"
    outside.write_bytes(b"not ours")
    (root / ".abc-0.json.part").symlink_to(outside)

    write_sidecar(store, root / "clip.mp4", {"schema_version": 1, "key": "k1:x"})

    assert outside.read_bytes() == b"not ours"
    assert set(contents(root)) == {"clip.mp4.json"}


@pytest.mark.parametrize("text", ["{}", '{"my": "notes"}', "not json", "", "[1]"])
def test_a_strangers_file_under_a_sidecars_name_is_kept(
    store: OutputStore, root: Path, text: str
) -> None:
    final = store.prepare("test", "clip.mp4")
    sidecar_of(final).write_text(text)

    store.write_sidecar(
        final, {"schema_version": 1, "key": "k1:x"}, store.temporary(final, "abc", 0)
    )

    assert json.loads(sidecar_of(final).read_text())["key"] == "k1:x"
    others = {k: v for k, v in contents(root).items() if k != "clip.mp4.json"}
    assert list(others.values()) == [text.encode()]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://v3b.fal.media/a/b.mp4?sig=secret#x", "https://v3b.fal.media/a/b.mp4"),
        ("https://user:secret@host/a", "https://host/a"),
        ("data:image/png;base64,secret", None),
        ("", None),
        ("ftp://host/x", None),
    ],
)
def test_a_sidecar_shows_no_signature(url: str, shown: str | None) -> None:
    assert public(url) == shown


# -- whole runs --------------------------------------------------------------------------------


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, Settings(concurrency=4, media="template"))


def test_no_text_of_a_sidecar_holds_a_signature(rig: Rig, tmp_path: Path) -> None:
    signed = "https://a.example/p.png?X-Amz-Signature=secret&X-Amz-Date=1"

    rig.run([make_job("job", prompt=signed)])

    text = (tmp_path / "test/job.mp4.json").read_text()
    assert json.loads(text)["prompt"] == "https://a.example/p.png"
    assert "secret" not in text


def test_a_strangers_file_is_never_overwritten(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/job.mp4").write_bytes(b"my holiday")
    (tmp_path / "test/job.mp4.json").write_text("my notes")

    rig.run([make_job("job")])

    kept = contents(tmp_path / "test")
    assert kept["job.mp4"].startswith(b"\0\0\0")
    assert b"my holiday" in kept.values()
    assert b"my notes" in kept.values()


def test_a_folder_in_the_place_of_a_file_costs_no_second_render(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "test/job.mp4").mkdir(parents=True)
    job = make_job("job")

    run_result = rig.run([job])

    assert run_result.stopped_by() == ()  # it concerns nobody else
    assert "Is a directory" in run_result.reasons["test", "job", 1]
    assert rig.states([job]) == [State.RENDERED]
    (tmp_path / "test/job.mp4").rmdir()
    rig.run([job])
    assert rig.states([job]) == [State.SUCCEEDED]
    assert rig.charges == [1]


def test_a_folder_that_may_not_be_written_costs_no_second_render(tmp_path: Path) -> None:
    with unprivileged(tmp_path) as folder:
        rig = Rig(folder, Settings(concurrency=4, media="template"))
        job = make_job("job")
        (folder / "test").mkdir(mode=0o555)

        run_result = rig.run([job])

        assert run_result.stopped_by() == (ExitCode.SOME_FAILED,)
        assert "test" in run_result.stops[0].reason
        (folder / "test").chmod(0o755)
        rig.run([job])
        assert rig.states([job]) == [State.SUCCEEDED]
        assert rig.charges == [1]


def test_names_in_any_script_come_back_from_the_ledger(rig: Rig, tmp_path: Path) -> None:
    jobs = [make_job(name) for name in ("ü-ß", "日本語", "e\u0301", "😀")]

    rig.run(jobs)
    posts = len(rig.world.books.posts)
    rig.run(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 4
    assert sorted(rig.files()) == sorted(f"test/{job.id}.mp4" for job in jobs)
    assert len(rig.world.books.posts) == posts


def test_a_moved_output_folder_with_its_ledger_needs_nothing_again(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    rig = Rig(before, Settings(media="template"))
    job = make_job("job")
    rig.run([job])
    shutil.move(before, after)
    moved = Rig(after, rig.settings)
    moved.epoch = START
    events = len(moved.events)

    moved.run([job])

    assert moved.world.books.posts == []
    assert "rendered" not in [h.kind for h in moved.events[events:]]
    assert moved.files() == ["test/job.mp4"]
