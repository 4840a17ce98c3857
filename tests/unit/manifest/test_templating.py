"""Templates: strict, sandboxed, the same every time, and native where they are one expression."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError

from kling_batch.core.diagnostics import InvalidValue
from kling_batch.manifest.templating import (
    compile_condition,
    compile_value,
    names_in,
    truth,
    unguarded_names,
)

SCOPE = {"a": "A", "n": 5, "words": ["x", "y"], "void": None, "flag": True, "percent": "%s"}


def render(value, scope=SCOPE):
    compiled = compile_value(value)
    return value if compiled is None else compiled(scope)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plain", "plain"),
        ("{{ a }}", "A"),
        ("{{a}}-{{ n }}", "A-5"),
        ("100 % {{ a }}", "100 % A"),
        ("{{ percent }} {{ a }}", "%s A"),
        ("{{ n }}", 5),
        ("{{ n + 1 }}", 6),
        ("{{ words }}", ["x", "y"]),
        ("{{ words[0] }}", "x"),
        ("{{ words | join(', ') }}", "x, y"),
        ("{{ void }}", None),
        ("{{ flag and n > 3 }}", True),
        ("{% if flag %}yes{% endif %} {{ a }}", "yes A"),
        ("{% for w in words %}{{ w }}{% endfor %}", "xy"),
        ("{% raw %}{{ a }}{% endraw %}", "{{ a }}"),
        ("{# nothing #}x", "x"),
        ("{{ missing | default('d') }}", "d"),
        ("{{ a }}\n", "A\n"),
        ({"k": ["{{ a }}", 1]}, {"k": ["A", 1]}),
        ("{ a }", "{ a }"),
    ],
)
def test_rendering(written, meant):
    got = render(written)

    assert got == meant
    assert type(got) is type(meant)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{{ b }}", "there is no variable `b`"),
        ("x {{ b }}", "there is no variable `b`"),
        ("{{ b | upper }}", "there is no variable `b`"),
        ("{{ b + 1 }}", "there is no variable `b`"),
        ("{{ a.nothing }}", "template: "),
        ("x {{ void }}", "`void` is empty (null) here"),
        ("x {{ void }}{{ a | upper }}", "template: a variable of it is empty (null)"),
        ("{{ 1 / 0 }}", "template: division by zero"),
        ("{{ a", "template: "),
        ("{% if %}", "template: "),
        ("{{ n + a }}", "template: unsupported operand"),
        ("{{ a.__class__.__mro__ }}", "template: "),
        ("{{ ().__class__.__bases__ }}", "template: "),
        ("{{ lipsum() }}", "there is no variable `lipsum`"),
        ("{{ words | random }}", "template: "),
        ("{{ 'x' * 100000000 }}", "template: `*` would make something huge"),
        ("{{ 'x' * 1000000 * 2 }}", "template: `*` would make something huge"),
        ("{{ 9 ** 9 ** 9 }}", "template: `**` would make something huge"),
        ("{{ range(1001) | list }}", "template: a range of more than 1,000"),
        ("{{ a.upper }}", "template: the expression gives a builtin_function"),
        ("{% include 'x' %}", "template: "),
    ],
)
def test_faults_are_sentences(written, said):
    with pytest.raises(InvalidValue) as caught:
        render(written)

    assert caught.value.message.startswith(said), caught.value.message


def test_a_fault_knows_its_path_inside_the_value():
    with pytest.raises(InvalidValue) as caught:
        render([{"prompt": "{{ b }}"}])

    assert caught.value.path == (0, "prompt")


def test_an_unknown_name_comes_with_the_nearest():
    with pytest.raises(InvalidValue) as caught:
        render("{{ titel }}", {"title": 1})

    assert caught.value.hint == "did you mean `title`?"


def test_a_key_cannot_be_a_template():
    with pytest.raises(InvalidValue):
        compile_value({"{{ a }}": 1})


@given(st.text(alphabet="ab%{}s n", max_size=20))
def test_the_quick_way_says_what_jinja_says(text):
    """Plain substitution is our own; it must not be another language."""
    from kling_batch.manifest.templating import _ENVIRONMENT

    template = f"{text}{{{{ a }}}}%{{{{ n }}}}"
    try:
        expected = _ENVIRONMENT.from_string(template).render(SCOPE)
    except TemplateError:
        with pytest.raises(InvalidValue):
            render(template)
    else:
        assert expected == str(render(template))


@pytest.mark.parametrize(
    ("written", "holds"),
    [
        ("n > 3", True),
        ("{{ n > 9 }}", False),
        ("a == 'A' and flag", True),
        ("flag", True),
        ("not flag", False),
        ("{{ 'no' }}", False),
        ("{% if n %}yes{% endif %}", True),
    ],
)
def test_conditions_may_be_bare_expressions(written, holds):
    assert truth(compile_condition(written)(SCOPE)) is holds


@pytest.mark.parametrize("word", ["", "0", "false", "No", " off ", "None", 0, False, None, []])
def test_words_that_mean_no(word):
    assert truth(word) is False


@pytest.mark.parametrize("word", ["yes", "1", "active", 1, True, [0]])
def test_everything_else_means_yes(word):
    assert truth(word) is True


def test_names_are_found_wherever_they_stand():
    value = {"p": ["{{ a }} {% if b %}{{ c.d }}{% endif %}"], "q": "{% set e = f %}{{ e }}"}

    assert names_in(value) == {"a", "b", "c", "f"}


@pytest.mark.parametrize("names", [names_in, unguarded_names])
def test_a_template_that_python_cannot_read_has_no_names(names):
    assert names("{{ %s + a }}" % ("9" * 5000)) == set()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("A {{ a.upper }} b", "add ()"),
        ("A {{ words | map('upper') }} b", "add | join(', ')"),
        ("A {{ words | reverse }} b", "add | join(', ')"),
        ("A {{ {'a': 1, 'b': 2}.keys() - ['c'] }} b", "add | sort | join(', ')"),
        ("A {{ [a.upper] }} b", "add ()"),
        ("A {{ a.upper ~ 'x' }} b", "an object of Python"),
        ("A {{ '%s' % a.upper }} b", "an object of Python"),
    ],
)
def test_what_differs_from_run_to_run_is_no_text(written: str, said: str) -> None:
    """It would be another paid render each time."""
    with pytest.raises(InvalidValue, match=re.escape(said)):
        render(written)


def test_values_in_a_text_are_written_as_python_writes_them() -> None:
    text = "{{ a }} {{ words }} {{ range(2) }} {{ {'k': 1} }} {{ 1.5 }} {{ flag }} <b at 0x1>"

    assert render(text) == "A ['x', 'y'] range(0, 2) {'k': 1} 1.5 True <b at 0x1>"


@pytest.mark.parametrize(
    "template",
    [
        "{{ n | int + 1 }}",
        "{{ n | int + 1 }} cats",
        "{{ (n | int + 1) | string }}",
        "{{ (n | int + 1) ~ n }}",
        "{{ [n | int + 1] }}",
        "{{ {'a': n | int + 1} }}",
    ],
)
def test_a_number_that_cannot_be_written_down_is_no_value(template):
    with pytest.raises(InvalidValue, match="a number of too many digits") as caught:
        render(template, {"n": "9" * 4300})
    assert "set_int" not in str(caught.value)
