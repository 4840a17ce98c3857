"""What this installation lacks for a recipe: an encoder, a format, a program. Nothing is made.

The codecs are imported when a recipe needs them.
"""

from __future__ import annotations

import json
import os
import shutil

from kling_batch.core.programs import forbidden_by
from kling_batch.core.recipes import Kind, Recipe


def lack_of(recipe: Recipe) -> str:
    """What is missing here for a recipe, as a clause; empty: nothing."""
    plain = json.loads(recipe.text)
    match recipe.kind:
        case Kind.COMMAND:
            if reason := left_out(recipe):
                return reason
            program = plain["command"][0]
            return "" if shutil.which(program) else f"there is no program `{program}` here"
        case Kind.STILL | Kind.STRIP:
            from kling_batch.renditions.pictures import can_write  # noqa: PLC0415

            able = can_write(plain["format"])
            return "" if able else f"this installation of Pillow cannot write {plain['format']}"
        case Kind.LOOP | Kind.VIDEO:
            from kling_batch.renditions.video import missing_encoder  # noqa: PLC0415

            encoder = missing_encoder(plain)
            return f"this installation of PyAV has no encoder {encoder}" if encoder else ""


def left_out(recipe: Recipe) -> str:
    """That the environment forbids the recipe's command, as a clause; empty: it does not."""
    by = forbidden_by(os.environ) if recipe.kind is Kind.COMMAND else ""
    return f"its command is left out: {by}" if by else ""
