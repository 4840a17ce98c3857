"""`kling-batch emulator`: the emulator of fal on a port, for tests and CI of users."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from kling_batch import operations
from kling_batch.cli.options import PATH
from kling_batch.core.memory import gc_spared
from kling_batch.emulator import EmulatorError, Settings, World, load_plan
from kling_batch.emulator.server import serve
from kling_batch.errors import ExitCode, UsageError


@click.command(epilog="Example: kling-batch emulator --port 8765 --profile instant")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535))
@click.option("--seed", default=0, show_default=True, help="Same seed, same renders")
@click.option("--speed", default=1.0, show_default=True, help="10: renders ten times as fast")
@click.option("--slots", default=2, show_default=True, type=click.IntRange(1), help="Concurrency")
@click.option(
    "--profile",
    type=click.Choice(["demo", "realistic", "instant"]),
    default="demo",
    show_default=True,
    help="Service times",
)
@click.option("--faults", type=PATH, help="A YAML or JSON file of faults to inject")
@click.option("--state", type=PATH, help="Keep requests and books in this file")
@click.option("--certfile", type=PATH, help="Serve TLS with this certificate")
@click.option("--keyfile", type=PATH, help="Its private key")
def emulator(
    *,
    host: str,
    port: int,
    seed: int,
    speed: float,
    slots: int,
    profile: str,
    faults: Path | None,
    state: Path | None,
    certfile: Path | None,
    keyfile: Path | None,
) -> int:
    """Serve an emulator of fal's queue, storage and platform API.

    Point runs at it with --emulator-url http://127.0.0.1:8765. Its books and faults are under
    /_emulator/.
    """
    if state is not None:
        operations.must_be_no_ledger("--state", state)
    if keyfile is not None and certfile is None:
        raise UsageError("--keyfile needs --certfile")
    try:
        settings = Settings(seed=seed, time_scale=speed, concurrency=slots, profile=profile)  # type: ignore[arg-type]
        plan = load_plan(faults) if faults is not None else None
        with closing(World(settings, state=state, faults=plan, alone=True)) as world, gc_spared():
            serve(world, host, port, certfile=certfile, keyfile=keyfile)
    except (EmulatorError, ValueError, OSError) as error:
        raise UsageError(f"the emulator cannot start: {error}") from error
    return ExitCode.OK
