"""Loading of manifests: files on disk become batches of jobs.

    batch = load(Path("campaign.yaml"))      # ManifestError with every problem at once
    batch = single("text-to-video", "pro", {"prompt": "…"}, batch="video", id="…", cwd=Path())

Must not send or write anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

from kling_batch.core.diagnostics import Collector, InvalidValue, by_place, fatal, nearest, summary
from kling_batch.core.jobs import JSON, Batch, Job, JobKey, is_unpicked, parents
from kling_batch.core.locations import address_of, is_address
from kling_batch.core.memory import gc_paused
from kling_batch.errors import ArgumentPath, ManifestError, Place, Problem, UsageError
from kling_batch.manifest import fields
from kling_batch.manifest.cut_texts import as_sent
from kling_batch.manifest.entry import Entry
from kling_batch.manifest.expand import Expansion, combinations
from kling_batch.manifest.file_names import RENAME, FileNames, clashes
from kling_batch.manifest.frame import Manifest, read_valid
from kling_batch.manifest.graph import resolve
from kling_batch.manifest.inputs import Files, as_on_disk
from kling_batch.manifest.paths import FIELDS, PathTemplate, folded, name_of_file, unknown_name
from kling_batch.manifest.request import Requests
from kling_batch.manifest.single import single
from kling_batch.manifest.tables import check_is_file, is_table, open_table
from kling_batch.manifest.templating import names_in, rendered
from kling_batch.manifest.variables import read_variables
from kling_batch.manifest.yaml_source import MOST_BYTES, Node, Tree, parse
from kling_batch.settings import typed_path

__all__ = ["load", "load_all", "load_on", "single"]


def load(
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Batch:
    """The batch of a manifest, or of a table given instead of one.

    `variables` outrank `vars:`; `env:` names those of `environ`. Raises `ManifestError`.
    """
    with gc_paused():
        loading = _open(path, variables, environ)
        loading.refuse(loading.undeclared)
        return loading.batch()


def load_all(
    paths: Sequence[Path],
    *,
    variables: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Batch, ...]:
    """Several manifests; batch names and output files must differ, job ids need not."""
    problems: list[Problem] = []
    batches: list[Batch] = []
    with gc_paused():
        loadings: list[_Loading] = []
        for path in paths:
            try:
                loadings.append(_open(path, variables, environ))
            except ManifestError as error:
                problems += error.problems
        if len(loadings) == len(paths) > 0:
            # A variable needs to be known to one of them only.
            loadings[0].refuse(set.intersection(*(each.undeclared for each in loadings)))
        for loading in loadings:
            try:
                batches.append(loading.batch())
            except ManifestError as error:
                problems += error.problems
    if len(batches) > 1:
        problems += clashes(batches)
    if problems:
        raise ManifestError(tuple(sorted(problems, key=by_place)))
    return tuple(batches)


def load_on(
    path: Path, model: str, *, variables: Mapping[str, str] | None = None
) -> tuple[Batch, tuple[Problem, ...]]:
    """A manifest as if each of its jobs named this model, and what that model cannot make of it.

    The batch has the jobs that it can make. Raises `ManifestError` where the file cannot be read.
    """
    with gc_paused():
        return _open(path, variables, None, model).possible()


def _open(
    path: Path,
    variables: Mapping[str, str] | None,
    environ: Mapping[str, str] | None,
    model: str | None = None,
) -> _Loading:
    check_is_file(str(path), Place(str(path)))
    if is_table(path):
        # The path itself is opened: a name that is read again may mean a home folder or a template.
        tree = Tree(str(path), Node({"jobs": [{"from": "this table"}]}, 0, 0), Collector())
    else:
        tree = parse(_bytes(path), str(path))
    environ = os.environ if environ is None else environ
    return _Loading(path, tree, variables or {}, environ, model)


class _Loading:
    """The load of one manifest, step by step."""

    def __init__(
        self,
        path: Path,
        tree: Tree,
        variables: Mapping[str, str],
        environ: Mapping[str, str],
        model: str | None,
    ) -> None:
        self._path = path
        self._model = model
        self._given = variables
        self._tree = tree
        self._collector = tree.problems
        self._meant: dict[int, set[str]] = {}
        self._manifest = self._frame()
        self._base, self._lost, problems = read_variables(
            tree.value, self._manifest, variables, environ
        )
        for problem in problems.errors:
            self._add(problem, key=False)
        #: Variables of `--set` that this manifest does not have.
        self.undeclared = variables.keys() - self._base.keys() - self._lost

    def refuse(self, names: Iterable[str]) -> None:
        """Report variables of `--set` that do not exist: a typing error would cost money."""
        for name in sorted(names):
            hint = nearest(name, self._base) or f"declare it under `vars:` in {self._path.name}"
            message = "no variable of this name"
            self._collector.error(Place(f"variables: {name}"), message, "unknown-variable", hint)

    def batch(self) -> Batch:
        """The batch of this manifest; raises `ManifestError`."""
        batch = self._batch()
        self._collector.check()
        return replace(batch, warnings=self._warnings(batch))

    def possible(self) -> tuple[Batch, tuple[Problem, ...]]:
        """The batch without the jobs that have errors, and these errors."""
        batch = self._batch()
        return batch, tuple(sorted(self._collector.errors, key=by_place))

    def _batch(self) -> Batch:
        manifest = self._manifest
        path = self._path_template()
        name = self._name(path)
        output = self._output(manifest.output)
        requests = Requests(Files(self._path.parent), self._model)
        expansion = Expansion(name, path, requests, manifest.renditions)
        entries: dict[int, Entry] = {}

        def find(job: Job, path: ArgumentPath) -> Place:
            return entries[job.entry].find(job, path)

        for index, own in enumerate(manifest.entries):
            if own is not None:
                entries[index] = self._expand(expansion, index, own)
        self._check_path(expansion, entries.values())
        jobs = resolve(expansion)
        if not jobs and not self._collector.errors:
            message = "there is no job at all; every `when:` is false, or the table is empty"
            self._collector.error(self._tree.place(("jobs",)), message, "empty")
        self._check_rendition_names(jobs, expansion.files)
        return Batch(
            name=name,
            source=str(self._path),
            jobs=jobs,
            limits=manifest.limits,
            files=(str(self._path), *(e.table.file for e in entries.values() if e.table)),
            variables={name: self._given.get(name) for name in self._base},
            hooks=manifest.hooks,
            notify=manifest.notify,
            unpicked=bool(expansion.waiting) and any(map(_needs_pick, jobs)),
            output=output,
            renditions=manifest.renditions,
            locate=find,
        )

    def _warnings(self, batch: Batch) -> tuple[Problem, ...]:
        assert batch.locate is not None
        self._warn_of_duplicates(batch.jobs)
        return summary(as_sent(self._collector.warnings, batch.jobs, batch.locate))

    def _warn_of_duplicates(self, jobs: Sequence[Job]) -> None:
        if len({job.key for job in jobs}) == len(jobs):
            return  # as in nearly every batch, of which some are long
        first_of: dict[JobKey, Job] = {}
        for job in jobs:
            first = first_of.setdefault(job.key, job)
            if first is not job:
                message = f"`{job.label}` is the same render as `{first.label}`: paid for once"
                hint = "`takes: 2` asks for another one"
                self._collector.warn(job.place, message, "same-render", hint)

    def _check_rendition_names(self, jobs: Sequence[Job], files: FileNames) -> None:
        """Report renditions that would have the names of other jobs' files."""
        recipes = self._manifest.renditions
        if not recipes:
            return
        first_of: dict[str, str] = {}
        for name in recipes:
            first = first_of.setdefault(folded(name), name)
            if first != name:
                message = f"the renditions `{first}` and `{name}` would have the same file names"
                place = self._tree.place(("renditions", name), key=True)
                self._collector.error(place, message, "path-collision")
        for other, message in files.taken_by_renditions(jobs, recipes):
            self._collector.error(other.place, message, "path-collision", RENAME)

    def _frame(self) -> Manifest:
        if (valid := read_valid(self._tree.value)) is not None:
            return valid
        from kling_batch.manifest.schema import read_manifest  # noqa: PLC0415 - only for mistakes

        manifest, problems = read_manifest(self._tree.value)
        for problem in problems:
            key = problem.code == "unknown-key"
            self._add(problem, key=key)
            match problem.path:
                case ("jobs", int(index), _) if key:
                    self._meant.setdefault(index, set()).update(re.findall("`(.+?)`", problem.hint))
        return manifest

    def _name(self, path: PathTemplate) -> str:
        written = self._text(("name",), self._manifest.name)
        name = normalize("NFC", written or name_of_file(self._path))
        why = path.problem_of_batch(name)
        if why:
            message = f"the batch's name cannot be used: {why}"
            hint = "say `name:` with letters, digits, - and _"
            if is_table(self._path):
                hint = "rename the file, whose name it is: letters, digits, - and _"
            self._error(("name",), message, "wrong-name", hint)
        return "batch" if why else name

    def _output(self, written: str | None) -> str | None:
        output = self._text(("output",), written)
        if output is not None and is_address(output):
            try:
                address_of(output)
            except ValueError as error:
                self._error(("output",), str(error), "wrong-output")
        return output

    def _path_template(self) -> PathTemplate:
        known = {*self._base, *self._lost}
        for entry in self._manifest.entries:
            matrix = (entry or {}).get("matrix") or {}
            known |= set(matrix).union(*matrix.get("include") or ())
        tables = any("from" in (entry or ()) for entry in self._manifest.entries)
        try:
            template = PathTemplate(self._manifest.path, known, open_names=tables)
            return PathTemplate() if template.names & self._lost else template
        except InvalidValue as error:
            self._error(("path",), f"`path`: {error}", "wrong-path")
            return PathTemplate()

    def _check_path(self, expansion: Expansion, entries: Iterable[Entry]) -> None:
        """Report names in `path:` that no row of any table has."""
        tables = [entry for entry in entries if entry.table]
        if self._collector.errors or self._model or not all(each.columns for each in tables):
            return  # what has an error, or no row, may be the one that has the name
        columns = {*FIELDS, *self._base}.union(*(entry.columns for entry in entries))
        for name in sorted(expansion.path.open_names - columns):
            self._error(("path",), f"`path`: {unknown_name(name, columns)}", "wrong-path")

    def _expand(self, expansion: Expansion, index: int, own: Mapping[str, JSON]) -> Entry:
        defaults = self._manifest.defaults
        if self._manifest.review:
            defaults = {**defaults, "review": self._manifest.review}
        entry = Entry(index, own, defaults, self._tree, self._collector)
        entry.meant = frozenset(self._meant.get(index, ()))
        entry.lost = self._lost | self._cut_from_matrix(index, own)
        has_table = "from" not in entry.frame or self._open_table(entry)
        has_matrix = "matrix" not in entry.frame or self._open_matrix(entry)
        if has_table and has_matrix:
            try:
                expansion.add(entry.give(self._base))
            except ManifestError as error:
                # The table became unreadable in the middle: not UTF-8, or removed.
                self._collector.errors += error.problems
                has_table = False
        expansion.failed |= entry.failed
        if entry.unnamed or not (has_table and has_matrix):
            expansion.unnamed = True
        return entry

    def _cut_from_matrix(self, index: int, own: Mapping[str, JSON]) -> frozenset[str]:
        """Names of a job's matrix that were wrong, and so are no variables."""
        written = self._tree.value["jobs"][index].get("matrix")
        names = written if isinstance(written, Mapping) else ()
        return frozenset(names) - {*(own.get("matrix") or ())}

    def _open_table(self, entry: Entry) -> bool:
        path = ("jobs", entry.index, "from")
        if is_table(self._path):
            return self._read_table(entry, as_on_disk(self._path))
        before = len(self._collector.errors)
        name = self._text(path, entry.frame["from"])
        if name is None:
            told = len(self._collector.errors) > before
            if not told and not names_in(entry.frame["from"]) & self._lost:
                self._error(path, "`from` is empty (null) here", "wrong-value")
            return False
        try:
            check_is_file(name, self._tree.place(path))
            place = as_on_disk(self._path.parent / typed_path(name))
            if is_table(place) and not place.exists():
                start = f"paths start at {self._path.parent}{os.sep}"
                self._error(path, f"there is no table `{name}`", "no-file", start)
                return False
        except ManifestError as error:
            self._collector.errors += error.problems
            return False
        except (UsageError, OSError) as error:
            self._error(path, str(error), "unreadable")
            return False
        return self._read_table(entry, place)

    def _read_table(self, entry: Entry, place: Path) -> bool:
        try:
            entry.table = open_table(place, str(place), self._collector)
        except ManifestError as error:
            self._collector.errors += error.problems
            return False
        except OSError as error:
            self._error(("jobs", entry.index, "from"), str(error), "unreadable")
            return False
        entry.check_columns()
        return True

    def _open_matrix(self, entry: Entry) -> bool:
        matrix = entry.frame["matrix"]
        where = ("jobs", entry.index, "matrix")
        values = {name: self._render((*where, name), matrix[name], self._base) for name in matrix}
        if any(not isinstance(each, list) for each in values.values()):
            return False
        entry.combinations, problems = combinations(matrix, values)
        for problem in problems.errors:
            self._add(replace(problem, path=(*where, *problem.path)), key=True)
        return not problems.errors

    def _text(self, path: ArgumentPath, written: JSON) -> str | None:
        if written is None:
            return None
        value = self._render(path, written, self._base)
        try:
            return None if value is None else fields.text(value)
        except InvalidValue as error:
            self._error(path, f"`{path[-1]}` {error}", "wrong-value")
            return None

    def _render(self, path: ArgumentPath, written: JSON, scope: Mapping[str, JSON]) -> JSON:
        try:
            return rendered(written, scope)
        except InvalidValue as error:
            if error.unknown not in self._lost:
                self._error((*path, *error.path), error.message, error.code, error.hint)
            return None

    def _error(self, path: ArgumentPath, message: str, code: str, hint: str = "") -> None:
        self._collector.error(self._tree.place(path), message, code, hint)

    def _add(self, problem: Problem, *, key: bool) -> None:
        self._collector.errors.append(problem.at(self._tree.place(problem.path, key=key)))


def _needs_pick(job: Job) -> bool:
    return any(is_unpicked(need.key) for need in parents(job.arguments))


def _bytes(path: Path) -> bytes:
    try:
        data = bytearray()
        with path.open("rb") as file:
            # In pieces, because a device has no end.
            while len(data) <= MOST_BYTES and (piece := file.read(1 << 20)):
                data += piece
        return bytes(data)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise fatal(Place(str(path)), message, "unreadable") from None
