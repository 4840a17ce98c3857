"""Entry point of `kling-batch` and `python -m kling_batch`.

Answers `--version` and `--help` from tables; everything else is the business of `cli/main.py`,
which is imported only then. Holds no logic of its own.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    text = _known_text(sys.argv[1:])
    if not text or not _written(text):
        from kling_batch.core.memory import gc_seldom  # noqa: PLC0415

        gc_seldom()
        _leave_out_commands_of_httpx()
        # Measured: with click and what errors need, the time of seven empty interpreters.
        from kling_batch.cli.main import main as run  # noqa: PLC0415

        run()


def _known_text(words: list[str]) -> str:
    """What to print where nothing is asked for but the version or the help; else nothing."""
    if words == ["--version"]:
        from kling_batch.cli.version import version  # noqa: PLC0415

        return f"{version()}\n"
    if words in (["--help"], ["-h"]):
        from kling_batch.cli.overview import overview, terminal_width  # noqa: PLC0415

        return overview(terminal_width())
    return ""


def _leave_out_commands_of_httpx() -> None:
    """Have httpx load without its own command line, 17 ms of rich and pygments.

    It does without where what those need is not installed: None in `sys.modules` is Python's way to
    say that a module cannot be imported. Nothing but httpx's own program imports this one, so
    httpx stays whole for everybody else; under another name, it would only be loaded again. For a
    program that has its process for itself.
    """
    sys.modules["httpx._main"] = None  # type: ignore[assignment]


def _written(text: str) -> bool:
    """Whether standard output took it; where it is closed or full, the command line explains."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError):
        return False
    return True


if __name__ == "__main__":
    main()
