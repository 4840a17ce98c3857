"""YAML as plain values, with the line and column of each.

The only home of `yaml`. Values follow YAML 1.2: `16:9` and `2026-10-01` are text, `no` is not
false. Must not know what a manifest means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from kling_batch.catalog.parameters import MOST_DEPTH
from kling_batch.core.diagnostics import Collector, fatal, show
from kling_batch.core.jobs import JSON
from kling_batch.errors import ArgumentPath, ManifestError, Place, Problem
from kling_batch.manifest.cut_texts import COMMENT
from kling_batch.manifest.encoding import wide_encoding
from kling_batch.manifest.json_escapes import Source, half_at, join

#: Limits against accidents and attacks; large batches belong into tables.
MOST_BYTES = 64_000_000
MOST_VALUES = 5_000_000
TOO_DEEP = f"nested deeper than {MOST_DEPTH} levels"

_STARTS_OTHER = frozenset("+-.0123456789tTfFnN~")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?"
)
_WORDS: Final[dict[str, JSON]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_COMMENT = re.compile(r"[ \t]+(#[^\r\n]+)")
#: A value whose first character means something to YAML.
_SPECIAL_START = re.compile(r"(?:[:,{]|^\s*-)\s+([\[{*>|\"\'?-])")
#: What libyaml says of a text that begins with one, in its words.
_OF_BEGINNINGS = re.compile(
    r"did not find expected (key|'-' indicator|',' or '[\]}]'|node content|<document start>"
    r"|alphabetic or numeric character|comment or line break)|could not find expected ':'"
    r"|(mapping keys|block sequence entries) are not allowed in this context"
)
_HALF_A_CHARACTER = "found invalid Unicode character escape code"
#: What it says of a backslash in double quotes.
_ESCAPES = (
    _HALF_A_CHARACTER,
    "found unknown escape character",
    "did not find expected hexdecimal number",
)
#: Marks of YAML with which a plain text cannot begin.
_RESERVED = "@`%"
_CORE = "tag:yaml.org,2002:"
_RESOLVED_TAGS = frozenset(_CORE + name for name in ("int", "float", "bool", "null"))


class Node:
    """A value, its place, and for mappings and lists the nodes inside."""

    __slots__ = ("column", "height", "inside", "keys", "line", "size", "value")

    def __init__(self, value: JSON, line: int, column: int) -> None:
        self.value = value
        self.line = line
        self.column = column
        self.inside: dict[str | int, Node] = {}
        self.keys: dict[str | int, tuple[int, int]] = {}
        #: How many values this is once every alias is written out.
        self.size = 1
        #: How many levels it has below itself, aliases written out.
        self.height = 0

    def take_in(self, inner: Node) -> None:
        """Count a value inside this one."""
        self.size += inner.size
        self.height = max(self.height, inner.height + 1)


class Tree:
    """A parsed document: `value`, and the place of anything in it."""

    def __init__(self, file: str, root: Node, problems: Collector) -> None:
        self.file = file
        self.root = root
        self.problems = problems

    @property
    def value(self) -> JSON:
        """The whole document as plain values; shared ones must not be changed."""
        return self.root.value

    def place(self, path: ArgumentPath, *, key: bool = False) -> Place:
        """The place of the value at `path` (or of its key); of its nearest parent if missing."""
        node = self.root
        line, column = node.line, node.column
        for last, step in enumerate(path, start=1):
            inner = node.inside.get(step)
            if inner is None:
                break
            if key and last == len(path) and step in node.keys:
                line, column = node.keys[step]
            else:
                line, column = inner.line, inner.column
            node = inner
        return Place(self.file, line, column)


def parse(data: bytes, file: str) -> Tree:
    """The tree of one YAML document; `ManifestError` where it cannot be read at all."""
    if len(data) > MOST_BYTES:
        message = f"the file is larger than {MOST_BYTES // 1_000_000} MB"
        raise fatal(Place(file), message, "too-large", "put the jobs into a table")
    text = decode(data, file)
    if not text.strip():
        raise fatal(Place(file), "the file is empty", "empty", "`kling-batch init` writes a start")
    return _tree(file, Source(text))


def _tree(file: str, source: Source) -> Tree:
    builder = _Builder(file, source, yaml.parse(source.text, Loader=yaml.CSafeLoader))
    try:
        root = builder.document()
    except yaml.YAMLError as error:
        is_half = getattr(error, "problem", "") == _HALF_A_CHARACTER
        if is_half and (joined := join(source.text)):
            return _tree(file, joined)
        raise ManifestError((_syntax(error, file, source),)) from None
    return Tree(file, root, builder.problems)


def decode(data: bytes, file: str) -> str:
    """The text of UTF-8, with or without a byte order mark; `ManifestError` with a place if not."""
    if wide := wide_encoding(data[:64]):
        raise fatal(Place(file, 1, 1), f"the file is {wide}", "encoding", "save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        start = before.rfind(b"\n") + 1
        column = len(before[start:].decode("utf-8", "replace")) + 1
        place = Place(file, before.count(b"\n") + 1, column)
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise fatal(place, message, "encoding", "save the file as UTF-8") from None


def scalar(text: str) -> JSON:
    """The value of a plain (unquoted) scalar."""
    if text and text[0] not in _STARTS_OTHER:
        return text
    if text in _WORDS:
        return _WORDS[text]
    # Python refuses to read numbers with very many digits.
    if len(text) <= 400:
        if _INT.fullmatch(text):
            return int(text, 0) if text.startswith("0") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


class _Builder:
    """Builder of nodes from libyaml's events.

    Not from `yaml.compose`: it recurses in C, where older versions of libyaml have no limit of
    depth, it gives `5` and `!!str 5` the same node, and merges, duplicate keys and aliases would
    have to be checked in a second pass. ruamel.yaml takes 14 times as long.
    """

    def __init__(self, file: str, source: Source, events: Iterator[Any]) -> None:
        self.file = file
        self._source = source
        #: The innermost mapping's key whose value is being read.
        self._key_of_value = ""
        self.problems = Collector()
        self._events = events
        self._anchors: dict[str, Node | None] = {}
        #: The places of texts with an anchor that no alias has named yet.
        self._unused: dict[str, Place] = {}
        self._values = 0

    def document(self) -> Node:
        """The root of the only document."""
        event = self._next()
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            raise fatal(Place(self.file), "the file holds only comments", "empty")
        root = self._node(event, 0)
        while isinstance(event, yaml.Event) and not isinstance(event, yaml.StreamEndEvent):
            event = self._next()
            if isinstance(event, yaml.DocumentStartEvent):
                message = "a second document starts here; a manifest is one document"
                raise fatal(self._place(event), message, "syntax", "remove the line `---`")
        for anchor, place in self._unused.items():
            message = f"`&{anchor}` is left out of the text: YAML takes it for an anchor"
            self.problems.warn(place, message, "anchor", "quote the text if it is part of it")
        return root

    def _next(self) -> Any:
        return next(self._events)

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        node = Node(None, *self._at(event.start_mark))
        if event.anchor is not None:
            # None while it is being built: an alias to it from inside would never end.
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node.value = self._scalar(event)
            if event.anchor is not None and isinstance(node.value, str):
                self._unused[event.anchor] = self._place(event)
        else:
            self._allow(event, depth)
            inside = self._mapping if isinstance(event, yaml.MappingStartEvent) else self._sequence
            inside(node, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._count(1, event)
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        self._unused.pop(event.anchor, None)
        node = self._anchors.get(event.anchor)
        if node is None:
            known = "refers to itself" if event.anchor in self._anchors else "is not defined above"
            raise fatal(self._place(event), f"alias *{event.anchor} {known}", "syntax")
        self._count(node.size, event)
        self._allow(event, depth + node.height)
        return node

    def _allow(self, event: Any, depth: int) -> None:
        if depth >= MOST_DEPTH:
            raise fatal(self._place(event), TOO_DEEP, "too-deep")

    def _count(self, size: int, event: Any) -> None:
        self._values += size
        if self._values > MOST_VALUES:
            message = f"more than {MOST_VALUES:,} values once aliases are written out"
            raise fatal(self._place(event), message, "too-large")

    def _scalar(self, event: Any) -> JSON:
        if event.tag not in (None, "!", _CORE + "str", *_RESOLVED_TAGS):
            message = f"tag {event.tag.replace(_CORE, '!!')} means nothing here"
            self._problem(event, message, "syntax", "remove it")
        elif event.implicit[0] or event.tag in _RESOLVED_TAGS:
            value = scalar(event.value)
            if isinstance(value, str):
                self._warn_of_comment(event, value)
            return value
        return event.value

    def _warn_of_comment(self, event: Any, value: str) -> None:
        """Warn where a comment may have been meant as the rest of a plain text.

        Behind a prompt any comment may be; elsewhere one like `#1`, as comments begin with a space.
        """
        comment = _COMMENT.match(self._source.text, event.end_mark.index)
        if comment is None:
            return
        rest = comment[1].rstrip()
        if self._key_of_value.endswith("prompt") or not rest[1:2].isspace():
            message = f"the text ends before ` #`: {show(value)}; the rest is a comment"
            place = self._place(event)
            self.problems.warn(place, message, COMMENT, "quote the text if the rest is part of it")

    def _mapping(self, node: Node, depth: int) -> None:
        value: dict[str, JSON] = {}
        node.value = value
        merged: list[Node] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            name = self._key(event, depth)
            self._key_of_value = name or ""
            inner = self._node(self._next(), depth + 1)
            node.take_in(inner)
            if name is None:
                continue
            if name == "<<" and event.implicit[0]:
                merged += self._sources(event, inner)
                continue
            if name in value:
                first = node.keys[name][0]
                message = f"`{name}` stands twice in this mapping; first in line {first}"
                self._problem(event, message, "duplicate-key", "remove one of them")
                continue
            value[name] = inner.value
            node.inside[name] = inner
            node.keys[name] = self._at(event.start_mark)
        for source in merged:
            self._merge(node, source)

    def _key(self, event: Any, depth: int) -> str | None:
        """The text of a key as written: `1` and `true` are text too."""
        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        self._node(event, depth + 1)
        self._problem(event, "a key must be text", "syntax", 'templates need quotes: "{{ x }}"')
        return None

    def _sources(self, event: Any, inner: Node) -> list[Node]:
        nodes = list(inner.inside.values()) if isinstance(inner.value, list) else [inner]
        if not all(isinstance(node.value, dict) for node in nodes):
            self._problem(event, "`<<` merges mappings only", "syntax")
            return []
        return nodes

    @staticmethod
    def _merge(node: Node, source: Node) -> None:
        for name, inner in source.inside.items():
            if name not in node.inside:
                node.value[name] = inner.value
                node.inside[name] = inner
                node.keys[name] = source.keys[name]

    def _sequence(self, node: Node, depth: int) -> None:
        value: list[JSON] = []
        node.value = value
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            inner = self._node(event, depth + 1)
            node.take_in(inner)
            node.inside[len(value)] = inner
            value.append(inner.value)

    def _place(self, event: Any) -> Place:
        return Place(self.file, *self._at(event.start_mark))

    def _at(self, mark: Any) -> tuple[int, int]:
        """Line and column in the file."""
        return mark.line + 1, self._source.column(mark.index, mark.column) + 1

    def _problem(self, event: Any, message: str, code: str, hint: str = "") -> None:
        self.problems.error(self._place(event), message, code, hint)


def _syntax(error: yaml.YAMLError, file: str, source: Source) -> Problem:
    """The problem of a syntax error, reworded where libyaml's message is hard to understand."""
    text = source.text
    if isinstance(error, yaml.reader.ReaderError):
        where = text[: error.position]
        place = Place(file, where.count("\n") + 1, len(where) - where.rfind("\n"))
        return Problem(place, f"character U+{error.character:04X} is not allowed", "syntax")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Problem(Place(file), f"not YAML: {error}", "syntax")
    message = str(getattr(error, "problem", None) or error)
    place = Place(file, mark.line + 1, source.column(mark.index, mark.column) + 1)
    if message == "exceeded maximum nesting depth":
        # libyaml reads ahead for a key, and since 0.2.6 gives up at a depth of its own.
        return Problem(place, TOO_DEEP, "too-deep")
    if message in _ESCAPES:
        return Problem(place, *_of_escape(message, text, mark.index - 2))
    line = ([*text.split("\n"), ""])[mark.line] if mark.line < text.count("\n") + 1 else ""
    return Problem(place, *_reworded(message, line, mark.column))


