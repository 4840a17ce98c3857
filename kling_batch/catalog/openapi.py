"""OpenAPI documents of fal's endpoints, read leniently: what is missing or odd is empty. Pure.

They come from outside. Must not fetch them, and must not compare them with anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from kling_batch.core.jobs import JSON

#: Parts of a document that are read for one value: references multiply, and go in circles.
_MOST_PARTS = 200
#: Forms of one value that are looked at; alternatives of alternatives multiply.
_MOST_FORMS = 50


def input_schema(document: JSON, endpoint_id: str) -> Schema | None:
    """The schema of an endpoint's input, or None where the document has none."""
    body = input_as_written(document, endpoint_id)
    return None if body is None else body.resolved()


def input_as_written(document: JSON, endpoint_id: str) -> Schema | None:
    """The same with its references and alternatives."""
    if not isinstance(document, Mapping):
        return None
    whole = Schema(document, document)
    paths = whole.part("paths")
    posts = [path.part("post") for path in paths.parts() if path.name.strip("/") == endpoint_id]
    posts += [path.part("post") for path in paths.parts()]
    for post in posts:
        body = post.part("requestBody").part("content").part("application/json").part("schema")
        if body.resolved().properties:
            return body
    return None


class _Allowance:
    """Parts that may still be read for one value; what is beyond is empty: it takes anything."""

    def __init__(self) -> None:
        self._left = _MOST_PARTS

    def take(self) -> bool:
        """Whether one more may be read."""
        self._left -= 1
        return self._left >= 0


class Schema:
    """A part of an OpenAPI document; what is missing is empty."""

    def __init__(self, value: JSON, document: JSON, name: str = "") -> None:
        """`document` resolves references."""
        self.value: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        self.name = name
        self._document = document

    def part(self, name: str) -> Schema:
        """The part of this name."""
        return Schema(self.value.get(name), self._document, name)

    def parts(self) -> list[Schema]:
        """All parts that have names."""
        return [Schema(value, self._document, str(name)) for name, value in self.value.items()]

    def resolved(self) -> Schema:
        """What it refers to, its own words kept; of alternatives the first that is not null."""
        return self.resolved_within(_Allowance())

    def resolved_within(self, allowance: _Allowance) -> Schema:
        """The same, as far as parts are left."""
        merged = dict(self.value)
        reference = merged.pop("$ref", None)
        inner: list[Schema] = []
        if isinstance(reference, str) and reference.startswith("#/"):
            inner.append(self._at(reference))
        for key in ("allOf", "anyOf", "oneOf"):
            alternatives = merged.pop(key, None)
            for each in alternatives if isinstance(alternatives, list) else []:
                if not (isinstance(each, Mapping) and each.get("type") == "null"):
                    inner.append(Schema(each, self._document))
                    if key != "allOf":
                        break
        for each in inner:
            if allowance.take():
                merged = {**each.resolved_within(allowance).value, **merged}
        return Schema(merged, self._document, self.name)

    @cached_property
    def forms(self) -> list[Schema]:
        """Every form that a value may have, with references and `allOf` filled in; null is none."""
        found = self.forms_beyond(frozenset(), _Allowance())
        return [Schema(form, self._document, self.name) for form in found]

    def forms_beyond(self, seen: frozenset[str], allowance: _Allowance) -> list[dict[str, Any]]:
        """The same as plain mappings; `seen` are the references that have led here."""
        if not allowance.take():
            return [{}]
        merged = dict(self.value)
        together, alternatives = _list(merged.pop("allOf", None)), []
        for key in ("anyOf", "oneOf"):
            alternatives += [each for each in _list(merged.pop(key, None)) if not _is_null(each)]
        reference = merged.pop("$ref", None)
        if isinstance(reference, str) and reference.startswith("#/") and reference not in seen:
            seen |= {reference}
            together = [self._at(reference).value, *together]
        found = [merged]
        for each in together:
            inner = Schema(each, self._document).forms_beyond(seen, allowance)
            found = _fewer([_both(form, one) for form in inner for one in found])
        if alternatives:
            inner = [
                form
                for each in alternatives
                for form in Schema(each, self._document).forms_beyond(seen, allowance)
            ]
            found = _fewer([_both(form, one) for form in inner for one in found])
        return found

    def _at(self, reference: str) -> Schema:
        target = Schema(self._document, self._document)
        for name in reference[2:].split("/"):
            target = target.part(name)
        return target

    @property
    def nullable(self) -> bool:
        """Whether null is a value of it, in either version of OpenAPI."""
        alternatives = [*_list(self.value.get("anyOf")), *_list(self.value.get("oneOf"))]
        kinds, choices = self.value.get("type"), _list(self.value.get("enum"))
        return (
            self.value.get("nullable") is True
            or "null" in (kinds if isinstance(kinds, list) else [kinds])
            or None in choices
            or any(map(_is_null, alternatives))
        )

    @cached_property
    def fields(self) -> dict[str, Schema]:
        """The fields of an object, as they are written."""
        return {each.name: each for each in self.part("properties").parts()}

    @cached_property
    def items(self) -> Schema:
        """What each item of a list is."""
        return self.part("items")

    @cached_property
    def others(self) -> Schema:
        """What each further field of an object is."""
        return self.part("additionalProperties")

    @property
    def properties(self) -> dict[str, Schema]:
        """The fields of an object."""
        return {each.name: each.resolved() for each in self.part("properties").parts()}

    @property
    def required(self) -> frozenset[str]:
        """The fields that an object must have."""
        names = self.value.get("required")
        return frozenset(map(str, names)) if isinstance(names, list) else frozenset()

    @property
    def choices(self) -> tuple[str, ...]:
        """Its enum as text; empty where it has none."""
        values = self.value.get("enum")
        return tuple(str(v) for v in values if v is not None) if isinstance(values, list) else ()

    def number(self, name: str) -> float | None:
        """A limit, where it is a number."""
        value = self.value.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if number else None


def _fewer(forms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """No more than can be looked at; one of those that are left out may be the right one."""
    return forms if len(forms) <= _MOST_FORMS else [*forms[: _MOST_FORMS - 1], {}]


def _both(inner: Mapping[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
    """Two schemas that hold together; where both say something, the outer one is nearer."""
    fields = [each.get("properties") for each in (inner, outer)]
    names = [name for each in (inner, outer) for name in _list(each.get("required"))]
    merged = {**inner, **outer}
    if all(isinstance(each, Mapping) for each in fields):
        merged["properties"] = {**inner["properties"], **outer["properties"]}
    return {**merged, "required": names} if names else merged


def _is_null(schema: JSON) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _list(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []
