"""The command line: the group, how errors leave the program, and nothing else.

One module a command in `commands/`; they import the network stack, pydantic and the emulator only
when they run, so that `--help` and `--version` stay light.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from kling_batch import __version__
from kling_batch.cli.commands import COMMANDS
from kling_batch.errors import EXIT_MEANINGS, ExitCode, KlingBatchError, ManifestError, Problem

_EPILOG = "\b\nExit codes:\n" + "\n".join(
    f"  {code.value:>3}  {meaning}" for code, meaning in EXIT_MEANINGS.items()
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="kling-batch")
def cli() -> None:
    r"""Run batches of paid Kling O3 generations on fal.ai, and pay for nothing twice.

    \b
    kling-batch run manifest.yaml --emulator   try it, nothing is paid
    kling-batch plan manifest.yaml             what would happen, and what it would cost
    kling-batch run manifest.yaml              do it; the same command again resumes
    """


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line and leave with the right code and one sentence."""
    _complete_streams()
    try:
        code = _invoke()
    except ManifestError as error:
        _problems(error)
        code = error.exit_code
    except KlingBatchError as error:
        _say(f"kling-batch: {error}")
        code = error.exit_code
    except click.exceptions.Abort:
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except KeyboardInterrupt:
        _say("kling-batch: interrupted")
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our data left (`| head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    except OSError as error:
        _say(_of_system(error))
        code = ExitCode.SOME_FAILED
    except BaseExceptionGroup as group:
        code = _first_known(group)
    sys.exit(int(code) if isinstance(code, int) else 0)


def _invoke() -> object:
    """The command's own code; where the reader of our data has left, that is no error of ours."""
    before = sys.stdout
    try:
        return cli.main(prog_name="kling-batch", standalone_mode=False)
    except SystemExit as leaving:  # click's way out: it has silenced the stream, and says 1
        return leaving.code if sys.stdout is before else ExitCode.OK


def _complete_streams() -> None:
    """A standard stream that was closed before the start leads nowhere, as cron would have it.

    Left closed, its number would go to the next file that is opened, and that is the ledger.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def _first_known(group: BaseExceptionGroup[BaseException]) -> int:
    """A task group wraps what ended it; a sentence is a sentence all the same."""
    error: BaseException | None = group.subgroup(KlingBatchError)
    if error is None and group.split(OSError)[1] is None:
        error = group  # nothing but the system's; beside it, a bug of ours must stay seen
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case KlingBatchError():
            _say(f"kling-batch: {error}")
            return error.exit_code
        case OSError():
            _say(_of_system(error))
            return ExitCode.SOME_FAILED
        case _:
            raise group


def _of_system(error: OSError) -> str:
    """What a disk or a folder would not do, and which: nobody has said it better below."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = " → ".join(names)
    told = error.strerror or str(error) or type(error).__name__
    return f"kling-batch: {where}: {told}" if where else f"kling-batch: {told}"


def _problems(error: ManifestError) -> None:
    """Every problem with its place; on a terminal with the line and a caret."""
    for problem in error.problems:
        _say(_with_caret(problem) if sys.stderr.isatty() else str(problem))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from kling_batch.report.ci import from_workspace, problem_annotations  # noqa: PLC0415

        for line in problem_annotations(error.problems, locate=from_workspace(os.environ)):
            _say(line)
    count = len(error.problems)
    _say(f"kling-batch: {count} problem{'s' * (count != 1)}; nothing was sent")


def _with_caret(problem: Problem) -> str:
    from kling_batch.cli.explain import explain  # noqa: PLC0415

    try:
        source = Path(problem.place.file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return str(problem)
    return explain(problem, source)


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone; the exit code remains
        click.echo(text, err=True)
