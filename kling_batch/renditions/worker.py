"""Worker process of renditions: a task a line comes in, an answer a line goes out.

    python -m kling_batch.renditions.worker

It ends when its input ends, and at once, with every program it has started, when the process that
started it is gone. Must not decide which renditions are made.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

from kling_batch.renditions.geometry import ChangedInputError, RenditionError
from kling_batch.renditions.make import make_rendition, remove_leftovers

#: Seconds between looks at the parent process.
_LOOK = 0.5


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a codec prints is no answer
    if hasattr(os, "killpg"):
        Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    for line in sys.stdin:
        json.dump(_answer(json.loads(line)), answers)
        answers.write("\n")
        answers.flush()


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    target = Path(task["target"])
    try:
        if task["begun"]:
            remove_leftovers(target)
        made = make_rendition(Path(task["source"]), task["recipe"], target, threads=task["threads"])
    except RenditionError as error:
        return {"failed": str(error), "changed_input": isinstance(error, ChangedInputError)}
    except Exception as error:  # noqa: BLE001 - codecs raise anything over a strange file
        return {"failed": f"{type(error).__name__}: {error}"}
    return {"made": made}


def _leave_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main()
