"""One module a command, or a few that belong together; each composes the parts it needs.

Must import nothing heavy at module level: every `--help` loads all of them.
"""

from __future__ import annotations

import click

from kling_batch.cli.commands.adopt import adopt
from kling_batch.cli.commands.cancel import cancel
from kling_batch.cli.commands.catalog import catalog
from kling_batch.cli.commands.doctor import doctor
from kling_batch.cli.commands.emulator import emulator
from kling_batch.cli.commands.gallery import gallery
from kling_batch.cli.commands.generate import generate, video
from kling_batch.cli.commands.init import init, schema
from kling_batch.cli.commands.plan import plan
from kling_batch.cli.commands.report import report
from kling_batch.cli.commands.resolve import resolve
from kling_batch.cli.commands.retry import reroll, retry
from kling_batch.cli.commands.run import run
from kling_batch.cli.commands.show import list_, show, why
from kling_batch.cli.commands.status import status
from kling_batch.cli.commands.validate import validate
from kling_batch.cli.commands.verify import verify

COMMANDS: tuple[click.Command, ...] = (
    adopt,
    cancel,
    catalog,
    doctor,
    emulator,
    gallery,
    generate,
    init,
    list_,
    plan,
    report,
    reroll,
    resolve,
    retry,
    run,
    schema,
    show,
    status,
    validate,
    verify,
    video,
    why,
)
