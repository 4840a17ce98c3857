"""Name of the program, the names of its help option, and the variable of shell completions."""

from __future__ import annotations

NAME = "kling-batch"
HELP_NAMES = ("-h", "--help")
#: By it the script of a shell asks for completions.
COMPLETE = "_KLING_BATCH_COMPLETE"
