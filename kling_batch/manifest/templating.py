"""Templates in the strings of a manifest: compiled once, rendered for every job.

The only home of `jinja2` for manifests. Sandboxed and strict: a template sees its variables and
nothing else, an unknown name is an error, and nothing is random, since another prompt would be
another paid render. Must not know keys or places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from difflib import get_close_matches
from operator import itemgetter
from typing import Any
from unicodedata import normalize

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kling_batch.core.diagnostics import InvalidValue, reason
from kling_batch.core.jobs import JSON
from kling_batch.errors import ArgumentPath

Scope = Mapping[str, JSON]
Render = Callable[[Scope], JSON]

#: The variable that holds the whole row of a table.
ROW = "row"
_OPENS = re.compile(r"\{[{%#]")
_WHOLE = re.compile(r"\{\{[-+]?(.*?)[-+]?\}\}", re.DOTALL)
#: Two or more words, as people write the name of a column.
_SPACED = re.compile(r"\{\{-?\s*([^\W\d]\w*(?:[ -]+\w+)+)\s*-?\}\}")
_MOST_CHARACTERS = 1_000_000
#: Two nested loops of this length still end at once.
_LONGEST_RANGE = 1000


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that also refuses texts and numbers that would fill the memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The result, unless it would be huge."""
        if _too_much(operator, left, right):
            raise SecurityError(f"`{operator}` would make something huge")
        return super().call_binop(context, operator, left, right)


def _too_much(operator: str, left: object, right: object) -> bool:
    if isinstance(left, int | float) and isinstance(right, int | float):
        return max(abs(left), abs(right)) > (1e15 if operator == "*" else 64)
    return operator == "**" or _size(left) * _size(right) > _MOST_CHARACTERS


def _size(value: object) -> int:
    if isinstance(value, str | list | tuple):
        return len(value)
    return value if isinstance(value, int) else 1


#: Numbers with fewer bits can always be written as text; Python refuses some of the others.
_LONG = 2000

#: What Python writes for an object that has no text of its own: another at each run.
_PLACE_IN_MEMORY = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]{6,}>")


def _text(value: object) -> object:
    if value is None:
        raise UndefinedError("a variable of it is empty (null)")
    if not isinstance(value, str):
        _plain(value)  # what Python says of anything else differs from run to run
    return value


def _short_range(*arguments: int) -> range:
    numbers = range(*arguments)
    if len(numbers) > _LONGEST_RANGE:
        raise SecurityError(f"a range of more than {_LONGEST_RANGE:,}")
    return numbers


def _environment() -> _Environment:
    environment = _Environment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_text
    )
    # Jinja's own globals are random, or of no use in a line of text.
    environment.globals = {"range": _short_range, "namespace": environment.globals["namespace"]}
    del environment.filters["random"]
    return environment


_ENVIRONMENT = _environment()


#: A template that cannot be read; Python itself refuses a number of more than 4,300 digits.
_UNREADABLE = (TemplateError, RecursionError, ValueError)


def is_template(value: JSON) -> bool:
    """Whether a value has to be rendered."""
    if isinstance(value, str):
        return "{" in value and _OPENS.search(value) is not None
    if isinstance(value, Mapping):
        return any(is_template(inner) for inner in (*value, *value.values()))
    return isinstance(value, list | tuple) and any(map(is_template, value))


def names_in(value: JSON) -> set[str]:
    """Every variable that the templates of a value name; empty where they cannot be read."""
    if isinstance(value, Mapping):
        return {name for inner in (*value, *value.values()) for name in names_in(inner)}
    if isinstance(value, list | tuple):
        return {name for inner in value for name in names_in(inner)}
    if not is_template(value):
        return set()
    try:
        tree = _ENVIRONMENT.parse(normalize("NFC", value))
        return {*find_undeclared_variables(tree), *_columns(tree)}
    except _UNREADABLE:
        return set()


def unguarded_names(value: JSON) -> set[str]:
    """The variables of `names_in` that no condition, comparison or default of a template is about.

    Where there is one, the author has thought of an empty value.
    """
    if isinstance(value, Mapping):
        return {name for inner in value.values() for name in unguarded_names(inner)}
    if isinstance(value, list | tuple):
        return {name for inner in value for name in unguarded_names(inner)}
    if not is_template(value):
        return set()
    try:
        tree = _ENVIRONMENT.parse(normalize("NFC", value))
        guards = [part for node in tree.find_all(_GUARDS) for part in _guarding(node)]
        guarded = {each.name for part in guards for each in _names(part)}
        guarded |= {column for part in guards for column in _columns(part)}
        return names_in(value) - guarded
    except _UNREADABLE:
        return set()


