"""Values of options that come from the environment: a message about one names the variable."""

from __future__ import annotations

import click
import pytest

from kling_batch.cli.commands import COMMANDS
from kling_batch.cli.main import cli


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def told(words: list[str]) -> str:
    with pytest.raises(click.BadParameter) as raised:
        command_of("run").make_context("run", words)
    return raised.value.format_message()


WRONG = [
    ("CONCURRENCY", "0", "'--concurrency' / '-j'"),
    ("MAX_COST", "much", "'--max-cost'"),
    ("RATE", "fast", "'--rate'"),
    ("YES", "maybe", "'--yes' / '-y'"),
    ("OUTPUT", "s3://", "'--output' / '-o'"),
    ("LEDGER", "s3://bucket", "'--ledger'"),
    ("EMULATOR_URL", "foo", "'--emulator-url'"),
]


@pytest.mark.parametrize(("name", "value", "option"), WRONG)
def test_a_wrong_value_is_not_blamed_on_what_nobody_typed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, option: str
) -> None:
    variable = f"KLING_BATCH_{name}"
    monkeypatch.setenv(variable, value)

    assert told(["m.yaml"]).startswith(f"Invalid value for {option} (from {variable}): ")


def test_what_was_typed_is_not_blamed_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_BATCH_CONCURRENCY", "3")

    assert told(["m.yaml", "-j", "0"]).startswith("Invalid value for '--concurrency' / '-j': 0 is")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_the_environment_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    command = command_of(name)
    for option in command.params:
        if option.envvar is not None:
            context = click.Context(command)
            context.set_parameter_source(str(option.name), click.core.ParameterSource.ENVIRONMENT)
            assert option.get_error_hint(context).endswith(f" (from {option.envvar})")
