"""Readers of parameters: a written value to its normal form, with every error in it.

A reader never raises: it adds each error to the `Collector` with its path, and the caller decides.
Must not know endpoints, manifests or files. Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Final
from unicodedata import normalize

from kling_batch.catalog.parameter import REFERENCES, Parameter, media_taken
from kling_batch.core.diagnostics import Collector, nearest, show
from kling_batch.core.jobs import JSON, PICKED, JobKey, LocalFile, OutputOf
from kling_batch.core.urls import unreachable
from kling_batch.errors import ArgumentPath

#: The key of an `OutputOf` that names a job whose key is not computed yet.
UNRESOLVED = JobKey("")

#: How deep lists and mappings may be nested; the API needs five levels.
MOST_DEPTH = 60
#: Placeholder, for the rules, of a value that is given but could not be read.
UNREAD: Final = object()

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_REMOTE = re.compile(r"(?:https?://[^\s/]|data:)", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
#: Spreadsheet programs write 5.0 for 5.
_WHOLE = re.compile(r"\s*(-?[0-9]{1,18})(?:\.0*)?\s*")
#: Spreadsheet programs of some countries write 0,5 for 0.5.
_DECIMAL = re.compile(r"\s*-?[0-9]{1,18}(?:[.,][0-9]{1,18})?\s*")
#: So many times a limit that is in doubt is no doubt any more.
_FAR = 100
_REFERENCE_KEYS = ("job", "take", "output")


def read(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    """The normalised value, or None after an error."""
    return READERS[parameter.kind](parameter, value, path, problems)


def remote(url: str) -> bool:
    """Whether this text is a URL that fal can fetch: an http address or a data URI."""
    return _REMOTE.match(url) is not None


def from_json(value: JSON, opening: str) -> JSON:
    """The list or mapping that a cell or flag holds as JSON; any other value unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(opening):
        return value
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return value if deeper_than(read, MOST_DEPTH) else read