_GUARDS = (
    nodes.If,
    nodes.CondExpr,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Test,
    nodes.For,
    nodes.Filter,
)


def _guarding(node: nodes.Node) -> list[nodes.Node]:
    """The part of a node that decides by a value, or the whole of it."""
    if isinstance(node, nodes.If | nodes.CondExpr):
        return [node.test]
    if isinstance(node, nodes.For):
        return [node.iter]
    if isinstance(node, nodes.Filter):
        return [node] if node.name in ("default", "d") else []
    return [node]


def _names(node: nodes.Node) -> list[nodes.Name]:
    return [*([node] if isinstance(node, nodes.Name) else []), *node.find_all(nodes.Name)]


def _columns(node: nodes.Node) -> set[str]:
    """The columns that are reached as `row["Product ID"]` or `row.title`."""
    found: set[str] = set()
    for each in (node, *node.find_all((nodes.Getitem, nodes.Getattr))):
        if isinstance(each, nodes.Getitem | nodes.Getattr) and isinstance(each.node, nodes.Name):
            column = each.attr if isinstance(each, nodes.Getattr) else _constant(each.arg)
            if each.node.name == ROW and isinstance(column, str):
                found.add(column)
    return found


def _constant(node: nodes.Node) -> object:
    return node.value if isinstance(node, nodes.Const) else None


class RowVariable(dict[str, JSON]):
    """The variable `row`: every column, also those whose names no variable could have."""

    def __missing__(self, name: object) -> JSON:
        raise _unknown(str(name), self, (), "column")


def compile_value(value: JSON, path: ArgumentPath = ()) -> Render | None:
    """A function from variables to the value, or None where the value is constant.

    Raises `InvalidValue`, as the function does.
    """
    if not is_template(value):
        return None
    if isinstance(value, str):
        return _compile_text(value, path)
    if isinstance(value, Mapping):
        return _compile_mapping(value, path)
    inner = [compile_value(entry, (*path, n)) for n, entry in enumerate(value)]
    pairs = list(zip(inner, value, strict=True))
    return lambda scope: [render(scope) if render else entry for render, entry in pairs]


def rendered(value: JSON, scope: Scope) -> JSON:
    """A value with its templates filled in, once; raises `InvalidValue`."""
    render = compile_value(value)
    return value if render is None else render(scope)


def compile_condition(text: str, path: ArgumentPath = ()) -> Render:
    """`when:`; a bare expression is one, as in GitHub Actions."""
    return _compile_text(text if is_template(text) else f"{{{{ {text} }}}}", path)


