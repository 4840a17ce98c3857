"""Name of the program, and the variable by which the script of a shell asks it for completions."""

from __future__ import annotations

NAME = "kling-batch"
COMPLETE = "_KLING_BATCH_COMPLETE"
