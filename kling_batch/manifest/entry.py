"""One entry of `jobs:`: its layers, compiled once, and the place of everything in it.

What a key is worth comes from, in this order: the job itself, the row or the matrix, the defaults.
Must not know endpoints: `expand.py` makes jobs of what stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kling_batch.core.diagnostics import ArgumentPath, Collector, Complaint, nearest
from kling_batch.core.jobs import JSON, Job
from kling_batch.errors import Place
from kling_batch.manifest import fields
from kling_batch.manifest.tables import Table
from kling_batch.manifest.templating import (
    Render,
    Scope,
    TemplateFault,
    compile_condition,
    compile_value,
    is_template,
    names_in,
    truth,
)
from kling_batch.manifest.yaml_source import Tree

#: Keys that say how many jobs there are, not what one is like.
_FRAME = ("from", "matrix", "when")
_RAW_ONLY = ("input", "price")
#: Keys that may differ while the request stays the same but for its words.
_OUTSIDE_FORM = frozenset({"id", "prompt", "takes", "tags"})


class Given(NamedTuple):
    """One job to be."""

    #: What templates may name.
    scope: Scope
    #: What the job's keys are worth.
    values: dict[str, JSON]
    #: Which of them only a default says.
    defaults: frozenset[str]
    #: The line of its row; 0 without a table.
    line: int
    #: Equal for jobs that differ in prompt and name only; None where that cannot be told.
    form: object


class Entry:
    """An entry with its templates compiled."""

    def __init__(
        self,
        index: int,
        own: Mapping[str, JSON],
        defaults: Mapping[str, JSON],
        tree: Tree,
        collector: Collector,
    ) -> None:
        self.index = index
        self.own = {name: value for name, value in own.items() if name not in _FRAME}
        self.frame = {name: own[name] for name in _FRAME if own.get(name) is not None}
        self.defaults = {name: value for name, value in defaults.items() if name not in self.own}
        self._default_names = frozenset(self.defaults)
        #: What unknown keys of it were probably meant to be.
        self.meant: frozenset[str] = frozenset()
        self.table: Table | None = None
        self.combinations: list[dict[str, JSON]] = [{}]
        self._tree = tree
        self._collector = collector
        self._constants: dict[str, JSON] = {}
        self._renders: list[tuple[str, Render]] = []
        #: Keys whose template names what no row has.
        self._hopeless: set[str] = set()
        #: Key → the first column its template names; empty for the row, None for neither.
        self._columns_behind: dict[str, str | None] = {}
        for name, value in {**self.defaults, **self.own}.items():
            self._compile(name, value)
        self._rendered = [name for name, _ in self._renders if name not in _OUTSIDE_FORM]
        self._when = self._condition(self.frame.get("when"))

    @property
    def columns(self) -> set[str]:
        """The names of the row and the matrix, as far as they are known beforehand."""
        header = self.table.header if self.table else ()
        return {*header, *(name for each in self.combinations for name in each)}

    def give(self, base: Scope) -> Iterator[Given]:
        """Every job to be: each row × each combination for which `when` holds."""
        fixed = self._open_keys(self.columns)
        # Rows of JSONL bring their own columns, and combinations differ through `include`.
        varied = (self.table is not None and not self.table.header) or len(self.combinations) > 1
        alone = not base and not any(self.combinations)
        for line, row in self.table.rows if self.table else [(0, {})]:
            for combination in self.combinations:
                scope = row if alone else {**base, **row, **combination}
                keys = self._open_keys(row.keys() | combination.keys()) if varied else fixed
                if self._when is not None and not self._holds(scope, line):
                    continue
                values = self._values(scope, keys, line)
                if values is not None:
                    defaults = self._only_defaults(scope, keys)
                    yield Given(scope, values, defaults, line, self._form(keys, values, defaults))

    def place(self, path: ArgumentPath, line: int = 0, *, key: bool = False) -> Place:
        """Where a value of a job was said: in the job, a cell, the matrix or the defaults."""
        name = path[0] if path else ""
        if name not in self.own and name in (self.own.get("params") or ()):
            path = ("params", *path)
            name = "params"
        if name in self.own or name in self.frame:
            return self._cell_behind(name, line) or self._tree.place(
                ("jobs", self.index, *path), key=key
            )
        if any(name in combination for combination in self.combinations):
            return self._tree.place(("jobs", self.index, "matrix", name), key=key)
        if line and name and self.table and (not self.table.header or name in self.table.header):
            return self._cell(line, str(name))
        if name in self.defaults:
            return self._tree.place(("defaults", *path), key=key)
        return self.home(line)

    def check_columns(self) -> None:
        """Warn of columns that nobody uses and that are nearly a key of jobs."""
        condition = f"{{{{ {self.frame.get('when')} }}}}"
        used = names_in([self.own, self.defaults, self.frame, condition])
        for column in self.table.header if self.table else ():
            near = nearest(column.lower(), fields.JOB, cutoff=0.85)
            if near and column not in fields.JOB and column not in used:
                message = "no key of a job has this name, so it changes nothing"
                self._collector.warn(self._cell(1, column), message, "unused-column", near)

    def find(self, job: Job, path: ArgumentPath) -> Place:
        """Where an argument of one of this entry's jobs was said."""
        line = job.place.line if self.table and job.place.file == self.table.file else 0
        if "endpoint" in self.own:
            path = ("input", *path)
        return self.place(path, line)

    def home(self, line: int = 0) -> Place:
        """Where the job as a whole stands."""
        if line and self.table:
            return Place(self.table.file, line)
        return self._tree.place(("jobs", self.index))

    def complain(self, complaint: Complaint, line: int = 0) -> None:
        """Note a complaint about this entry or one of its jobs."""
        if complaint.code == "missing" and any(
            f"`{name}`" in complaint.message for name in self.meant
        ):
            return  # there is a complaint about how it is spelt
        key = complaint.code in ("unknown-parameter", "unknown-key", "conflict")
        self._collector.complain(self.place(complaint.path, line, key=key), complaint)

    def warn(self, complaint: Complaint, line: int = 0) -> None:
        """Note a doubt about this entry or one of its jobs."""
        place = self.place(complaint.path, line)
        self._collector.warn(place, complaint.message, complaint.code, complaint.hint)

    def _compile(self, name: str, value: JSON) -> None:
        try:
            render = compile_value(value, (name,))
        except TemplateFault as fault:
            self._fault(fault, 0)
            render = None
        if render is None:
            self._constants[name] = value
        else:
            self._renders.append((name, render))

    def _condition(self, value: JSON) -> Render | None:
        if value is None:
            return None
        if not isinstance(value, str):
            return lambda _scope: value
        try:
            return compile_condition(value, ("when",))
        except TemplateFault as fault:
            self._fault(fault, 0)
            return None

    def _holds(self, scope: Scope, line: int) -> bool:
        assert self._when is not None
        if "when" in self._hopeless:
            return False
        try:
            return truth(self._when(scope))
        except TemplateFault as fault:
            self._fault(fault, line)
            return False

    def _values(self, scope: Scope, keys: list[str], line: int) -> dict[str, JSON] | None:
        values = self._constants.copy()
        for name in keys:
            # An empty cell leaves the key open; null is somebody's word.
            if (cell := scope[name]) != "":
                values[name] = cell
        sound = True
        for name, render in self._renders:
            if name in values:
                continue  # a default's template, and the row has said it
            if name in self._hopeless:
                sound = False
                continue
            try:
                values[name] = render(scope)
            except TemplateFault as fault:
                self._fault(fault, line)
                sound = False
        return values if sound else None

    def _form(
        self, keys: list[str], values: Mapping[str, JSON], defaults: frozenset[str]
    ) -> object:
        varying = [name for name in keys if name not in _OUTSIDE_FORM] + self._rendered
        if not varying:
            return self.index, defaults
        # What is not said is not in it; and 1, 1.0 and True are equal, but not the same to say.
        said = [(name, values[name], type(values[name])) for name in varying if name in values]
        form = (self.index, defaults, *said)
        try:
            hash(form)
        except TypeError:
            return None
        return form

    def _only_defaults(self, scope: Scope, keys: list[str]) -> frozenset[str]:
        if not self._default_names or self._default_names.isdisjoint(keys):
            return self._default_names
        return self._default_names - {name for name in keys if scope[name] != ""}

    def _open_keys(self, names: set[str]) -> list[str]:
        """The columns that are job keys which the job itself leaves open."""
        raw = "endpoint" in names or "endpoint" in self.own
        # A table of products has a price that is none of ours.
        skip = self.own.keys() if raw else {*self.own, *_RAW_ONLY}
        return [name for name in names if name in fields.JOB and name not in skip]

    def _fault(self, fault: TemplateFault, line: int) -> None:
        complaint = Complaint(fault.path, fault.message, fault.code, self._hint(fault))
        if fault.code == "unknown-variable" and (self.table is None or self.table.header):
            # The template's mistake, once, and not that of each of 100,000 rows.
            self._hopeless.add(str(fault.path[0]))
            place = self._tree.place(self._written(fault.path))
        else:
            place = self.place(fault.path, line)
        self._collector.complain(place, complaint)

    def _hint(self, fault: TemplateFault) -> str:
        if self.table and fault.suggestion in self.table.header:
            return f"did you mean the column `{fault.suggestion}` of {self.table.file}?"
        return fault.hint

    def _written(self, path: ArgumentPath) -> ArgumentPath:
        if path and path[0] in self.defaults:
            return ("defaults", *path)
        return ("jobs", self.index, *path)

    def _cell_behind(self, name: object, line: int) -> Place | None:
        """Where a key that the job says by a template comes from: its first column, or the row."""
        if not line or self.table is None or not isinstance(name, str):
            return None
        if name not in self._columns_behind:
            value = self.own.get(name)
            names = names_in(value)
            column = next((each for each in self.table.header if each in names), None)
            # Rows of JSONL have no header to find a column in.
            whole_row = "" if is_template(value) and not self.table.header else None
            self._columns_behind[name] = column or whole_row
        column = self._columns_behind[name]
        if column is None:
            return None
        return self._cell(line, column) if column else self.home(line)

    def _cell(self, line: int, column: str) -> Place:
        assert self.table is not None
        return Place(self.table.file, line, cell=column)
