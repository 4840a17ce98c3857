"""Command whose long help lists its options under headings, by what they are about.

Must not know what an option does.
"""

from __future__ import annotations

import click

#: Heading → names of parameters, in the order of a help; whatever else there is comes first.
HEADINGS: dict[str, tuple[str, ...]] = {
    "Which jobs": ("only", "exclude", "tag", "limit", "variables", "retry_failed", "collect"),
    "Money": ("max_cost", "max_failures", "reuse", "no_reuse", "yes", "plan_file"),
    "Pace and time": ("concurrency", "rate", "timeout", "start_timeout", "detach"),
    "Where": ("output", "ledger", "emulator", "emulator_url", "scheduler"),
    "What is shown and written": (
        *("show", "as_json", "markdown", "save", "quiet", "verbose", "log_file"),
        *("junit", "summary", "on_saved", "on_finished", "notify", "detailed_exitcode"),
    ),
}


class GroupedCommand(click.Command):
    """A command with so many options that its help needs headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        rows = {
            parameter.name: row
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option)
            and (row := parameter.get_help_record(ctx)) is not None
        }
        grouped = {name for names in HEADINGS.values() for name in names}
        groups = {"Options": [row for name, row in rows.items() if name not in grouped]}
        for heading, names in HEADINGS.items():
            groups[heading] = [rows[name] for name in names if name in rows]
        # One column for all: the headings must not move the texts.
        first = min(max(len(row[0]) for row in rows.values()), _MOST)
        for heading, lines in groups.items():
            if lines:
                with formatter.section(heading):
                    formatter.write_dl([(name.ljust(first), text) for name, text in lines], _MOST)


#: Columns of the names at most; longer ones have a line of their own.
_MOST = 26