def truth(value: JSON) -> bool:
    """Whether a condition holds; the texts `no` and `0` of a table count as false."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "0", "false", "no", "off", "none", "null")
    return bool(value)


def _compile_mapping(value: Mapping[str, JSON], path: ArgumentPath) -> Render:
    for name in value:
        if is_template(name):
            raise _invalid(f"a key cannot be a template: `{name}`", (*path, name))
    triples = [(name, compile_value(entry, (*path, name)), entry) for name, entry in value.items()]
    return lambda scope: {name: render(scope) if render else each for name, render, each in triples}


def _compile_text(text: str, path: ArgumentPath) -> Render:
    text = normalize("NFC", text)  # names of columns are, too
    try:
        body = _ENVIRONMENT.parse(text).body
        parts = body[0].nodes if len(body) == 1 and isinstance(body[0], nodes.Output) else []
        if parts and all(isinstance(part, nodes.Name | nodes.TemplateData) for part in parts):
            return _substitution(parts, path)
        whole = _WHOLE.fullmatch(text) if len(parts) == 1 else None
        if whole:
            evaluate = _ENVIRONMENT.compile_expression(whole[1], undefined_to_none=False)
            return _guarded(lambda scope: _plain(evaluate(scope)), text, path)
        return _guarded(_ENVIRONMENT.from_string(text).render, text, path)
    except InvalidValue:
        raise
    except TemplateSyntaxError as error:
        message = f"template: {error.message}"
        hint = "for braces as text write {% raw %}…{% endraw %}"
        if spaced := _SPACED.search(text):
            hint = f'for a column of this name write {{{{ {ROW}["{spaced[1]}"] }}}}'
        raise _invalid(message, path, "template", hint) from None
    # Compiling runs Python's own compiler on what Jinja makes of the text: too deep, too large…
    except Exception as error:  # noqa: BLE001
        raise _invalid(f"template: {reason(error)}", path) from None


def _substitution(parts: list[nodes.Expr], path: ArgumentPath) -> Render:
    """Text with plain names in it, filled in without Jinja.

    Measured at 100,000 rows with two such templates: rendering them with Jinja makes loading and
    planning 58 % slower (3.0 times the bare loop of `benchmarks/`).
    """
    names = [part.name for part in parts if isinstance(part, nodes.Name)]
    if len(parts) == 1 and names:
        return _lookup(names[0], path)
    pattern = "".join(
        "%s" if isinstance(part, nodes.Name) else part.data.replace("%", "%%")
        for part in parts
        if isinstance(part, nodes.Name | nodes.TemplateData)
    )
    if not names:
        return lambda _scope: pattern.replace("%%", "%")
    pick = itemgetter(*names) if len(names) > 1 else lambda scope: (scope[names[0]],)

    def render(scope: Scope) -> str:
        try:
            values = pick(scope)
        except KeyError as error:
            raise _unknown(str(error.args[0]), scope, path) from None
        if None in values:
            empty = names[values.index(None)]
            raise _invalid(f"`{empty}` is empty (null) here", path)
        return pattern % values

    return render


def _lookup(name: str, path: ArgumentPath) -> Render:
    def render(scope: Scope) -> JSON:
        try:
            return scope[name]
        except KeyError:
            raise _unknown(name, scope, path) from None

    return render


def _invalid(
    message: str,
    path: ArgumentPath,
    code: str = "template",
    hint: str = "",
    suggestion: str = "",
) -> InvalidValue:
    return InvalidValue(message, hint, code=code, path=path, suggestion=suggestion)


def _unknown(name: str, scope: Scope, path: ArgumentPath, noun: str = "variable") -> InvalidValue:
    names = [each for each in scope if each not in (ROW, "")]
    alike = (each for each in names if _folded(each) == _folded(name))
    close = next(alike, "") or next(iter(get_close_matches(name, names, n=1)), "")
    known = f"known: {', '.join(names[:12]) or 'none'}"
    hint = f"did you mean `{close}`?" if close else known
    error = _invalid(f"there is no {noun} `{name}`", path, "unknown-variable", hint, close)
    error.unknown = name if noun == "variable" else ""
    return error


def _folded(name: str) -> str:
    """A name without what people see as spelling: case, blanks, hyphens."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def _guarded(render: Callable[[Scope], JSON], text: str, path: ArgumentPath) -> Render:
    names = names_in(text)

    def guarded(scope: Scope) -> JSON:
        try:
            value = render(scope)
        except UndefinedError as error:
            missing = sorted(name for name in names if name not in scope)
            if told := next((name for name in missing if f"'{name}'" in str(error)), ""):
                raise _unknown(told, scope, path) from None
            raise _invalid(f"template: {error}", path, "unknown-variable") from None
        except InvalidValue as error:
            raise _invalid(error.message, path, error.code, error.hint, error.suggestion) from None
        # A template runs what its author wrote: division by zero, text plus number…
        except Exception as error:  # noqa: BLE001
            raise _invalid(f"template: {reason(error)}", path) from None
        if isinstance(value, str) and _PLACE_IN_MEMORY.search(value):
            raise _invalid("template: it writes an object of Python, not its value", path)
        if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
            raise _invalid("template: more than a million characters", path, "too-long")
        return value

    return guarded


def _plain(value: object) -> JSON:
    """The result of an expression, if it is JSON."""
    if isinstance(value, int) and value.bit_length() > _LONG:
        str(value)  # raises where nobody could write it down
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(inner) for inner in value]
    if isinstance(value, StrictUndefined):
        str(value)  # raises, and says which name it was
    hint = ""
    if callable(value):
        hint = "; add ()"
    elif isinstance(value, AbstractSet):
        hint = "; add | sort | join(', ')"  # its order differs from run to run
    elif isinstance(value, Iterator):
        hint = "; add | join(', ')"
    raise TypeError(f"the expression gives a {type(value).__name__}, which is no value{hint}")
