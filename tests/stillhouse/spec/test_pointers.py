from typing import Any

import pytest

from stillhouse.spec import pointers


def test_slashes_and_tildes_in_keys_are_escaped_as_rfc_6901_says() -> None:
    tokens = ("a/b", "m~n", "~1", "0")
    assert pointers.make(tokens) == "/a~1b/m~0n/~01/0"
    assert pointers.parse(pointers.make(tokens)) == tokens


def test_a_value_is_put_where_it_points_and_copied() -> None:
    document: dict[str, Any] = {"a": [{"b": 1}, {"b": 2}]}
    value = {"c": 3}
    pointers.put(document, ("a", "1", "b"), value)
    value["c"] = 4
    assert document == {"a": [{"b": 1}, {"b": {"c": 3}}]}


def test_what_is_missing_on_the_way_is_taken_from_the_defaults() -> None:
    document: dict[str, Any] = {}
    defaults = {"a": {"b": {"c": 1, "d": 2}}}
    pointers.put(document, ("a", "b", "c"), 9, defaults=defaults)
    assert document == {"a": {"b": {"c": 9, "d": 2}}}
    assert defaults["a"]["b"]["c"] == 1


@pytest.mark.parametrize(
    "tokens", [("x", "y"), ("a", "2"), ("a", "-"), ("a", "-1"), ("a", "0", "b", "c"), ("a", "x")]
)
def test_what_is_not_there_is_not_invented(tokens: tuple[str, ...]) -> None:
    with pytest.raises(LookupError):
        pointers.put({"a": [{"b": 1}]}, tokens, 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 3]}),
        ({"a": {"b/c": 1}}, {"a": {"b/c": None}}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": 1}, {"a": True}),
        ({"a": {"x": 1}}, {"a": {"y": 1}}),
        ({"a": 1.0}, {"a": 1.0}),
    ],
)
def test_a_document_and_its_difference_give_the_other(one: Any, other: Any) -> None:
    changes = pointers.difference(one, other)
    patched = pointers.patched(one, changes)
    assert repr(patched) == repr(other)
    assert (changes == {}) is (repr(one) == repr(other))


def test_a_difference_is_as_small_as_what_differs() -> None:
    one = {"training": {"epochs": 3, "optimizer": {"lr": 0.1}}, "students": [{"name": "a"}]}
    other = {"training": {"epochs": 3, "optimizer": {"lr": 0.2}}, "students": [{"name": "a"}]}
    assert pointers.difference(one, other) == {"/training/optimizer/lr": 0.2}
