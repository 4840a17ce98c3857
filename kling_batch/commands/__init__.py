"""One module a command. Each defines the click command and composes the parts it needs.

Must import nothing heavy at module level: every `--help` loads all of them.
"""

from __future__ import annotations

import click

from kling_batch.commands.catalog import catalog
from kling_batch.commands.emulator import emulator
from kling_batch.commands.plan import plan
from kling_batch.commands.run import run
from kling_batch.commands.single import generate, video
from kling_batch.commands.status import status
from kling_batch.commands.validate import validate

COMMANDS: tuple[click.Command, ...] = (
    run,
    plan,
    validate,
    status,
    generate,
    video,
    catalog,
    emulator,
)
