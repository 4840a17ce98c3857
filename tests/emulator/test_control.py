"""The control plane, and that the package keeps to itself."""

import ast
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import kling_batch.emulator
from kling_batch.emulator import Settings
from kling_batch.emulator.inprocess import InProcessTransport

T2V = "fal-ai/kling-video/o3/pro/text-to-video"
QUEUE = "https://queue.fal.run"


@pytest.fixture
def settings():
    return Settings(jitter=0.0, keys=frozenset({"secret-key"}), media="template")


@pytest.fixture
async def control(world):
    transport = InProcessTransport(world)
    async with httpx.AsyncClient(transport=transport, base_url="http://any.host") as client:
        yield client


async def submit(control, prompt="a fox"):
    headers = {"Authorization": "Key secret-key"}
    return await control.post(f"{QUEUE}/{T2V}", json={"prompt": prompt}, headers=headers)


@pytest.mark.anyio
class TestControl:
    async def test_it_lists_its_paths(self, control):
        paths = (await control.get("/_emulator/")).json()["paths"]

        assert "POST /_emulator/reset" in paths

    @pytest.mark.parametrize("base", ["http://127.0.0.1:1", "https://queue.fal.run"])
    async def test_it_is_there_on_every_host(self, control, base):
        assert (await control.get(f"{base}/_emulator/books")).status_code == 200

    async def test_the_books(self, control):
        accepted = (await submit(control)).json()
        await submit(control)
        await control.post(f"{QUEUE}/{T2V}", json={"prompt": "no key"})
        await control.put(accepted["cancel_url"], headers={"Authorization": "Key secret-key"})
        books = (await control.get("/_emulator/books")).json()

        assert books["totals"] == {
            "posts": 3,
            "accepted": 2,
            "charged_micro_usd": 0,
            "committed_micro_usd": 560_000,
        }
        assert list(books["charges"].values()) == [1]
        assert list(books["acceptances"].values()) == [2]
        assert [post["status"] for post in books["posts"]] == [200, 200, 401]
        assert books["posts"][2]["request_id"] is None
        assert books["requests"][0]["payload"] == {"prompt": "a fox"}
        assert books["cancels"][0]["answer"] == "CANCELLATION_REQUESTED"

    async def test_time_can_be_moved(self, control):
        await submit(control)
        await control.post("/_emulator/advance", json={"seconds": 60})
        totals = (await control.get("/_emulator/books")).json()["totals"]

        assert totals["charged_micro_usd"] == 560_000

    async def test_renders_can_be_completed(self, control):
        ids = [(await submit(control)).json()["request_id"] for _ in range(3)]
        one = await control.post("/_emulator/complete", json={"request_id": ids[1]})
        rest = await control.post("/_emulator/complete")

        assert (one.json(), rest.json()) == ({"completed": 1}, {"completed": 2})

    async def test_faults_can_be_added_and_removed(self, control):
        single = {"stage": "submit.before", "what": "status", "status": 503, "times": 1}
        plan = {"seed": 3, "faults": [{**single, "status": 500}]}
        await control.post("/_emulator/faults", json=single)
        added = (await control.post("/_emulator/faults", json=plan)).json()["faults"]

        assert [each["status"] for each in added] == [503, 500]
        assert [(await submit(control)).status_code for _ in range(3)] == [503, 500, 200]

        await control.post("/_emulator/faults", json=single)

        assert (await control.delete("/_emulator/faults")).json() == {"faults": []}
        assert (await submit(control)).status_code == 200

    async def test_settings_can_be_changed(self, control, world):
        changed = await control.patch(
            "/_emulator/settings", json={"concurrency": 7, "locked": "TOP_UP", "forbidden": ["a/*"]}
        )

        assert changed.json()["concurrency"] == world.settings.concurrency == 7
        assert "Reason: TOP_UP." in (await submit(control)).json()["detail"]

    async def test_settings_do_not_show_keys(self, control):
        assert "secret-key" not in (await control.get("/_emulator/settings")).text

    @pytest.mark.parametrize(
        "values", [{"concurency": 1}, {"concurrency": "many"}, {"time_scale": 0}, {"media": "big"}]
    )
    async def test_wrong_settings_change_nothing(self, control, world, values):
        before = world.settings.as_dict()
        answer = await control.patch("/_emulator/settings", json={"seed": 5, **values})

        assert (answer.status_code, next(iter(values)) in answer.json()["detail"]) == (400, True)
        assert world.settings.as_dict() == before

    async def test_files_can_be_made_to_expire(self, control, world):
        accepted = (await submit(control)).json()
        await control.post("/_emulator/complete")
        url = world.output(world.find(accepted["request_id"]))["video"]["url"]

        assert (await control.get(url)).status_code == 200
        expired = await control.post("/_emulator/files/expire", json={"path": url})
        assert expired.json() == {"expired": 1}
        assert (await control.post("/_emulator/files/expire")).json() == {"expired": 0}
        assert (await control.get(url)).status_code == 404

    async def test_reset_begins_anew(self, control, world):
        await control.post("/_emulator/faults", json={"stage": "status", "what": "reset"})
        before = (await submit(control)).json()
        await control.post("/_emulator/advance", json={"seconds": 60})
        await control.post("/_emulator/reset", json={"seed": 4})
        books = (await control.get("/_emulator/books")).json()

        assert books["totals"]["posts"] == books["totals"]["accepted"] == 0
        assert world.settings.seed == 4
        assert world.faults.report() == []
        headers = {"Authorization": "Key secret-key"}
        assert (await control.get(before["status_url"], headers=headers)).status_code == 404
        assert (await submit(control)).status_code == 200

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("advance", {}),
            ("advance", [1]),
            ("seed", {"seed": "x"}),
            ("reset", {"seed": "x"}),
            ("faults", {"stage": "x", "what": "y"}),
            ("faults", 3),
            ("files/expire", {"path": [1]}),
            ("complete", {"request_id": [1]}),
            ("advance", {"seconds": True}),
            ("advance", {"seconds": -5}),
            ("advance", {"seconds": 1e308}),
            ("advance", {"seconds": 10**400}),
        ],
    )
    async def test_wrong_orders_are_refused(self, control, world, path, body):
        before = world.now()

        assert (await control.post(f"/_emulator/{path}", json=body)).status_code == 400
        assert world.now() == before
        assert (await control.get("/_emulator/")).status_code == 200

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1e308", "-1"])
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "advance", '{"seconds": %s}'),
            ("PATCH", "settings", '{"time_scale": %s}'),
            ("PATCH", "settings", '{"service_times": {"pro": %s}}'),
            ("PATCH", "settings", '{"result_ttl": %s}'),
            ("POST", "faults", '{"stage": "status", "what": "delay", "seconds": %s}'),
            ("POST", "faults", '[{"stage": "result", "what": "units", "scale": %s}]'),
        ],
    )
    async def test_no_number_that_is_refused_is_applied(self, control, number, method, path, body):
        pages = ("settings", "faults", "books")
        before = [(await control.get(f"/_emulator/{page}")).text for page in pages]
        answer = await control.request(method, f"/_emulator/{path}", content=body % number)

        assert answer.status_code == 400
        assert [(await control.get(f"/_emulator/{page}")).text for page in pages] == before
        assert (await submit(control)).status_code == 200

    @pytest.mark.parametrize("body", ["[" * 100_000, '{"a": ' * 101 + "1" + "}" * 101])
    @pytest.mark.parametrize("path", ["faults", "settings"])
    async def test_a_body_that_is_too_deep_is_refused(self, control, path, body):
        method = "POST" if path == "faults" else "PATCH"
        answer = await control.request(method, f"/_emulator/{path}", content=body)

        assert (answer.status_code, "100 levels" in answer.json()["detail"]) == (400, True)

    @pytest.mark.parametrize(
        "payload",
        [
            '{"prompt": "x", "cfg_scale": NaN}',
            '{"prompt": "x", "cfg_scale": -1e999}',
            '{"prompt": "\\ud800"}',
            f'{{"prompt": {"[" * 400}1{"]" * 400}}}',
            "[" * 100_000,
        ],
    )
    async def test_what_is_no_json_is_not_accepted(self, control, payload):
        headers = {"Authorization": "Key secret-key"}
        answer = await control.post(f"{QUEUE}/{T2V}", content=payload, headers=headers)
        books = await control.get("/_emulator/books")

        assert (answer.status_code, books.status_code) == (400, 200)
        assert books.json()["totals"]["accepted"] == 0

    async def test_a_prompt_may_begin_like_an_address(self, control):
        assert (await submit(control, "//[a fox")).status_code == 200

    @pytest.mark.parametrize("seconds", ["nan", "inf", "1e308"])
    async def test_a_start_timeout_is_a_number_of_seconds(self, control, seconds):
        headers = {"Authorization": "Key secret-key", "X-Fal-Request-Timeout": seconds}
        answer = await control.post(f"{QUEUE}/{T2V}", json={"prompt": "x"}, headers=headers)

        assert answer.status_code == 400
        assert (await control.get("/_emulator/books")).status_code == 200

    async def test_unknown_orders_are_not_found(self, control):
        assert (await control.post("/_emulator/explode")).status_code == 404


