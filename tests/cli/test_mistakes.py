"""What people do by mistake or in an odd order, and what the program says and does about it."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image
from support.cli import HERO, MANIFEST, OTHER, Desk, Studio
from support.engine import Rig, make_jobs
from support.process import environment, run, start, tls_stand_in

from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import Charged, UploadError
from kling_batch.emulator import Fault
from kling_batch.fal.client import handle_of
from kling_batch.fal.upload import FalUploader
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader
from kling_batch.operations.verify import verify_ledger
from kling_batch.output.store import OutputStore

ONE = MANIFEST.split("  - {id: two")[0]
EDITED = MANIFEST.replace("the first", "the first but better")
POLICY = Fault(stage="job", what="fail", error="content_policy_violation", prompt="first", times=1)


def key_of(desk: Desk, prompt: str) -> str:
    with closing(sqlite3.connect(desk.folder / "outputs/ledger.db")) as db:
        sql = "select key from jobs where json_extract(arguments, '$.prompt') = ?"
        return str(db.execute(sql, [prompt]).fetchone()[0])


# -- a wrong id that is another job's -----------------------------------------------------------


def mixed_up(desk: Desk) -> tuple[str, str]:
    """Both jobs in doubt; the person gave `one` the id of `two`, and then put it right."""
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.after", what="reset"))
    desk.run(code=5)
    ids = {word: r.request_id for r in desk.world.books.accepted for word in r.prompt.split()}
    desk.say("resolve", "one", "--request-id", ids["second"])
    desk.say("resolve", "one", "--request-id", ids["first"])
    desk.world.faults.clear()
    return ids["first"], ids["second"]


def test_an_id_that_was_taken_back_may_be_given_to_its_own_job(desk: Desk) -> None:
    _, second = mixed_up(desk)
    desk.say("resolve", "two", "--request-id", second)
    desk.run()
    assert desk.pictures() == ["one.png", "two.png"]


def test_an_id_that_was_taken_back_is_found_in_the_list_by_its_own_job(desk: Desk) -> None:
    mixed_up(desk)
    desk.world.settings.list_allowed = True
    desk.put(MANIFEST + "limits: {on_doubt: resubmit, doubt_wait: 8s}\n")
    desk.run()
    assert sorted(desk.world.books.charges().values()) == [1, 1]


# -- names that cannot be given -----------------------------------------------------------------


def test_a_new_name_that_cannot_be_given_is_not_well_done(desk: Desk) -> None:
    desk.run()
    desk.put(MANIFEST.replace("id: one", "id: renamed"))
    (desk.folder / "outputs/desk/text-to-image/renamed.png").mkdir()
    desk.run(code=1)


def test_a_twin_that_cannot_be_placed_is_not_well_done_and_the_next_one_is(desk: Desk) -> None:
    duplicates = "  - {id: same, prompt: the first}\n  - {id: third, prompt: the first}\n"
    desk.put(ONE + duplicates)
    (desk.folder / "outputs/desk/text-to-image/same.png").mkdir(parents=True)
    told = desk.run(code=1)
    assert "third.png" in told


# -- consent ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more", [(), ("--yes", "--limit", "0"), ("--yes", "--plan", "plan.json")], ids=str
)
def test_a_collected_failure_pays_nothing_more_than_was_agreed_to(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    """The first run had --yes; the second, by cron, has no word, a limit, or a reviewed plan."""
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {stage: job, what: fail, error: internal_error, nth: 1}\n")
    with tls_stand_in(tmp_path, "--profile", "instant", "--faults", str(faults)) as env:
        (tmp_path / "m.yaml").write_text(ONE)
        run("run", "m.yaml", "--yes", "--detach", cwd=tmp_path, env=env)
        made = run("plan", "m.yaml", "-o", "plan.json", cwd=tmp_path, env=env)
        assert "up to $0.00" in made.stdout
        run("run", "m.yaml", *more, cwd=tmp_path, env=env)
    with closing(sqlite3.connect(tmp_path / "outputs/ledger.db")) as db:
        assert db.execute("select count(*) from attempts").fetchone() == (1,)


@pytest.mark.parametrize("more", [("--limit", "0"), ("--plan", "plan.json")])
def test_a_doubt_that_is_let_go_pays_nothing_more_than_was_agreed_to(
    desk: Desk, more: tuple[str, ...]
) -> None:
    desk.put(ONE + "limits: {on_doubt: resubmit, doubt_wait: 2s}\n")
    desk.world.faults.add(Fault(stage="submit.before", what="reset", times=1))
    desk.run("--detach", code=5)
    desk.say("plan", "desk.yaml", "--emulator-url", desk.url, "-o", "plan.json")

    run("run", "desk.yaml", "--emulator-url", desk.url, *more, cwd=desk.folder)

    assert len(desk.world.books.posts) == 1
    desk.run()
    assert len(desk.world.books.posts) == 2


# -- the key ------------------------------------------------------------------------------------


def test_an_upload_refused_with_an_echo_tells_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fal_client.client as client

    for name in ("REST_URL", "CDN_URL"):
        monkeypatch.setattr(client, name, getattr(client, name))

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = f"Authorization: {self.headers['Authorization']} is not welcome"
            body = json.dumps({"detail": said}).encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 100)
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        async def upload() -> str:
            url = f"http://127.0.0.1:{server.server_port}"
            uploader = FalUploader("Key an-id:very-secret", gateway=url)
            with pytest.raises(UploadError) as caught:
                await uploader.upload(tmp_path / "a.png", "image/png")
            return str(caught.value)

        told = anyio.run(upload)
        server.shutdown()
    assert "very-secret" not in told


# -- whose id it is -----------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [False, True])
def test_what_fal_itself_gave_an_id_stays_exposed_whatever_a_person_confirms(
    desk: Desk, listed: bool
) -> None:
    """By its answer or by its list; then it denies it, and a person repeats that very id."""
    desk.put(ONE)
    if listed:
        desk.world.faults.add(Fault(stage="submit.after", what="reset"))
    desk.run("--detach", code=5 if listed else 6)
    path = desk.folder / "outputs/ledger.db"
    (request,) = desk.world.books.accepted
    with Ledger(path, service="emulator", now=lambda: datetime.now(UTC)) as ledger:
        (attempt,) = ledger.attempts_in(State.IN_DOUBT, State.SUBMITTED)
        if listed:
            handle = handle_of(attempt.endpoint, request.request_id)
            ledger.record(attempt.id, Event.RECONCILED_FOUND, handle=handle)
        ledger.record(attempt.id, Event.REMOTE_LOST, reason="404 for ten minutes")
    desk.say("resolve", "one", "--request-id", request.request_id)

    told = desk.say("resolve", "one", "--not-submitted", code=2)

    assert "not in doubt" in told
    with Reader.open(path) as reader:
        known = reader.attempt(attempt.id)
    assert known.charged is not Charged.NO
    assert known.handle is not None


def test_an_id_that_a_person_gave_and_fal_has_shown_is_no_guess_any_more(desk: Desk) -> None:
    """It was finished when first looked at, and its result is gone."""
    desk.put(ONE)
    desk.world.settings.list_allowed = False
    desk.world.faults.add(
        Fault(stage="submit.after", what="reset"), Fault(stage="result", what="expired")
    )
    desk.run(code=5)
    (request,) = desk.world.books.accepted
    desk.say("resolve", "one", "--request-id", request.request_id)
    desk.run("--timeout", "2s", code=6)

    assert "not in doubt" in desk.say("resolve", "one", "--not-submitted", code=2)


def test_a_cancellation_makes_no_guess_of_what_fal_has_shown(desk: Desk) -> None:
    desk.world.settings.list_allowed = False
    desk.world.settings.profile = "realistic"
    desk.world.faults.add(Fault(stage="submit.after", what="reset", prompt="second"))
    desk.run("--timeout", "2s", code=5)
    (lost,) = [r for r in desk.world.books.accepted if "second" in r.prompt]
    desk.say("resolve", "two", "--request-id", lost.request_id)
    desk.run("--timeout", "2s", code=6)  # fal shows it, and the ledger says so
    assert "not in doubt" in desk.say("resolve", "two", "--not-submitted", code=2)
    for stage in ("status", "cancel"):
        desk.world.faults.add(Fault(stage=stage, what="status", status=503))
    desk.say("cancel", "two", "--emulator-url", desk.url, code=1)

    assert "not in doubt" in desk.say("resolve", "two", "--not-submitted", code=2)


# -- torn reads --------------------------------------------------------------------------------


def test_verify_beside_a_run_finds_nothing_that_is_not_there(desk: Desk) -> None:
    desk.put(ONE + "".join(f"  - {{id: j{n}, prompt: p{n}}}\n" for n in range(80)))
    found = []
    words = ("--rate", "40/s", "--concurrency", "80", "-q", "--emulator-url", desk.url)
    with start("run", "desk.yaml", *words, cwd=desk.folder) as process:
        ledger = desk.folder / "outputs/ledger.db"
        while not ledger.exists():
            time.sleep(0.05)
        time.sleep(0.3)
        while process.poll() is None:
            with Reader.open(ledger) as reader:
                found += verify_ledger(reader, OutputStore({}, ledger.parent)).findings
        process.communicate()
    assert not found


# -- commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by_key", [False, True])
def test_reroll_of_what_left_the_manifest_is_a_sentence(desk: Desk, by_key: bool) -> None:
    desk.run()
    desk.put(EDITED)
    desk.run()
    key = key_of(desk, "the first")
    desk.say("reroll", key if by_key else f"one@{key[3:11]}", code=2)


def test_retry_of_two_names_of_one_undelivered_render_is_one_word(desk: Desk) -> None:
    desk.put(ONE + "  - {id: same, prompt: the first}\n")
    desk.world.faults.add(Fault(stage="download", what="status", status=503))
    desk.run("--timeout", "3s", code=6)
    desk.say("retry", "one", "same")


def test_a_retry_that_is_refused_grants_nothing(desk: Desk) -> None:
    desk.world.faults.add(POLICY)
    desk.run(code=1)
    desk.say("retry", "one", "two", code=2)
    paid = len(desk.world.books.accepted)
    desk.run(code=1)
    assert len(desk.world.books.accepted) == paid


# -- what left the manifest --------------------------------------------------------------------


def left(studio: Studio, *faults: Fault) -> None:
    """`hero` is bought, and has left the manifest before it is collected."""
    studio.world.faults.add(*faults)
    studio.write(HERO)
    studio.run("--detach", code=6)
    studio.write(OTHER)


@pytest.mark.parametrize("error", ["content_policy_violation", "internal_error"])
def test_a_failed_leftover_is_no_reason_to_type_anything(studio: Studio, error: str) -> None:
    left(studio, Fault(stage="job", what="fail", error=error, prompt="first"))
    told = studio.run(code=1)
    assert "Next:" not in told


def test_a_failed_leftover_points_at_nobody_elses_prompt(studio: Studio) -> None:
    left(studio, POLICY)
    assert "[m.yaml" not in studio.run(code=1)


def test_a_reviewed_plan_fits_beside_an_open_leftover(studio: Studio) -> None:
    studio.world.settings.profile = "realistic"
    left(studio)
    studio.say("plan", "m.yaml", "-o", "plan.json")
    told = studio.run("--plan", "plan.json", "--timeout", "3s", code=6)
    assert "no longer fits" not in told


def test_resolve_of_a_leftover_does_not_promise_to_send_it(studio: Studio) -> None:
    studio.world.settings.list_allowed = False
    studio.world.faults.add(Fault(stage="submit.before", what="reset", prompt="first"))
    studio.write(HERO)
    studio.run(code=5)
    mark = studio.open_key()[3:11]
    studio.write(OTHER)
    studio.run(code=5)
    told = studio.say("resolve", f"hero@{mark}", "--not-submitted")
    assert "the next run sends it" not in told


def test_retry_of_what_left_the_manifest_promises_no_payment(desk: Desk) -> None:
    desk.world.faults.add(POLICY)
    desk.run(code=1)
    desk.put(EDITED)
    desk.run()
    told = desk.say("retry", f"one@{key_of(desk, 'the first')[3:11]}", code=2)
    assert "in no manifest any more" in told


def test_adopting_for_an_old_name_takes_nobodys_place(desk: Desk) -> None:
    desk.world.faults.add(POLICY)
    desk.run(code=1)
    desk.put(EDITED)
    desk.run()
    folder = desk.folder / "outputs/desk/text-to-image"
    before = (folder / "one.png").read_bytes()
    run("adopt", f"one@{key_of(desk, 'the first')[3:11]}", folder / "two.png", cwd=desk.folder)
    assert (folder / "one.png").read_bytes() == before


# -- what is told and handed out ---------------------------------------------------------------


def test_what_a_daily_cap_stopped_is_not_sent_to_another_cap(desk: Desk) -> None:
    desk.put(MANIFEST + "limits: {max_cost_per_day: 0.03}\n")
    assert "--max-cost USD" not in desk.run(code=4)


def test_an_adopted_result_is_handed_out_by_the_single_shot(desk: Desk) -> None:
    desk.run()
    fail = Fault(stage="job", what="fail", error="content_policy_violation", prompt="a cat")
    desk.world.faults.add(fail)
    words = ("generate", "-p", "a cat", "--emulator-url", desk.url)
    desk.say(*words, code=1)
    lines = run("list", "--json", cwd=desk.folder).stdout.splitlines()
    name = next(json.loads(line)["job_id"] for line in lines if "a cat" in line)
    desk.say("adopt", name, "outputs/desk/text-to-image/one.png")
    assert "path" in run(*words, cwd=desk.folder).stdout


def test_a_sidecar_is_written_again_without_a_key(tmp_path: Path) -> None:
    with tls_stand_in(tmp_path, "--profile", "instant") as env:
        (tmp_path / "m.yaml").write_text(ONE)
        run("run", "m.yaml", "--yes", cwd=tmp_path, env=env)
    (sidecar,) = (tmp_path / "outputs").rglob("*.png.json")
    sidecar.unlink()
    assert run("verify", "--repair", cwd=tmp_path, env=environment()).returncode == 0


def test_a_render_of_unknown_price_has_no_ratio(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run(make_jobs(1, estimate=0))
    with rig.ledger() as ledger:
        ledger.record(1, Event.COST_LEARNT, cost=420_000)
    assert "None" not in run("report", "--ledger", rig.ledger_path, cwd=tmp_path).stdout


def test_a_file_that_is_fetched_again_has_not_been_rendering_since(desk: Desk) -> None:
    desk.run()
    (desk.folder / "outputs/desk/text-to-image/one.png").unlink()
    time.sleep(6)
    desk.run("--junit", "j.xml")
    text = (desk.folder / "j.xml").read_text()
    assert max(float(t) for t in re.findall(r'<testcase[^>]* time="([\d.]+)"', text)) < 5


# -- keys, accounts and lines that fail where nothing is paid --------------------------------------

WITH_PHOTO = """\
version: 1
jobs:
  - {id: moved, mode: image-to-video, tier: standard, image_url: photo.png, prompt: it moves}
  - {id: still, mode: text-to-image, prompt: it stands}
