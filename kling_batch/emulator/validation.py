"""Validation of inputs by the runner: every error, as entries of a 422 `detail` list.

As on fal, a submission is accepted without it; the errors appear in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .endpoints import PROMPT_LIMIT, SHOT_LIMIT, Endpoint, Field
from .errors import detail

Detail = dict[str, Any]
Path = tuple[str | int, ...]


def complaints(endpoint: Endpoint, payload: Mapping[str, Any], *, strict: bool) -> list[Detail]:
    """Every error of the input; `strict` also refuses fields that the endpoint does not have."""
    if not endpoint.known:
        return []
    found: list[Detail] = []
    for name, rule in endpoint.fields.items():
        found += _field(rule, payload.get(name), (name,), payload)
    found += _prompts(endpoint, payload)
    found += _references(endpoint, payload)
    found += _views(endpoint, payload)
    if strict:
        found += [
            detail("extra_forbidden", "Extra inputs are not permitted", [name], given=value)
            for name, value in payload.items()
            if name not in endpoint.fields
        ]
    return found


def _field(rule: Field, value: object, path: Path, payload: Mapping[str, Any]) -> Iterator[Detail]:
    if value is None:
        if rule.required and path[-1] not in payload:
            yield detail("missing", "Field required", path, given=dict(payload))
        elif rule.required:
            yield _wrong_type("string", path, value)
        return
    yield from _CHECKS[rule.kind](rule, value, path)


def _text(rule: Field, value: object, path: Path) -> Iterator[Detail]:
    if not isinstance(value, str):
        yield _wrong_type("string", path, value)
    elif rule.high is not None and len(value) > rule.high:
        msg = f"String should have at most {rule.high} characters"
        yield detail("string_too_long", msg, path, given=value, ctx={"max_length": rule.high})


def _url(_rule: Field, value: object, path: Path) -> Iterator[Detail]:
    if not isinstance(value, str):
        yield _wrong_type("string", path, value)
    elif not value.startswith(("https://", "http://", "data:")):
        yield detail("url_parsing", "Input should be a valid URL", path, given=value)


def _urls(rule: Field, value: object, path: Path) -> Iterator[Detail]:
    if not isinstance(value, list):
        yield _wrong_type("list", path, value)
        return
    if rule.high is not None and len(value) > rule.high:
        yield _too_many(rule.high, path, value)
    for index, each in enumerate(value):
        yield from _url(rule, each, (*path, index))


def _texts(rule: Field, value: object, path: Path) -> Iterator[Detail]:
    if not isinstance(value, list):
        yield _wrong_type("list", path, value)
        return
    if rule.high is not None and len(value) > rule.high:
        yield _too_many(rule.high, path, value)
    for index, each in enumerate(value):
        if not isinstance(each, str):
            yield _wrong_type("string", (*path, index), each)


def _enum(rule: Field, value: object, path: Path) -> Iterator[Detail]:
    if value not in rule.allowed:
        expected = _either(rule.allowed)
        msg = f"Input should be {expected}"
        yield detail("literal_error", msg, path, given=value, ctx={"expected": expected})


def _bool(_rule: Field, value: object, path: Path) -> Iterator[Detail]:
    if not isinstance(value, bool) and value not in (0, 1, "true", "false", "0", "1"):
        msg = "Input should be a valid boolean, unable to interpret input"
        yield detail("bool_parsing", msg, path, given=value)


def _int(rule: Field, value: object, path: Path) -> Iterator[Detail]:
    try:
        number = int(value) if isinstance(value, int | str) else None
    except ValueError:
        number = None
    if number is None or isinstance(value, bool):
        msg = "Input should be a valid integer, unable to parse string as an integer"
        yield detail("int_parsing", msg, path, given=value)
    else:
        yield from _range(rule, number, value, path)


def _float(rule: Field, value: object, path: Path) -> Iterator[Detail]:
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):  # an endless whole number
        number = None
    if number is None or isinstance(value, bool):
        msg = "Input should be a valid number, unable to parse string as a number"
        yield detail("float_parsing", msg, path, given=value)
    else:
        yield from _range(rule, number, value, path)


def _range(rule: Field, number: float, value: object, path: Path) -> Iterator[Detail]:
    if rule.low is not None and number < rule.low:
        msg = f"Input should be greater than or equal to {rule.low}"
        yield detail("greater_than_equal", msg, path, given=value, ctx={"ge": rule.low})
    elif rule.high is not None and number > rule.high:
        msg = f"Input should be less than or equal to {rule.high}"
        yield detail("less_than_equal", msg, path, given=value, ctx={"le": rule.high})


def _shots(rule: Field, value: object, path: Path) -> Iterator[Detail]:
    if rule.high is not None and isinstance(value, list) and len(value) > rule.high:
        yield _too_many(rule.high, path, value)
    for shot, where in _objects(value, path):
        if isinstance(shot, Mapping):
            prompt = Field("text", required=True, high=SHOT_LIMIT)
            yield from _field(prompt, shot.get("prompt"), (*where, "prompt"), shot)
            duration = Field("enum", allowed=rule.allowed) if rule.allowed else Field("int", low=1)
            yield from _field(duration, shot.get("duration"), (*where, "duration"), shot)
        else:
            yield _wrong_type("object", where, shot)


def _elements(rule: Field, value: object, path: Path) -> Iterator[Detail]:
    if rule.high is not None and isinstance(value, list) and len(value) > rule.high:
        yield _too_many(rule.high, path, value)
    for element, where in _objects(value, path):
        if isinstance(element, Mapping):
            urls = Field("urls", high=3)
            name = "reference_image_urls"
            yield from _field(urls, element.get(name), (*where, name), element)
            for name in ("frontal_image_url", "video_url"):
                yield from _field(Field("url"), element.get(name), (*where, name), element)
        else:
            yield _wrong_type("object", where, element)


def _object(_rule: Field, value: object, path: Path) -> Iterator[Detail]:
    if not isinstance(value, Mapping):
        yield _wrong_type("object", path, value)


def _objects_only(_rule: Field, value: object, path: Path) -> Iterator[Detail]:
    for each, where in _objects(value, path):
        if not isinstance(each, Mapping):
            yield _wrong_type("object", where, each)


_CHECKS: Mapping[str, Callable[[Field, object, Path], Iterator[Detail]]] = {
    "text": _text,
    "texts": _texts,
    "url": _url,
    "urls": _urls,
    "enum": _enum,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "shots": _shots,
    "elements": _elements,
    "object": _object,
    "objects": _objects_only,
}


def _objects(value: object, path: Path) -> Iterator[tuple[object, Path]]:
    """Items of a list; a value that is no list counts as one invalid item."""
    if not isinstance(value, list):
        yield value if not isinstance(value, Mapping) else None, path
        return
    for index, each in enumerate(value):
        yield each, (*path, index)


def _prompts(endpoint: Endpoint, payload: Mapping[str, Any]) -> Iterator[Detail]:
    """Errors of prompt and multi_prompt: exactly one of them, and shots that fit into one clip."""
    if "multi_prompt" not in endpoint.fields:
        return
    shots = payload.get("multi_prompt")
    if payload.get("prompt") is None and not shots:
        yield detail("missing", "Field required", ["prompt"], given=dict(payload))
    elif payload.get("prompt") is not None and shots and not endpoint.both_prompts:
        msg = "Value error, prompt and multi_prompt cannot be used together"
        yield detail("value_error", msg, [], given=dict(payload))
    elif (total := shot_seconds(shots)) > endpoint.shots:
        msg = f"Value error, the shots add up to {total} seconds, the limit is {endpoint.shots}"
        yield detail("value_error", msg, ["multi_prompt"], given=shots)


def shot_seconds(shots: object) -> int:
    """Total length of the shots; one without a duration lasts 5 s."""
    if not isinstance(shots, list):
        return 0
    durations = [str(s.get("duration") or "5") for s in shots if isinstance(s, Mapping)]
    return sum(int(d) for d in durations if d.isdecimal())


def _references(endpoint: Endpoint, payload: Mapping[str, Any]) -> Iterator[Detail]:
    if endpoint.references is None:
        return
    lists = [payload.get(name) for name in ("elements", "image_urls") if name in endpoint.fields]
    if sum(len(each) for each in lists if isinstance(each, list)) > endpoint.references:
        yield _too_many(endpoint.references, ("image_urls",), lists)


def _views(endpoint: Endpoint, payload: Mapping[str, Any]) -> Iterator[Detail]:
    """Where two views are needed, an element is a clip, or a frontal and a reference image."""
    elements = payload.get("elements")
    if not isinstance(elements, list):
        return
    if elements and payload.get("character_orientation") == "image":
        msg = "Value error, elements need character_orientation 'video'"
        yield detail("value_error", msg, ["elements"], given=elements)
    if not endpoint.views:
        return
    for index, each in enumerate(elements):
        if not isinstance(each, Mapping) or each.get("video_url"):
            continue
        if not each.get("frontal_image_url") or not each.get("reference_image_urls"):
            msg = "Value error, an image element needs a frontal image and a reference image"
            yield detail("value_error", msg, ["elements", index], given=dict(each))


def _too_many(limit: float, path: Path, value: object) -> Detail:
    msg = f"At most {limit} items are allowed"
    return detail("sequence_too_long", msg, path, given=value, ctx={"max_length": limit})


def _wrong_type(name: str, path: Path, value: object) -> Detail:
    return detail(f"{name}_type", f"Input should be a valid {name}", path, given=value)


def _either(words: Sequence[str]) -> str:
    quoted = [f"'{word}'" for word in words]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


__all__ = ["PROMPT_LIMIT", "complaints", "shot_seconds"]
