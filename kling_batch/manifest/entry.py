"""An entry of `jobs:`: its templates, compiled once, the values of each job, and their places.

The value of a key comes from, in this order: the job itself, the row or the matrix, the defaults.
Must not know endpoints: `expand.py` makes jobs of the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from unicodedata import normalize

from kling_batch.core.diagnostics import Collector, InvalidValue, nearest
from kling_batch.core.jobs import JSON, Job
from kling_batch.errors import ArgumentPath, Place, Problem
from kling_batch.manifest.frame import JOB_KEYS
from kling_batch.manifest.needed_cells import NeededCells
from kling_batch.manifest.tables import FlawedRow, Table
from kling_batch.manifest.templating import (
    ROW,
    Render,
    RowVariable,
    Scope,
    compile_condition,
    compile_value,
    is_template,
    names_in,
    truth,
)
from kling_batch.manifest.yaml_source import Tree

#: Keys that decide how many jobs there are, not what one of them is like.
_FRAME = ("from", "matrix", "when")
_RAW_ONLY = ("input", "price")
#: Keys that a column of the same name does not set: a table may have its customers' reviews, and
#: how many jobs there are is decided before there is a row.
_NO_COLUMNS = frozenset({"review", *_FRAME})
#: Keys that may differ while the request stays the same but for its prompt.
_OUTSIDE_FORM = frozenset({"id", "prompt", "takes", "tags", "renditions"})
#: Where `renditions` is not said; null is a value of it: none.
UNSAID = object()


class Origin(NamedTuple):
    """The entry and the row that a job comes from; its problems are reported here."""

    entry: Entry
    #: The line of its row; 0 without a table.
    line: int
    #: The place of the job as a whole.
    place: Place

    def error(self, path: ArgumentPath, message: str, code: str, hint: str = "") -> None:
        """Report an error about the job's value at `path`."""
        self.entry.add_error(Problem.about(path, message, code, hint), self.line)

    def report(self, problems: Collector) -> None:
        """Report problems that are known by the path of a value only."""
        for problem in problems.warnings:
            self.entry.add_warning(problem, self.line)
        for problem in problems.errors:
            self.entry.add_error(problem, self.line)