"""


@pytest.fixture
def photo(desk: Desk) -> Desk:
    Image.new("RGB", (320, 320)).save(desk.folder / "photo.png")
    desk.put(WITH_PHOTO)
    return desk


@pytest.mark.parametrize(
    ("status", "detail", "code"),
    [
        (401, "Invalid key", 3),
        (403, "User is locked. Reason: Exhausted balance. Top up your balance.", 4),
        (403, "This key may not upload", 1),
        (413, "Too large", 1),
    ],
)
def test_a_key_or_an_account_that_is_refused_at_the_upload_is_told_as_such(
    photo: Desk, status: int, detail: str, code: int
) -> None:
    body = json.dumps({"detail": detail})
    fault = Fault(stage="upload", what="status", status=status, body=body)
    photo.world.faults.add(fault)

    told = photo.run("-j", "1", code=code)

    assert detail in told
    assert len(photo.world.books.accepted) == (code == 1)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_upload_that_meets_a_bad_minute_is_made_again(photo: Desk, status: int) -> None:
    photo.world.faults.add(Fault(stage="upload", what="status", status=status, times=2))

    photo.run()

    assert len(photo.world.books.accepted) == 2


def test_a_key_that_is_refused_at_the_cancellation_is_told_as_such(desk: Desk) -> None:
    desk.world.settings.profile = "realistic"
    desk.run("--detach", code=6)
    desk.world.faults.add(Fault(stage="cancel", what="status", status=401))

    told = desk.say("cancel", "--all", "--emulator-url", desk.url, code=3)

    assert told.count("fal refuses the key") == 2


# -- streams ---------------------------------------------------------------------------------------


def shell(desk: Desk, words: str) -> subprocess.CompletedProcess[str]:
    script = f'"$0" -m kling_batch {words}'
    return subprocess.run(
        ["bash", "-c", script, sys.executable],
        cwd=desk.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_before_the_start_keep_nothing_from_working(
    desk: Desk, closed: str
) -> None:
    done = shell(desk, f"run desk.yaml --emulator-url {desk.url} {closed}")

    assert done.returncode == 0, done.stderr
    assert desk.pictures() == ["one.png", "two.png"]
    assert "everything fits" in desk.say("verify")


def test_a_reader_that_has_left_is_no_error_of_a_report(desk: Desk) -> None:
    desk.put(ONE + "".join(f"  - {{id: j{n}, prompt: p{n}}}\n" for n in range(40)))
    desk.run()

    done = shell(desk, "list | head -1; exit ${PIPESTATUS[0]}")
    gone = shell(desk, "list >&1 | true; exit ${PIPESTATUS[0]}")

    assert (done.returncode, gone.returncode) == (0, 0), done.stderr + gone.stderr
    assert "Traceback" not in done.stderr + gone.stderr


# -- what a person said --------------------------------------------------------------------------


def test_the_story_tells_an_id_that_a_person_gave_from_one_that_was_found(desk: Desk) -> None:
    desk.put(ONE)
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.after", what="reset"))
    desk.run(code=5)
    (lost,) = desk.world.books.accepted

    desk.say("resolve", "one", "--request-id", lost.request_id)

    assert f"it is at fal as {lost.request_id}, you said" in desk.say("show", "one")


def test_time_that_is_over_during_a_download_sends_somebody_to_collect(desk: Desk) -> None:
    desk.world.faults.add(Fault(stage="download", what="status", status=503))

    told = desk.run("--timeout", "2s", code=6)

    assert "run desk.yaml" in told
    desk.world.faults.clear()
    desk.run()
    assert len(desk.world.books.accepted) == 2


# -- prices that nobody expects --------------------------------------------------------------------


def test_after_an_alarm_only_a_cap_is_a_word(tmp_path: Path) -> None:
    """Each night would buy a window full of renders at a price that is known to be wrong."""
    with tls_stand_in(tmp_path, "--profile", "instant") as env:
        (tmp_path / "m.yaml").write_text(MANIFEST)
        run("run", "m.yaml", "--yes", "--only", "one", cwd=tmp_path, env=env)
        with closing(sqlite3.connect(tmp_path / "outputs/ledger.db")) as db, db:
            db.execute("update attempts set cost_micro_usd = 4 * estimate_micro_usd")

        run(
            "run",
            "m.yaml",
            "--max-cost",
            "0.30",
            "--detach",
            "--only",
            "two",
            cwd=tmp_path,
            env=env,
        )
        (tmp_path / "m.yaml").write_text(MANIFEST + "  - {id: three, prompt: the third}\n")

        refused = run("run", "m.yaml", "--yes", cwd=tmp_path, env=env)
        collected = list(tmp_path.rglob("two.png"))
        capped = run("run", "m.yaml", "--max-cost", "0.20", cwd=tmp_path, env=env)
        enough = run("run", "m.yaml", "--max-cost", "0.30", cwd=tmp_path, env=env)

    assert (refused.returncode, capped.returncode, enough.returncode) == (4, 4, 0)
    assert "4.0 times" in refused.stderr
    assert collected, "what is open is collected all the same"
    with closing(sqlite3.connect(tmp_path / "outputs/ledger.db")) as db:
        assert db.execute("select count(*) from attempts").fetchone() == (3,)
