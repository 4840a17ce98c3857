"""`kling-batch completion`: the script that makes a shell complete commands, options and words."""

from __future__ import annotations

import click

from kling_batch.cli.completion import SHELLS, script
from kling_batch.errors import ExitCode

_EPILOG = """\b
Example: kling-batch completion bash > ~/.local/share/bash-completion/completions/kling-batch
         kling-batch completion zsh > ~/.zfunc/_kling-batch   (a folder of $fpath)
         kling-batch completion fish > ~/.config/fish/completions/kling-batch.fish
"""


@click.command(epilog=_EPILOG)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the completion script of a shell.

    It completes commands, options, modes, tiers, models, states, manifests and jobs: those of the
    ledger and of the manifests that are typed already.
    """
    click.echo(script(shell, context.find_root().command))
    return ExitCode.OK
