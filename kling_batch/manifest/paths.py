"""Output paths: the manifest's `path:` filled in for a job, valid on every operating system.

Must not touch the disk: a path is judged by its text alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from string import Formatter
from typing import TypeAlias

from kling_batch.core.diagnostics import InvalidValue, nearest
from kling_batch.core.jobs import JSON, take_suffix

Scope = Mapping[str, JSON]

DEFAULT_PATH = "{batch}/{mode}/{job}{suffix}{ext}"
FIELDS = ("batch", "model", "mode", "tier", "job", "take", "suffix", "ext")

#: Bytes left for the names of temporary files beside an artifact.
_MOST_BYTES_OF_NAME = 200
_MOST_BYTES = 1000
_RESERVED = r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])"
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f<>:\"|?*\\\ud800-\udfff]")
_RESERVED_NAME = re.compile(rf"{_RESERVED}(?:\..*)?", re.IGNORECASE)

_LONGEST_ID = 150
#: Ids that are valid as they are, as are files named like them; nearly all ids are plain.
_PLAIN_ID = re.compile(rf"(?!(?i:{_RESERVED})$)[A-Za-z0-9_][A-Za-z0-9_-]{{0,{_LONGEST_ID - 1}}}")
_ID = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|#{}\[\]\ud800-\udfff]")


Which: TypeAlias = tuple[str, str, str, str, int]
"""Batch, model, mode, tier and take of a job: what its path is made of, but for its id."""


class PathTemplate:
    """A parsed `path:`; `fill` makes a `Job.path`, which keeps `{output}` and `{ext}`."""

    def __init__(
        self, text: str = DEFAULT_PATH, known: Iterable[str] = (), *, open_names: bool = False
    ) -> None:
        """Raise `InvalidValue` where the text is no usable template.

        `known` are variables that may stand in it; `open_names` lets any name pass, where the
        columns of tables are still to be seen.
        """
        self.text = text = unicodedata.normalize("NFC", text)  # as variables and columns are
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise InvalidValue(f"{error}; for a brace as text write {{{{") from None
        names = [name for _, name, _, _ in parts if name is not None]
        if any(spec or conversion for _, _, spec, conversion in parts):
            raise InvalidValue("a field is a name alone, as in {job}")
        _check_names(names, {*FIELDS, *known, *(names if open_names else ())})
        if parts[-1][1] != "ext":
            raise InvalidValue("it must end in {ext}")
        if parts[-1][0].endswith("."):
            raise InvalidValue("{ext} brings its own dot")
        #: Measured at 100,000 rows: checking each whole path makes loading and planning 24 %
        #: slower (1.2 times the bare loop of `benchmarks/`).
        self._frames: dict[Which, tuple[str, str] | None] = {}
        #: Names that variables and columns have.
        self.names = frozenset(names) - frozenset(FIELDS)
        #: Names that only the columns of a table can have.
        self.open_names = self.names - frozenset(known)
        literals = [_escape(literal) for literal, _, _, _ in parts]
        slots = [
            "{output}{ext}" if name == "ext" and "suffix" not in names else _slot(name)
            for _, name, _, _ in parts
        ]
        self._pattern = "".join(
            literal.replace("%", "%%") + slot for literal, slot in zip(literals, slots, strict=True)
        )

    def fill(
        self,
        *,
        batch: str,
        mode: str,
        tier: str,
        job: str,
        take: int,
        model: str = "",
        scope: Scope | None = None,
    ) -> str:
        """`Job.path` for one take of a job; `scope` has the values of further names.

        Raises `InvalidValue` where the result is no safe path.
        """
        which = (batch, model, mode, tier, take)
        if is_plain_id(job) and (path := self.of_plain_id(which, job)) is not None:
            return path
        own = {name: self._value(name, scope or {}) for name in self.names}
        values = _values(*which)
        path = self._pattern % {**values, "job": job, **own}
        if problem := problem_of(path):
            raise InvalidValue(problem)
        return path

    def problem_of_batch(self, name: str) -> str:
        """Why a batch cannot have this name, or nothing: it would spoil the path of every job."""
        if why := problem_of_id(name):
            return why.replace("the id", "it")
        if name.startswith("~") and self.text.startswith("{batch}"):
            return f"`{name}` begins with `~`, and so would every path"
        why = _problem_of_name(name) if "{batch}" in self.text.split("/") else ""
        return why and f"it {why}"

    def _value(self, name: str, scope: Scope) -> str:
        if name not in scope:
            return ""  # of the rows of JSONL, each has names of its own
        value = scope[name]
        return "" if value is None else _escape(str(value))

    def of_plain_id(self, which: Which, job: str) -> str | None:
        """The short way for an id that `is_plain_id`; None where `fill` has to judge the path."""
        try:
            frame = self._frames[which]
        except KeyError:
            frame = self._frames[which] = self._frame(*which)
        return None if frame is None else f"{frame[0]}{job}{frame[1]}"

    def _frame(
        self, batch: str, model: str, mode: str, tier: str, take: int
    ) -> tuple[str, str] | None:
        """The text before and after the id, if every path made of them and a plain id is valid."""
        if self.names:
            return None
        parts = (self._pattern % {**_values(batch, model, mode, tier, take), "job": "\0"}).split(
            "\0"
        )
        if len(parts) != 2:
            return None
        before, after = parts
        # With letters beside it even a plain id could become a reserved name.
        alone = before[-1:] in ("", "/") and not after[:1].isalnum()
        longest = f"{before}{'x' * _LONGEST_ID}{after}"
        return (before, after) if alone and not problem_of(longest) else None


def _values(batch: str, model: str, mode: str, tier: str, take: int) -> dict[str, str | int]:
    names = {"batch": batch, "model": model or "raw", "mode": mode or "raw", "tier": tier or "raw"}
    return {**names, "suffix": take_suffix(take), "take": take}


def problem_of(path: str) -> str:
    """Why a filled path cannot be used, or nothing."""
    shown = path.format(output="", ext="")
    if path.startswith(("/", "~")) or re.match(r"[A-Za-z]:", path):
        return f"`{shown}` is absolute; paths stay below the output folder"
    if len(shown.encode("utf-8", "replace")) > _MOST_BYTES:
        return f"the path is longer than {_MOST_BYTES} bytes"
    for name in shown.split("/"):
        if why := _problem_of_name(name):
            return f"`{shown[:200]}` {why}"
    return ""


def name_of_file(file: PurePath) -> str:
    """The name of a batch whose file says none; paths begin with it, so that it has no `~`."""
    return file.stem.lstrip("~")


def is_plain_id(value: JSON) -> bool:
    """Whether a value is an id that needs no further check."""
    return isinstance(value, str) and _PLAIN_ID.fullmatch(value) is not None


def problem_of_id(job_id: str) -> str:
    """Why a text cannot be a job's id, or nothing."""
    if found := _ID.search(job_id):
        return f"the id may not contain {found[0]!r}"
    if not job_id or job_id != job_id.strip(" .") or len(job_id) > _LONGEST_ID:
        return "the id is empty, begins or ends with a space or a dot, or has over 150 characters"
    return ""


