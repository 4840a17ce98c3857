"""With a state file the emulated platform survives being killed at any moment."""

import contextlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from kling_batch.emulator import EmulatorError, Settings, World
from kling_batch.emulator.records import State

T2V = "fal-ai/kling-video/o3/standard/text-to-video"


@pytest.fixture
def reborn(tmp_path, clock):
    """Begins a new life of the same platform each time it is called."""
    lives = []

    def begin(**settings):
        for life in lives:
            life.close()
        steady = {"jitter": 0.0, "start_latency": 0.0, "service_times": {"standard": 10.0}}
        lives.append(World(Settings(**{**steady, **settings}), clock, tmp_path / "state.db"))
        return lives[-1]

    yield begin
    for life in lives:
        life.close()


def accept(world, prompt, **options):
    return world.accept(world.endpoint(T2V), {"prompt": prompt}, **options)


def answers_of(world):
    """Everything that a caller or a test could ask."""
    books = world.books
    return {
        "requests": [request.to_json() for request in books.accepted],
        "posts": books.posts,
        "cancels": books.cancels,
        "charges": books.charges(),
        "charged": books.total_charged_micro_usd,
        "downloads": books.downloads,
        "uploads": books.uploads,
        "result_gets": books.result_gets,
    }


def test_a_new_life_remembers_all_of_the_old_one(reborn, clock):
    world = reborn(concurrency=1)
    requests = [accept(world, str(n)) for n in range(5)]
    accept(world, "x" * 2501)
    world.cancel(requests[4])
    clock.now += 15
    world.output(world.find(requests[0].request_id))
    world.books.count("download", "/files/b/x/y.mp4")
    world.books.count("upload", "00" * 32)
    world.books.count("result_get", requests[0].request_id)
    before = answers_of(world)

    assert answers_of(reborn(concurrency=1)) == before
    assert [r.state for r in requests][:3] == [
        State.COMPLETED,
        State.IN_PROGRESS,
        State.IN_QUEUE,
    ]


def test_renders_go_on_while_the_emulator_is_dead(reborn, clock):
    world = reborn(concurrency=1)
    ids = [accept(world, str(n)).request_id for n in range(3)]
    clock.now += 5
    world.catch_up()
    clock.now += 100
    world = reborn(concurrency=1)

    assert [world.find(i).finished_at - clock.now for i in ids] == [-95, -85, -75]


@pytest.mark.parametrize("written", range(5))
def test_a_kill_between_two_steps_does_not_move_the_later_one(reborn, clock, written):
    world = reborn(concurrency=1)
    first, second = accept(world, "one").request_id, accept(world, "two").request_id
    save, left = world._store.save_request, iter(range(written))

    def save_or_die(request):
        if next(left, None) is None:
            raise SystemExit
        save(request)

    world._store.save_request = save_or_die
    clock.now += 25
    with contextlib.suppress(SystemExit):
        world.catch_up()
    world = reborn(concurrency=1)

    times = [(r.started_at, r.finished_at) for r in (world.find(first), world.find(second))]
    start = clock.now - 25
    assert times == [(start, start + 10), (start + 10, start + 20)]
    assert world.books.total_charged_micro_usd == 2 * 420_000


def test_files_are_the_same_in_the_next_life(reborn, clock):
    world = reborn()
    request = accept(world, "a fox")
    path = world.files.reserve("a.png")
    upload = world.files.upload(path, b"content", "image/png", clock.now, None)
    clock.now += 20
    url = world.output(world.find(request.request_id))["video"]["url"]
    data = world.files.data(world.files.find(url, clock.now))
    world = reborn(seed=99)

    assert world.files.data(world.files.find(url, clock.now)) == data
    again = world.files.find(upload.url, clock.now)
    assert (world.files.data(again), again.content_type) == (b"content", "image/png")
    assert world.files.reserve("a.png") != path


