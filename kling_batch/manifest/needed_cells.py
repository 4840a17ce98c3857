"""Cells that a job cannot do without: one that its key is, and those that its templates name.

A spreadsheet's error spoils whatever names it, a blank cell an id, a prompt or an input. Must not
report anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kling_batch.core.jobs import JSON
from kling_batch.manifest.tables import BLANK, FlawedRow
from kling_batch.manifest.templating import is_template, names_in, unguarded_names

_TEXT_KEYS = frozenset({"id", "prompt", "multi_prompt", "elements", "input"})


class NeededCells:
    """The columns that the values of an entry need."""

    def __init__(self, values: Mapping[str, JSON]) -> None:
        """`values` are those of the job and of the defaults, as written."""
        self._templates = {name: each for name, each in values.items() if is_template(each)}
        #: Key → the columns its template names, and those of them that must not be blank.
        self._needs: dict[str, tuple[frozenset[str], frozenset[str]]] = {}

    def lacking(
        self, row: FlawedRow, combination: Collection[str], keys: Collection[str]
    ) -> list[str]:
        """The columns whose flaws spoil a job that has these keys from its row."""
        needed = dict.fromkeys(name for name in keys if row.flaws.get(name, BLANK) != BLANK)
        for name in self._templates:
            if name in keys and row.get(name) != "":
                continue  # a default's template, overridden by the row
            columns, not_blank = self._needs_of(name)
            for column in columns:
                flaw = "" if column in combination else row.flaws.get(column, "")
                if flaw and (flaw != BLANK or column in not_blank):
                    needed[column] = None
        return list(needed)

    def _needs_of(self, name: str) -> tuple[frozenset[str], frozenset[str]]:
        if name not in self._needs:
            value = self._templates[name]
            blank = unguarded_names(value) if _is_text_key(name) else ()
            self._needs[name] = frozenset(names_in(value)), frozenset(blank)
        return self._needs[name]


def _is_text_key(name: str) -> bool:
    """Whether a key is an id, a prompt or an input, of which a blank cell would spoil a part."""
    return name in _TEXT_KEYS or name.endswith(("_url", "_urls"))