class Given(NamedTuple):
    """The values of one job, templates rendered."""

    entry: Entry
    #: The line of its row; 0 without a table.
    line: int
    #: The place of the job as a whole.
    place: Place
    #: `id`, `takes`, `tags` and `renditions` are not checked yet.
    id: JSON
    takes: JSON
    tags: JSON
    #: `UNSAID` where nobody says.
    renditions: JSON
    #: The variables that its templates may name.
    scope: Scope
    values: Mapping[str, JSON]
    #: The names of the values that come from `defaults:`.
    defaults: frozenset[str]
    #: Equal for jobs that differ in prompt and name only; may hold what has no hash.
    form: object
    #: What `review:` says about draft and final; None without one.
    review: Mapping[str, Mapping[str, JSON]] | None = None

    @property
    def origin(self) -> Origin:
        """Where its problems are reported; made when needed, as most jobs have none."""
        return Origin(self.entry, self.line, self.place)


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
        #: The known keys that its unknown keys were probably meant to be.
        self.meant: frozenset[str] = frozenset()
        #: Variables without a value because of a mistake that is told elsewhere.
        self.lost: frozenset[str] = frozenset()
        #: The ids of its jobs whose templates have an error, and whether one has no id for that.
        self.failed: set[str] = set()
        self.unnamed = False
        self.table: Table | None = None
        self.combinations: list[dict[str, JSON]] = [{}]
        self._tree = tree
        self._collector = collector
        self._constants: dict[str, JSON] = {}
        self._renders: list[tuple[str, Render]] = []
        #: Keys whose template names a variable that no row has.
        self._hopeless: set[str] = set()
        #: Key → the first column its template names; empty for the row, None for neither.
        self._columns_behind: dict[str, str | None] = {}
        values = {**self.defaults, **self.own}
        self._cells = NeededCells(values)
        for name, value in values.items():
            self._compile(name, value)
        self._rendered = [name for name, _ in self._renders if name not in _OUTSIDE_FORM]
        self._when = self._condition(self.frame.get("when"))
        templates = {**values, "when": self._condition_text()}
        self._wants_row = any(ROW in names_in(value) for value in templates.values())

    @property
    def columns(self) -> set[str]:
        """The names of the row and the matrix, as far as they are known beforehand."""
        header = (*self.table.header, *self.table.names) if self.table else ()
        return {*header, *(name for each in self.combinations for name in each)} - {""}

    def give(self, base: Scope) -> Iterator[Given]:
        """The values of every job: each row × each combination for which `when` holds."""
        fixed = self._open_keys(self.columns)
        # Rows of JSONL bring their own columns, and combinations differ through `include`.
        varied = (self.table is not None and not self.table.header) or len(self.combinations) > 1
        alone = not base and not any(self.combinations)
        file = self.table.file if self.table else ""
        left_open = self.frame.get("when") is None and (varied or "when" in self.columns)
        # Nothing but prompt and name differs from row to row.
        uniform = not (varied or fixed or self._rendered)
        varying = self._varying(fixed)
        defaults, form = self._default_names, self._form(varying, {}, self._default_names)
        for line, row in self.table.rows if self.table else [(0, {})]:
            for combination in self.combinations:
                scope = row if alone else {**base, **row, **combination}
                if self._wants_row and self.table and ROW not in scope:
                    scope = {**scope, ROW: RowVariable(row)}
                keys = self._open_keys(row.keys() | combination.keys()) if varied else fixed
                if self._when is not None and not self._holds(scope, line):
                    continue
                if left_open and not _is_wanted(combination.get("when", row.get("when", ""))):
                    continue
                read = [*keys, "when"] if left_open else keys
                if isinstance(row, FlawedRow) and not self._usable(row, combination, read, line):
                    continue
                values = self._values(scope, keys, line)
                if values is not None:
                    if not uniform:
                        defaults = self._only_defaults(scope, keys)
                        varying = self._varying(keys) if varied else varying
                        form = self._form(varying, values, defaults)
                    yield Given(
                        self,
                        line,
                        Place(file, line) if line else self.home(),
                        values.pop("id", None),
                        values.pop("takes", None),
                        values.pop("tags", None),
                        values.pop("renditions", UNSAID),
                        scope,
                        values,
                        defaults,
                        form,
                        values.pop("review", None),
                    )

    def place(self, path: ArgumentPath, line: int = 0, *, key: bool = False) -> Place:
        """The place of a job's value: in the job, a cell, the matrix or the defaults."""
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
            return self._tree.place(self._written(path), key=key)
        return self.home(line)

    def check_columns(self) -> None:
        """Warn of unused columns whose names are close to a key of jobs."""
        used = names_in([self.own, self.defaults, self.frame, self._condition_text()])
        for column in self.table.header if self.table else ():
            near = nearest(column.lower(), JOB_KEYS - _NO_COLUMNS, cutoff=0.85)
            if near and column not in JOB_KEYS and column not in used:
                message = "no key of a job has this name, so it changes nothing"
                self._collector.warn(self._cell(1, column), message, "unused-column", near)

    def find(self, job: Job, path: ArgumentPath) -> Place:
        """The place of an argument of one of this entry's jobs."""
        line = job.place.line if self.table and job.place.file == self.table.file else 0
        if "endpoint" in self.own:
            path = ("input", *path)
        return self.place(path, line)

    def home(self, line: int = 0) -> Place:
        """The place of the job as a whole."""
        if line and self.table:
            return Place(self.table.file, line)
        return self._tree.place(("jobs", self.index))

    def add_error(self, problem: Problem, line: int = 0) -> None:
        """Report an error about this entry or one of its jobs, at its place."""
        if problem.code == "missing" and any(f"`{name}`" in problem.message for name in self.meant):
            return  # the misspelt key is reported already
        key = problem.code in ("unknown-parameter", "unknown-key", "conflict")
        self._collector.errors.append(problem.at(self.place(problem.path, line, key=key)))

    def add_warning(self, problem: Problem, line: int = 0) -> None:
        """Report a warning about this entry or one of its jobs, at its place."""
        self._collector.warnings.append(problem.at(self.place(problem.path, line)))

    def hint_for_duplicate(self, job_id: str) -> str:
        """What to do about an id that another job has already."""
        if "id" in self.own and (self.table or len(self.combinations) > 1):
            names = ", ".join(sorted(self.columns)[:8])
            return f'put a variable into the id, as in "{job_id}-{{{{ … }}}}" ({names})'
        if self.table:
            return "give each row another id"
        return "give it another id, or write `takes: 2` for another rendering"

    def _compile(self, name: str, value: JSON) -> None:
        try:
            render = compile_value(value, (name,))
        except InvalidValue as error:
            self._report(error, 0)
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
        except InvalidValue as error:
            self._report(error, 0)
            return None

    def _condition_text(self) -> str:
        """`when:` as a template, for the names in it."""
        text = str(self.frame.get("when", ""))
        return text if not text or is_template(text) else f"{{{{ {text} }}}}"

    def _usable(
        self, row: FlawedRow, combination: Mapping[str, JSON], keys: list[str], line: int
    ) -> bool:
        """Whether no key needs a cell that is blank or a spreadsheet's error; else report it."""
        needed = self._cells.lacking(row, combination, keys)
        for column in needed:
            hint = "fill it in, or remove the row"
            self._collector.error(
                self._cell(line, column), f"the cell {row.flaws[column]}", "flawed-cell", hint
            )
        return not needed

    def _holds(self, scope: Scope, line: int) -> bool:
        assert self._when is not None
        if "when" in self._hopeless:
            return False
        try:
            return truth(self._when(scope))
        except InvalidValue as error:
            self._report(error, line)
            return False

    def _values(self, scope: Scope, keys: list[str], line: int) -> dict[str, JSON] | None:
        values = self._constants.copy()
        for name in keys:
            # An empty cell leaves the key open; null is a value.
            if (cell := scope[name]) != "":
                values[name] = cell
        complete = True
        for name, render in self._renders:
            if name in values:
                continue  # a default's template, overridden by the row
            if name in self._hopeless:
                complete = False
                continue
            try:
                values[name] = render(scope)
            except InvalidValue as error:
                self._report(error, line)
                complete = False
        if not complete:
            self._note_failed(values.get("id"))
        return values if complete else None

    def _note_failed(self, job_id: JSON) -> None:
        """Remember the id of a job that is left out: what refers to it makes no mistake."""
        if isinstance(job_id, str | int) and str(job_id).strip():
            self.failed.add(normalize("NFC", str(job_id).strip()))
        else:
            self.unnamed = True

    def _varying(self, keys: list[str]) -> list[str]:
        """The keys in which requests may differ, where the row or the matrix sets these."""
        return [name for name in keys if name not in _OUTSIDE_FORM] + self._rendered

    def _form(
        self, varying: list[str], values: Mapping[str, JSON], defaults: frozenset[str]
    ) -> object:
        given = [values.get(name, UNSAID) for name in varying]
        # 1, 1.0 and True are equal, but not the same argument.
        return (self.index, defaults, *varying, *given, *map(type, given))

    def _only_defaults(self, scope: Scope, keys: list[str]) -> frozenset[str]:
        if not self._default_names or self._default_names.isdisjoint(keys):
            return self._default_names
        return self._default_names - {name for name in keys if scope[name] != ""}

    def _open_keys(self, names: set[str]) -> list[str]:
        """The columns that are job keys which the job itself leaves open."""
        raw = "endpoint" in names or "endpoint" in self.own
        # A `price` column of a product table is not the price of a render.
        skip = {*self.own, *_NO_COLUMNS} if raw else {*self.own, *_NO_COLUMNS, *_RAW_ONLY}
        return [name for name in names if name in JOB_KEYS and name not in skip]

    def _report(self, error: InvalidValue, line: int) -> None:
        if error.code == "unknown-variable" and (self.table is None or self.table.header):
            # An error of the template: reported once, not for each of 100,000 rows.
            self._hopeless.add(str(error.path[0]))
            if error.unknown in self.lost:
                return
            place = self._tree.place(self._written(error.path))
        elif error.unknown in self.lost:
            return
        else:
            place = self.place(error.path, line)
        self._collector.error(place, error.message, error.code, self._hint(error))

    def _hint(self, error: InvalidValue) -> str:
        if self.table and error.suggestion and error.suggestion in self.table.header:
            if not error.suggestion.isidentifier():
                return f'write {{{{ {ROW}["{error.suggestion}"] }}}} for this column'
            return f"did you mean the column `{error.suggestion}` of {self.table.file}?"
        return error.hint

    def _written(self, path: ArgumentPath) -> ArgumentPath:
        if path and path[0] == "review" and path[0] in self.defaults:
            return path
        if path and path[0] in self.defaults:
            return ("defaults", *path)
        return ("jobs", self.index, *path)

    def _cell_behind(self, name: object, line: int) -> Place | None:
        """The place of a key that is a template: the first column it names, or the row."""
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


def _is_wanted(cell: JSON) -> bool:
    """Whether a job exists by its own cell or value of `when`; an empty one leaves it open."""
    return cell in ("", None) or truth(cell)
