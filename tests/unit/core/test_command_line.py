"""A command that is printed to be typed: the shell gives back every word, every option is there."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import click
import pytest

from kling_batch.cli.main import cli
from kling_batch.cli.retype import ONCE, current_command
from kling_batch.core.command_line import Command, TypedOption, quoted
from kling_batch.core.quantities import parse_rate, rate_text
from kling_batch.core.text import as_typed

WORDS = [
    "plain",
    "",
    "two  blanks",
    'it\'s $HOME `id` "quoted" \\ !',
    "line\nline",
    "tab\tand\x1b[31m and \x07bell",
    "bell\x075 digits follow",
    "Bär  über 東京 👩‍🚀 \u202eright to left",
    "no\u00a0break",
    "\udcff\udc80 no UTF-8",
    "\U000e0001",
]


def from_shell(text: str) -> list[str]:
    """What bash makes of it."""
    script = f"printf '%s\\0' {text}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_the_shell_gives_back_the_word(word: str) -> None:
    text = quoted(word)

    assert from_shell(text) == [word]
    assert text.isprintable()
    text.encode()  # no half surrogate: the ledger can keep it
    assert as_typed(text) == text
    if word.isprintable():
        assert shlex.split(text) == [word]


def test_a_command_is_repeated_and_changed() -> None:
    command = Command(
        ("kling-batch", "run", "my file.yaml"),
        (
            TypedOption("--max-cost", "1"),
            TypedOption("--only", "a*"),
            TypedOption("--only", "b"),
            TypedOption("--emulator"),
        ),
        frozenset({"--max-cost", "--retry-failed"}),
    )

    assert str(command) == (
        "kling-batch run 'my file.yaml' --max-cost 1 --only 'a*' --only b --emulator"
    )
    assert str(command.having("--max-cost", "USD")).count("--max-cost") == 1
    assert command.value("--only") == "b"
    assert command.says("--emulator")
    assert not command.says("--retry-failed")
    assert command.can("--retry-failed")
    assert not command.can("--only")
    assert not Command.parsed("kling-batch verify --repair").can("--retry-failed")
    assert str(Command.parsed("kling-batch verify --repair")) == "kling-batch verify --repair"


@pytest.mark.parametrize("text", ["60/min", "2/s", "500/h", "90/min", "0.5/h", "0.3/s", "7.25/min"])
def test_a_rate_comes_back_as_it_was(text: str) -> None:
    assert parse_rate(rate_text(parse_rate(text))) == pytest.approx(parse_rate(text), rel=1e-12)


def test_a_rate_is_written_as_people_write_it() -> None:
    assert [rate_text(parse_rate(text)) for text in ("60/min", "500/h", "0.25/s")] == [
        "1/s",
        "500/h",
        "15/min",
    ]


# -- every option ------------------------------------------------------------------------------

SPELT: dict[str, list[str]] = {
    "--max-cost": ["1234.5"],
    "--rate": ["90/min"],
    "--scheduler": ["tcp://farm:8786"],
    "--emulator-url": ["http://127.0.0.1:8765"],
    "--concurrency": ["3"],
    "--limit": ["0"],
    "--timeout": ["2h"],
    "--start-timeout": ["90m"],
    "--set": ["brand=Zeta & Söhne", "--x=y"],
    "--only": ["a*", "b"],
    "--exclude": ["c?"],
    "--tag": ["wide"],
    "--param": ["seed=1", "note=two  blanks"],
    "--prompt": ["-p is\nno option"],
    "--take": ["2"],
    "--max-failures": ["20%"],
    "--reuse": ["36h"],
    "--output": ["./~out"],
    "--ledger": ["./~ledger.db"],
    "--mode": ["edit"],
    "--tier": ["pro"],
}


def command_of(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def every(name: str, without: str) -> list[str]:
    """A command line that says every option of a command but one."""
    words: list[str] = []
    for param in command_of(name).params:
        if isinstance(param, click.Argument):
            words += ["./-odd.yaml", "two words.yaml", "./~odd.yaml"]
            continue
        assert isinstance(param, click.Option)
        flag = next(word for word in param.opts if word.startswith("--"))
        for value in SPELT.get(flag, [f"some {param.name}"]) if flag != without else ():
            words += [flag] if param.is_flag else [flag, value]
    return words


def parsed(name: str, words: list[str]) -> tuple[dict[str, Any], Command]:
    parent = click.Context(cli, info_name="kling-batch")
    with command_of(name).make_context(name, [*words], parent) as context:
        return context.params, current_command()


@pytest.mark.parametrize("without", ["--emulator", "--emulator-url"])  # they exclude each other
@pytest.mark.parametrize("name", ["run", "generate", "video"])
def test_typed_again_it_says_the_same_but_for_what_was_said_for_once(
    name: str, without: str
) -> None:
    said, command = parsed(name, every(name, without))
    again, same = parsed(name, from_shell(str(command))[2:])

    assert str(command) == str(same)
    for option, value in said.items():
        if option in ONCE:
            assert again[option] in (None, False), option
        else:
            assert again[option] == value, option


@pytest.mark.parametrize("name", ["run", "generate", "video"])
def test_what_nobody_said_is_not_typed(name: str) -> None:
    words = {"run": ["m.yaml"], "generate": [], "video": ["--mode", "edit"]}[name]

    assert str(parsed(name, words)[1]) == " ".join(["kling-batch", name, *words])


def test_what_the_environment_said_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_BATCH_MAX_COST", "5")
    monkeypatch.setenv("KLING_BATCH_YES", "1")

    assert str(parsed("run", ["m.yaml"])[1]) == "kling-batch run m.yaml --max-cost 5.00"


def test_plan_takes_all_that_a_run_may_be_reported() -> None:
    """A new plan is advised with the run's own options."""

    def flags(name: str) -> set[str]:
        own = (p for p in command_of(name).params if p.name not in ONCE)
        return {word for p in own for word in p.opts if word.startswith("--")}

    assert flags("run") - {"--plan"} <= flags("plan")
