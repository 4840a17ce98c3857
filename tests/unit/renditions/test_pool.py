"""The pool: processes that are replaced when they die, and killed with what they have started."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image
from support.survivors import survivors

from kling_batch.manifest.recipes import read_recipe
from kling_batch.renditions.pool import Failed, worker_pool

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes are looked for")


def command(code: str, **keys: Any) -> dict[str, Any]:
    words = [sys.executable, "-c", code, "{input}", "{output}"]
    return json.loads(read_recipe({"command": words, "ext": ".bin", **keys}).text)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "still.png"
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_a_worker_that_dies_is_reported_and_replaced(source: Path, monkeypatch: Any) -> None:
    # A module of this name in the working folder must not be taken for the library.
    (source.parent / "PIL.py").write_text("raise SystemExit")
    monkeypatch.chdir(source.parent)
    still = json.loads(read_recipe({"format": "jpg", "width": 4}).text)
    suicide = command("import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    targets = [source.with_name(f"still.{n}.jpg") for n in range(3)]

    async def work() -> list[Any]:
        async with worker_pool(1) as pool:
            wanted = zip((still, suicide, still), targets, strict=True)
            return [await pool.make(source, recipe, target) for recipe, target in wanted]

    first, second, third = anyio.run(work)

    assert first == third
    assert first["size"] == targets[0].stat().st_size
    assert second == Failed("the worker process ended (-9), perhaps for want of memory")
    made = {path.name for path in source.parent.iterdir()}
    assert made == {"still.png", "PIL.py", "still.0.jpg", "still.2.jpg"}


def test_what_is_cancelled_leaves_neither_process_nor_file(source: Path) -> None:
    told = source.with_name("told")
    code = (
        "import os, pathlib, subprocess, sys; pathlib.Path(sys.argv[2]).write_text('half'); "
        "child = subprocess.Popen(['sleep', '60']); "
        f"pathlib.Path({str(told)!r}).write_text(f'{{child.pid}} {{os.getpid()}}'); child.wait()"
    )

    async def work() -> None:
        async with worker_pool(1) as pool, anyio.create_task_group() as tasks:
            tasks.start_soon(pool.make, source, command(code), source.with_name("still.a.bin"))
            while not (told.exists() and told.read_text()):  # noqa: ASYNC110 - of a process
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    anyio.run(work)

    assert survivors([int(pid) for pid in told.read_text().split()]) == []
    assert {path.name for path in source.parent.iterdir()} == {"still.png", "told"}


def test_what_a_failed_command_has_started_goes_with_it(source: Path) -> None:
    told = source.with_name("told")
    code = (
        "import pathlib, subprocess; "
        f"pathlib.Path({str(told)!r}).write_text(str(subprocess.Popen(['sleep', '60']).pid)); "
        "raise SystemExit(4)"
    )

    async def work() -> Any:
        async with worker_pool(1) as pool:
            failed = await pool.make(source, command(code), source.with_name("still.a.bin"))
            assert survivors([int(told.read_text())]) == []
            return failed

    assert "failed (exit 4)" in anyio.run(work).reason
