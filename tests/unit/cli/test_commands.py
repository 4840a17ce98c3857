"""The table of commands agrees with the commands, and `--help` imports none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import kling_batch.cli.commands
from kling_batch import __main__, __version__
from kling_batch.catalog import DATED
from kling_batch.catalog.registry import endpoints
from kling_batch.cli.commands import COMMANDS
from kling_batch.cli.main import cli
from kling_batch.cli.overview import _FIRST_STEPS, _SUMMARY, MOST_COLUMNS, overview, terminal_width
from kling_batch.errors import EXIT_MEANINGS


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_the_first_sentence_of_the_commands_own_help(name: str) -> None:
    command = command_of(name)

    assert command.name == name
    first_line = (command.help or "").splitlines()[0]
    assert first_line.partition(". ")[0].removesuffix(".") == COMMANDS[name].summary
    assert f"Example: kling-batch {name} " in f"{command.epilog} "


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_two_names_whatever_context_was_the_first(name: str) -> None:
    command = command_of(name)

    alone = command.get_help_option(click.Context(command))

    assert alone is not None
    assert alone.opts == ["-h", "--help"]


def test_every_command_is_in_the_table() -> None:
    folder = Path(kling_batch.cli.commands.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    defined = {
        (module, attribute)
        for module in modules
        for attribute, value in vars(
            __import__(f"kling_batch.cli.commands.{module}", fromlist=["x"])
        ).items()
        if isinstance(value, click.Command)
    }

    assert {(entry.module, entry.attribute) for entry in COMMANDS.values()} == defined


def test_help_lists_every_command_on_a_line_of_its_own_at_80_columns() -> None:
    text = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    lines = [line.split() for line in text.splitlines()]

    for name, entry in COMMANDS.items():
        assert [name, *entry.summary.split()] in lines
    assert "…" not in text
    assert "..." not in text.replace("[ARGS]...", "")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_no_help_shows_a_mark_for_the_formatter(name: str) -> None:
    text = CliRunner().invoke(cli, [*([name] if name else []), "--help"]).output

    assert "\\b" not in text
    assert "\b" not in text


#: What reads manifests, keeps ledgers and talks to fal; nobody waits for it to read a help text.
HEAVY = {
    *("httpx", "aiohttp", "fal_client", "anyio", "asyncio", "ssl"),
    *("pydantic", "sqlite_utils", "sqlite3", "yaml", "jinja2", "rich", "starlette"),
}


def modules_after(*words: str) -> set[str]:
    """The modules that a program has imported when it has answered these words."""
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*filter(sys.modules.get, sys.modules), file=sys.stderr))\n"
        f"sys.argv = ['kling-batch', *{words!r}]\n"
        "from kling_batch.__main__ import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize("words", [["run", "--help"], ["plan", "-h"]])
def test_help_of_a_command_imports_nothing_heavy(words: list[str]) -> None:
    assert {name.split(".")[0] for name in modules_after(*words)} & HEAVY == set()


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_imports_neither_click_nor_a_command(word: str) -> None:
    modules = modules_after(word)

    assert {name for name in modules if name.startswith("kling_batch")} == {
        *("kling_batch", "kling_batch.__main__", "kling_batch.exit_codes"),
        *("kling_batch.core", "kling_batch.core.lazy"),
        *("kling_batch.cli", "kling_batch.cli.commands", "kling_batch.cli.overview"),
    }
    assert modules & {"click", "dataclasses", "inspect", "pathlib"} == set()


def test_version_imports_next_to_nothing() -> None:
    modules = modules_after("--version")

    assert {name for name in modules if name.startswith("kling_batch")} == {
        *("kling_batch", "kling_batch.__main__", "kling_batch.core", "kling_batch.core.lazy"),
        *("kling_batch.catalog", "kling_batch.cli", "kling_batch.cli.version"),
    }
    assert modules & {"click", "dataclasses", "typing", "re", "enum"} == set()


def test_version_says_the_python_and_the_month_of_the_catalogue() -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    dates = {each for e in endpoints() for each in (e.dated, e.price_dated)}

    text = CliRunner().invoke(cli, ["--version"]).output

    assert text == f"kling-batch, version {__version__} (Python {python}, catalogue of {DATED})\n"
    assert max(dates) == DATED


def by_click(width: int) -> str:
    """The same help as click formats it."""
    out = click.HelpFormatter(width=width)
    out.write_usage("kling-batch", "[OPTIONS] COMMAND [ARGS]...")
    out.write_paragraph()
    with out.indentation():
        out.write_text(f"{_SUMMARY}\n\n\b{_FIRST_STEPS}")
    options = [param.get_help_record(click.Context(cli)) for param in cli.get_params(CONTEXT)]
    with out.section("Options"):
        out.write_dl([record for record in options if record])
    names = max(map(len, COMMANDS))
    for group in dict.fromkeys(entry.group for entry in COMMANDS.values()):
        with out.section(group):
            entries = [(n.ljust(names), e) for n, e in COMMANDS.items() if e.group == group]
            out.write_dl([(name, entry.summary) for name, entry in entries])
    out.write_paragraph()
    with out.indentation():
        codes = [f"  {code.value:>3}  {text}" for code, text in EXIT_MEANINGS.items()]
        out.write_text("\n".join(["\b", "Exit codes:", *codes]))
    return out.getvalue()


CONTEXT = click.Context(cli, info_name="kling-batch")


@pytest.mark.parametrize("width", [*range(48, 101, 4), 53, 77])
def test_the_overview_is_formatted_as_click_would(width: int) -> None:
    assert overview(width) == by_click(width)
    assert overview(width).isascii()  # written before the streams are made safe for all text


@pytest.mark.parametrize("columns", ["20", "66", "80", "300", "0", "wide", ""])
def test_the_overview_is_as_wide_as_click_would_have_it(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)

    assert terminal_width() == click.HelpFormatter(max_width=MOST_COLUMNS).width


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"]])
def test_the_short_way_prints_what_the_command_line_prints(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setattr(sys, "argv", ["kling-batch", *words])
    width = click.HelpFormatter(max_width=MOST_COLUMNS).width

    __main__.main()

    assert capsys.readouterr().out == CliRunner().invoke(cli, words, terminal_width=width).output


def test_an_unknown_command_is_a_usage_error() -> None:
    done = CliRunner().invoke(cli, ["runn"])

    assert done.exit_code == 2
    assert "No such command 'runn'" in done.output


def test_the_network_stack_loads_only_where_something_is_sent() -> None:
    """Every command's work is imported, as a run with nothing to do imports its own."""
    script = (
        "import importlib, pkgutil, sys\n"
        "import kling_batch.operations\n"
        "for each in pkgutil.iter_modules(kling_batch.operations.__path__):\n"
        "    importlib.import_module(f'kling_batch.operations.{each.name}')\n"
        "network = {'aiohttp', 'httpx', 'fal_client', 'yarl', 'uvicorn'}\n"
        "print(sorted(network & {name.split('.')[0] for name in sys.modules}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.stdout == "[]\n", done.stderr