def test_what_has_expired_stays_expired(reborn, clock):
    world = reborn()
    request = accept(world, "a fox")
    upload = world.files.upload(world.files.reserve("a"), b"x", "image/png", clock.now, None)
    clock.now += 20
    url = world.output(world.find(request.request_id))["video"]["url"]
    world.files.expire(clock.now)
    world = reborn()

    assert world.files.find(url, clock.now) is None
    assert world.files.find(upload.url, clock.now) is None


def test_ids_do_not_repeat_in_the_next_life(reborn):
    first = accept(reborn(), "a")
    second = accept(reborn(), "a")

    assert (first.ordinal, second.ordinal) == (1, 2)
    assert first.request_id != second.request_id


def test_an_advanced_clock_stays_advanced(reborn, clock):
    reborn().advance(500)

    assert reborn().now() == clock.now + 500


def test_reset_empties_the_file_too(reborn):
    world = reborn()
    accept(world, "a")
    world.reset()

    assert reborn().books.accepted == []


def test_a_file_that_is_no_state_is_refused_in_a_message(tmp_path):
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database, it is a letter to a friend. " * 20)

    with pytest.raises(EmulatorError, match="cannot be used"):
        World(state=path)


VICTIM = """
import itertools, sys
from kling_batch.emulator import Settings, World

world = World(Settings(profile="instant", start_latency=0.0), state=sys.argv[1])
for n in itertools.count():
    request = world.accept(world.endpoint(sys.argv[2]), {"prompt": str(n)})
    world.catch_up()
    print(request.request_id, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 40, 173])
def test_nothing_that_was_answered_is_lost_by_a_kill(tmp_path, lines):
    """The child prints an id only after it was accepted, as the server answers only then."""
    state = tmp_path / "state.db"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(VICTIM), state, T2V],
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        seen = [child.stdout.readline().strip() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        seen += [line.strip() for line in child.stdout if line.endswith("\n")]
    world = World(Settings(profile="instant"), state=state)
    deadline = time.monotonic() + 5
    while not all(r.succeeded for r in world.books.accepted) and time.monotonic() < deadline:
        time.sleep(0.01)
    kept = [request.request_id for request in world.books.accepted]
    world.close()

    assert len(seen) >= lines
    assert kept[: len(seen)] == seen
    assert len(kept) - len(seen) <= 1
    assert len(world.books.charges()) == len(kept)


class TestAlone:
    """Two servers on one file would each count by itself and overwrite the other's rows."""

    def test_a_second_server_is_refused_until_the_first_has_ended(self, tmp_path):
        path = tmp_path / "state.db"
        first = World(state=path, alone=True)
        accept(first, "a fox")
        with pytest.raises(EmulatorError, match=r"state\.db cannot be used: another emulator"):
            World(state=path, alone=True)
        first.close()
        second = World(state=path, alone=True)
        accept(second, "a crow")

        assert [request.prompt for request in second.books.accepted] == ["a fox", "a crow"]
        second.close()

    def test_another_name_of_the_file_is_the_same_file(self, tmp_path):
        path = tmp_path / "state.db"
        (tmp_path / "link.db").symlink_to(path)

        with (
            contextlib.closing(World(state=path, alone=True)),
            pytest.raises(EmulatorError, match="another emulator"),
        ):
            World(state=tmp_path / "link.db", alone=True)

    def test_what_runs_in_process_takes_no_lock(self, tmp_path):
        """`plan` and `doctor` read the state of a run that goes on; runs exclude each other."""
        path = tmp_path / "state.db"

        with contextlib.closing(World(state=path)), contextlib.closing(World(state=path)):
            assert not (tmp_path / "state.db.lock").exists()

    def test_a_folder_that_is_missing_stays_missing(self, tmp_path):
        with pytest.raises(EmulatorError, match="cannot be used: unable to open"):
            World(state=tmp_path / "none" / "state.db", alone=True)

        assert not (tmp_path / "none").exists()