def deeper_than(value: JSON, levels: int) -> bool:
    """Whether mappings and lists are nested deeper than `levels`."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels <= 0 or any(deeper_than(inner, levels - 1) for inner in value)


def map_urls(
    parameter: Parameter,
    value: JSON,
    path: ArgumentPath,
    visit: Callable[[Parameter, JSON, ArgumentPath], JSON],
) -> JSON:
    """A copy of a value that was read, with each of its URLs replaced by the result of `visit`.

    Parts that could not be read are None in it.
    """
    if value is None or not parameter.holds_urls:
        return value
    if parameter.kind in REFERENCES:
        return visit(parameter, value, path)
    if parameter.item is not None:
        item = parameter.item
        return [map_urls(item, entry, (*path, n), visit) for n, entry in enumerate(value)]
    inner = {field.name: field for field in parameter.fields}
    return {
        name: map_urls(inner[name], entry, (*path, name), visit) for name, entry in value.items()
    }


def _text(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    if isinstance(value, str):
        text = value.strip()
    elif _is_number(value):
        text = json.dumps(value)  # all of its digits
    else:
        return _wrong_type(parameter, value, path, problems, "text")
    if not text:
        problems.error(path, f"`{parameter.name}` is empty", "empty")
    elif parameter.maximum is not None and len(text) > parameter.maximum:
        message = f"`{parameter.name}` has {len(text):,} characters; at most {parameter.maximum:,}"
        _beyond(parameter, path, message, "too-long", problems)
    return text


def _choice(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    if isinstance(value, str):
        word = value
    elif _is_number(value):
        word = str(int(value)) if value == value // 1 and abs(value) < 1e9 else show(value)
    else:
        return _wrong_type(parameter, value, path, problems, f"one of {parameter.allowed}")
    choice = parameter.spellings.get(word) or parameter.spellings.get(word.strip().lower())
    if choice is None and (number := whole_number(word)) is not None:
        choice = parameter.spellings.get(str(number))
    if choice is not None:
        return choice
    word = word.strip()
    message = f"`{parameter.name}` is {show(value)}; allowed: {parameter.allowed}"
    if parameter.open and word and isinstance(value, str):
        problems.warn(path, message, "undocumented-value", nearest(word, parameter.choices))
        return word
    hint = "" if word.isdecimal() else nearest(word, parameter.spellings)
    problems.error(path, message, "wrong-value", hint)
    return None


def _whole(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    number = whole_number(value)
    if number is None:
        return _wrong_type(parameter, value, path, problems, "a whole number")
    return _ranged(parameter, number, path, problems)


def _decimal(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    number = decimal_number(value)
    if number is None:
        return _wrong_type(parameter, value, path, problems, "a number")
    return _ranged(parameter, number, path, problems)


def _ranged(
    parameter: Parameter, number: float, path: ArgumentPath, problems: Collector
) -> float | None:
    """The number, or None after an error because it is out of its range."""
    low, high = parameter.minimum, parameter.maximum
    message = f"`{parameter.name}` is {show(number)}; allowed: {low} to {high}"
    if low is not None and number < low:
        # Never a doubt: what is too little would have no price.
        problems.error(path, message, "out-of-range")
        return None
    if high is not None and number > high * _FAR:
        # No doubt about a limit goes so far, and no ledger could hold the price.
        problems.error(path, message, "out-of-range")
        return None
    if high is not None and number > high:
        _beyond(parameter, path, message, "out-of-range", problems)
        return number if parameter.open else None
    return number


def _beyond(
    parameter: Parameter, path: ArgumentPath, message: str, code: str, problems: Collector
) -> None:
    """Report a value beyond a limit: an error, or a warning where the limit is in doubt."""
    if parameter.open:
        problems.warn(path, f"{message}, by what is known of fal", code)
    else:
        problems.error(path, message, code)


def _flag(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    word = value.strip().lower() if isinstance(value, str) else str(value).lower()
    if isinstance(value, bool | str) or value in (0, 1):
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    return _wrong_type(parameter, value, path, problems, "true or false")


def scheme_of_no_use(text: str) -> str:
    """The scheme of an address that fal cannot fetch; empty: it can, or this is a path."""
    scheme = None if remote(text) else _SCHEME.match(text)
    return scheme[1].lower() if scheme else ""


def _url(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    if isinstance(value, LocalFile | OutputOf):
        return value
    if isinstance(value, list) and len(value) == 1:
        # Where another endpoint takes a list of such things, a list of one means the same.
        (value,) = value
    value = from_json(value.strip(), "{") if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return reference(value, path, problems)
    if not isinstance(value, str):
        expected = "an address, a file, or {job: …}"
        return _wrong_type(parameter, value, path, problems, expected)
    if not value:
        problems.error(path, f"`{parameter.name}` is empty", "empty")
    elif scheme := scheme_of_no_use(value):
        hint = "write the path alone" if scheme == "file" else "give an https address"
        known = scheme in ("http", "https")
        why = "it names no host" if known else f"{scheme}:// is not http(s)://"
        problems.error(path, f"fal cannot fetch {show(value)}: {why}", "wrong-value", hint)
    elif why := unreachable(value):
        hint = "give a public address, or the file itself"
        problems.error(path, f"{show(value)} {why}", "unreachable", hint)
    elif _wrong_data(parameter, value):
        message = f"`{parameter.name}` wants {parameter.media} data, not {show(value[:30])}"
        problems.error(path, message, "wrong-value")
    return value


def _voice(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    """The id of a voice, or the job that makes one."""
    if isinstance(value, OutputOf):
        return value
    value = from_json(value.strip(), "{") if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return reference(value, path, problems)
    return _text(parameter, value, path, problems)


def reference(
    value: Mapping[str, JSON], path: ArgumentPath, problems: Collector
) -> OutputOf | None:
    """`{job: …, take: …, output: …}` as an `OutputOf` whose key is not known yet."""
    before = len(problems.errors)
    for name in value:
        if name not in _REFERENCE_KEYS:
            message = f"`{name}` is not part of a reference; write {{job: …, take: …, output: …}}"
            problems.error((*path, name), message, "unknown-key", nearest(name, _REFERENCE_KEYS))
    job = value.get("job")
    if not isinstance(job, str | int) or isinstance(job, bool) or job == "":
        problems.error(path, "`job` must be the id of another job", "wrong-value")
    counts = {}
    for name in ("take", "output"):
        if name == "take" and value.get(name) == "picked":
            counts[name] = PICKED
            continue
        counts[name] = whole_number(value.get(name, 1)) or 0
        if not 1 <= counts[name] <= 1000:
            or_picked = ", or is `picked`" if name == "take" else ""
            message = f"`{name}` is {show(value[name])}; it counts from 1{or_picked}"
            problems.error((*path, name), message, "out-of-range")
    if len(problems.errors) > before:
        return None
    return OutputOf(
        key=UNRESOLVED,
        job_id=normalize("NFC", str(job)),
        take=counts["take"],
        index=counts["output"] - 1,
    )


def _list(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    item = parameter.item
    assert item is not None
    value = from_json(value, "[")
    if isinstance(value, str | Mapping | LocalFile | OutputOf):
        # A single value means a list of one, as the cell of a table cannot hold a list.
        value = [value]
    if not isinstance(value, list | tuple):
        return _wrong_type(parameter, value, path, problems, "a list")
    if not value:
        return None
    low, high = parameter.minimum or 0, parameter.maximum
    if len(value) < low or (high is not None and len(value) > high):
        message = f"`{parameter.name}` has {len(value)} items; allowed: {low} to {high}"
        _beyond(parameter, path, message, "wrong-count", problems)
    return [read(item, entry, (*path, n), problems) for n, entry in enumerate(value)]


def _object(parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector) -> JSON:
    value = from_json(value, "{")
    if not isinstance(value, Mapping):
        names = ", ".join(field.name for field in parameter.fields)
        return _wrong_type(parameter, value, path, problems, f"a mapping with {names}")
    known = {field.name: field for field in parameter.fields}
    result = {field.name: field.default for field in parameter.fields if field.default is not None}
    for name, entry in value.items():
        if name not in known:
            message = f"`{name}` is not part of `{parameter.name}`"
            problems.error((*path, name), message, "unknown-parameter", nearest(name, known))
        elif entry is not None:
            got = read(known[name], entry, (*path, name), problems)
            result |= {} if got is None else {name: got}
    for field_ in parameter.fields:
        if field_.required and value.get(field_.name) is None:
            problems.error(path, f"`{field_.name}` is missing", "missing")
    return result


READERS: Mapping[str, Callable[[Parameter, JSON, ArgumentPath, Collector], JSON]] = {
    "text": _text,
    "choice": _choice,
    "whole": _whole,
    "decimal": _decimal,
    "flag": _flag,
    "url": _url,
    "voice": _voice,
    "list": _list,
    "object": _object,
}


def whole_number(value: JSON) -> int | None:
    """The whole number that 3, 3.0, "3", "3.0" and "03" mean; None for anything else."""
    if isinstance(value, str) and (digits := _WHOLE.fullmatch(value)):
        return int(digits[1])
    if _is_number(value) and value == value // 1 and abs(value) < 1e18:
        return int(value)
    return None


def decimal_number(value: JSON) -> float | None:
    """The number that 0.5, "0.5", "0,5" and 1 mean; None for anything else."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return float(value.strip().replace(",", "."))
    return float(value) if _is_number(value) and abs(value) < 1e18 else None


def _is_number(value: JSON) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _wrong_data(parameter: Parameter, value: str) -> bool:
    start = value[:20].lower()
    kind = re.match(r"data:(image|video|audio)/", start)
    return kind is not None and not media_taken(parameter.media, kind[1])


def _wrong_type(
    parameter: Parameter, value: JSON, path: ArgumentPath, problems: Collector, expected: str
) -> None:
    problems.error(path, f"`{parameter.name}` must be {expected}, not {show(value)}", "wrong-type")