SOURCES = sorted(Path(kling_batch.emulator.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_nothing_of_the_client_is_imported(source):
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not [a.name for a in node.names if a.name.startswith("kling_batch")]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 or (node.level == 0 and "kling_batch" not in node.module)


def test_the_import_is_light():
    heavy = "{'av', 'PIL', 'starlette', 'uvicorn', 'httpx', 'anyio', 'yaml', 'asyncio'}"
    code = (
        "import sys, kling_batch.emulator as e\n"
        "e.World(e.Settings())\n"
        f"print(*sorted({heavy} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"profile": "slow"}, "profile"),
        ({"service_times": {"movie": 3}}, "movie"),
        ({"concurrency": -1}, "concurrency"),
        ({"service_times": {"pro": "long"}}, "service_times"),
        ({"keys": [1]}, "keys"),
        ({"jitter": 2}, "jitter"),
        ({"time_scale": 1e-300}, "time_scale"),
        ({"start_latency": -1}, "start_latency"),
        ({"service_times": {"pro": -1}}, "service_times"),
        ({"submit_http": 99999}, "submit_http"),
        ({"result_ttl": "long"}, "result_ttl"),
        ({"locked": True}, "locked"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_settings_are_named(values, problem):
    with pytest.raises(ValueError, match=problem):
        Settings.from_mapping(values)


def test_settings_come_from_a_parsed_document():
    settings = Settings.from_mapping(
        {"profile": "realistic", "service_times": {"pro": 1}, "keys": ["a"], "balance": 5}
    )

    assert (settings.service_time("pro"), settings.service_time("standard")) == (1, 94.0)
    assert settings.keys == frozenset({"a"})