def folded(path: str) -> str:
    """A key that is equal for paths which some file system treats as the same."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _problem_of_name(name: str) -> str:
    if name in ("", ".", ".."):
        return "leaves the output folder or has an empty part"
    if found := _FORBIDDEN.search(name):
        return f"contains {found[0]!r}, which some systems do not allow"
    if name.endswith((" ", ".")) or name.startswith(" "):
        return "has a part that begins or ends with a space or a dot"
    if _RESERVED_NAME.fullmatch(name):
        return f"has the part `{name}`, which Windows reserves"
    if len(name.encode("utf-8", "replace")) > _MOST_BYTES_OF_NAME:
        return f"has a part of more than {_MOST_BYTES_OF_NAME} bytes"
    return ""


def unknown_name(name: str, known: Iterable[str]) -> str:
    """That there is nothing of this name, for people."""
    hint = nearest(name, known) or f"known: {', '.join(FIELDS)}"
    return f"`{{{name}}}` is not known ({hint})"


def _check_names(names: list[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise InvalidValue(unknown_name(name, known))
    for name in ("ext", "suffix"):
        if names.count(name) > 1:
            raise InvalidValue(f"{{{name}}} stands twice")
    if not {"job"} & set(names):
        raise InvalidValue("it must contain {job}, or all artifacts land in one file")


def _slot(name: str | None) -> str:
    if name is None:
        return ""
    return {"suffix": "%(suffix)s{output}", "ext": "{ext}"}.get(name, f"%({name})s")


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
