"""The matrix against GitHub's documentation of its own."""

from __future__ import annotations

import pytest

from kling_batch.manifest.expand import combinations


def made(**matrix):
    found, problems = combinations(matrix, matrix)
    assert problems.errors == []
    return found


def test_every_combination_in_order():
    assert made(a=[1, 2], b=["x", "y"]) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_githubs_own_example_of_include():
    expected = [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]

    assert expected == made(
        fruit=["apple", "pear"],
        animal=["cat", "dog"],
        include=[
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    )


def test_exclude_needs_a_partial_match_and_comes_first():
    expected = [{"os": "a", "v": 2}, {"os": "b", "v": 1}, {"os": "a", "v": 1, "env": "x"}]

    assert expected == made(
        os=["a", "b"],
        v=[1, 2],
        exclude=[{"os": "a", "v": 1}, {"os": "b", "v": 2}],
        include=[{"os": "a", "v": 1, "env": "x"}],
    )


def test_what_a_template_leaves_out_in_another_run_is_no_error():
    written = {"m": ["{{ market }}"], "s": ["a", "b"], "exclude": [{"m": "us", "s": "b"}]}

    found, problems = combinations(written, {**written, "m": ["de"]})

    assert not problems.errors
    assert found == [{"m": "de", "s": "a"}, {"m": "de", "s": "b"}]


def test_a_value_of_no_kind_is_not_the_word_for_it():
    expected = [{"v": None}, {"v": True}]

    assert expected == made(v=[None, True, "None", "True"], exclude=[{"v": "None"}, {"v": "True"}])


def test_a_number_is_the_text_of_its_digits():
    expected = [{"v": 10, "w": "5", "x": 1}]

    assert expected == made(
        v=[5, 10], w=["5"], exclude=[{"v": "5"}], include=[{"v": "10", "w": 5, "x": 1}]
    )


def test_include_alone_is_a_list_of_jobs():
    assert made(include=[{"a": 1}, {"a": 2, "b": 3}]) == [{"a": 1}, {"a": 2, "b": 3}]


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ({"a": [1], "exclude": [{"a": 1}]}, "leaves no combination at all"),
        ({"a": [1, 2], "exclude": [{"aa": 1}]}, "`exclude` names `aa`"),
        ({"a": ["pro"], "exclude": [{"a": "por"}]}, "`exclude` leaves out nothing: no `a` is"),
        ({"a": [True], "exclude": [{"a": "True"}]}, "`exclude` leaves out nothing: no `a` is"),
        ({"a": [1] * 1001, "b": [1] * 1001}, "1,002,001 combinations; at most 1,000,000"),
    ],
)
def test_what_cannot_be_meant(matrix, said):
    _, problems = combinations(matrix, matrix)

    assert problems.errors[0].message.startswith(said)


@pytest.mark.parametrize(
    ("values", "excluded", "kept"),
    [
        ([1, True], True, [1]),
        ([1, True], 1, [True]),
        ([0, False], 0, [False]),
        ([[1], [True]], [True], [[1]]),
        ([{"a": 0}, {"a": False}], {"a": 0}, [{"a": False}]),
        ([1, 2.0], 1.0, [2.0]),
        ([1, 2], "1", [2]),
    ],
)
def test_a_truth_value_is_no_number(values, excluded, kept):
    found = [each["n"] for each in made(n=values, exclude=[{"n": excluded}])]

    assert [(each, type(each)) for each in found] == [(each, type(each)) for each in kept]


@pytest.mark.parametrize(("values", "excluded"), [([1, 2], True), ([False, True], 0)])
def test_what_only_python_takes_for_equal_leaves_out_nothing(values, excluded):
    matrix = {"n": values, "exclude": [{"n": excluded}]}

    _, problems = combinations(matrix, matrix)

    assert [problem.code for problem in problems.errors] == ["unknown-value"]