def _reworded(message: str, line: str, column: int) -> tuple[str, str, str]:
    """Message, code and hint for a mark of YAML that was meant as text, or as room."""
    found = line[column : column + 1]
    hint = ""
    if found and found in _RESERVED and message.endswith("cannot start any token"):
        message = f"quote it: a plain value cannot begin with {found}"
    elif found == "\t" or "\t" in line[: len(line) - len(line.lstrip())]:
        message, hint = "a tab cannot indent YAML", "use spaces"
    elif message == "mapping values are not allowed in this context":
        hint = "text with `: ` in it needs quotes"
    elif line.lstrip()[:1] in ("%", "@", "`"):
        hint = "text that starts like this needs quotes"
    elif found == "," and message == "did not find expected node content":
        hint = "text that begins with , needs quotes around all of it"
    elif _OF_BEGINNINGS.fullmatch(message) and (begins := _SPECIAL_START.search(line)):
        hint = f"text that begins with {begins[1]} needs quotes around all of it"
    return f"not YAML: {message}", "syntax", hint


def _of_escape(message: str, text: str, index: int) -> tuple[str, str, str]:
    """Message, code and hint for a backslash in `"…"` that YAML does not understand."""
    half, whole = half_at(text, index) if message == _HALF_A_CHARACTER else ("", "")
    if half:
        told = f"`{half}` is half of a character" + ("" if whole else ", and the other is missing")
        return f"not YAML: {told}", "syntax", f"write {whole or 'the character'} itself"
    hint = "write \\\\ for a backslash in double quotes, or put the text in single quotes"
    return f"not YAML: {message}", "syntax", hint
