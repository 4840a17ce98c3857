"""Table of the commands: where each is defined, its group in `--help`, and its summary.

`--help` reads this table alone; the module of a command is imported when the command is used.
A summary is the first sentence of the command's own help, which a test compares.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One command of the table."""

    group: str
    summary: str
    #: Module below `kling_batch.cli.commands`.
    module: str
    #: Name of the command object in it.
    attribute: str


MAKE, LOOK, SETTLE, CHECK = "Make", "Look", "Settle", "Check"

COMMANDS: dict[str, Entry] = {
    "run": Entry(
        MAKE, "Render what is new, collect what is open, pay for nothing twice", "run", "run"
    ),
    "plan": Entry(MAKE, "Show what `run` would do, why, and what it would cost", "plan", "plan"),
    "compare": Entry(
        MAKE, "Show what a manifest would cost on other models, side by side", "compare", "compare"
    ),
    "generate": Entry(
        MAKE, "Generate one image and print the result as JSON", "generate", "generate"
    ),
    "video": Entry(
        MAKE, "Generate or edit one video and print the result as JSON", "generate", "video"
    ),
    "renditions": Entry(
        MAKE, "Make missing renditions of what is saved; needs no key", "renditions", "renditions"
    ),
    "init": Entry(MAKE, "Write a commented manifest, and its schema beside it", "init", "init"),
    "mcp": Entry(MAKE, "Serve assistants: plan freely, pay only for a reviewed plan", "mcp", "mcp"),
    "status": Entry(LOOK, "Show the state of every job, and the costs", "status", "status"),
    "list": Entry(LOOK, "List the jobs: state, price, name, prompt", "list_jobs", "list_"),
    "show": Entry(LOOK, "Show the history of a job: attempts, costs, files", "show", "show"),
    "why": Entry(LOOK, "Explain what the next run would do with a job", "show", "why"),
    "gallery": Entry(LOOK, "Write gallery.html: every take on one page", "gallery", "gallery"),
    "review": Entry(
        LOOK, "Serve the gallery to approve, reject and pick takes", "review", "review"
    ),
    "verdict": Entry(LOOK, "Approve, reject or pick finished takes", "verdict", "verdict"),
    "report": Entry(
        LOOK, "Report costs by batch and day, and how good estimates were", "report", "report"
    ),
    "export": Entry(LOOK, "Export everything as JSON lines, or picked takes", "export", "export"),
    "retry": Entry(
        SETTLE, "Allow failed jobs another paid attempt in the next run", "retry", "retry"
    ),
    "reroll": Entry(SETTLE, "Ask for one more take of a job in the next run", "retry", "reroll"),
    "cancel": Entry(
        SETTLE, "Ask fal to cancel open requests and print its answer", "cancel", "cancel"
    ),
    "resolve": Entry(
        SETTLE, "Settle a submission in doubt after a look at fal's dashboard", "resolve", "resolve"
    ),
    "adopt": Entry(SETTLE, "Take an existing file as the result of a job", "adopt", "adopt"),
    "validate": Entry(CHECK, "Check manifests; nothing is sent or paid", "validate", "validate"),
    "verify": Entry(
        CHECK, "Check the ledger against itself and the files on disk", "verify", "verify"
    ),
    "doctor": Entry(
        CHECK, "Check program, key, ledger, folder and connection to fal", "doctor", "doctor"
    ),
    "catalog": Entry(
        CHECK, "List models, modes, tiers, prices and parameters", "catalog", "catalog"
    ),
    "schema": Entry(
        CHECK, "Print the JSON Schema of manifests, or of printed JSON", "init", "schema"
    ),
    "emulator": Entry(
        CHECK, "Serve an emulator of fal's queue, storage and platform API", "emulator", "emulator"
    ),
    "completion": Entry(
        CHECK, "Print the completion script of a shell", "completion", "completion"
    ),
}
