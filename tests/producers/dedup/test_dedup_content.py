"""What is the same work, and which results come back as they were: pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.producers.dedup.content import DEPTH_MAX, decode_result, encode_result, purpose_digest, work_digest
from costledger.producers.dedup.keys import checked_cache_name
from costledger.schemas.errors import InvalidValue

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
CONTENT = st.recursive(LEAVES, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=8)
JSON_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(JSON_LEAVES, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=8)
PURPOSE = purpose_digest("openai", "embedding-a", None, None)
PURPOSE_HEX = "20532cb124b6382091d9657865c846fad67324149553fb7ff67113b98dc21e57"
WORK_HEX = "5f4b6c8d3e4b1d7b19b3d58a02ab094476041fbfaffd5c49b8d3b03e7e2439bb"


class Colour(IntEnum):
    """A number that is more than a number."""

    RED = 1


def typed(value: Any) -> Any:
    """The value in a form that is equal exactly where type, order and content are."""
    if isinstance(value, Mapping):
        return "map", sorted((key, typed(one)) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return "list", [typed(one) for one in value]
    return type(value).__name__, repr(value)


@given(CONTENT, CONTENT)
def test_content_has_one_digest_and_different_content_another(one: Any, other: Any) -> None:
    """Equal content, of equal types: equal digests. Anything else: different ones."""
    same = repr(typed(one)) == repr(typed(other))
    assert (work_digest(PURPOSE, one) == work_digest(PURPOSE, other)) is same
    assert len(work_digest(PURPOSE, one)) == hashlib.sha256().digest_size


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (1, "1"),
        ("a", b"a"),
        (["ab", "c"], ["a", "bc"]),
        ([["a"], "b"], [["a", "b"]]),
        ({"a": None}, {}),
        ([], {}),
        ([], None),
        (0.0, -0.0),
    ],
)
def test_things_that_python_calls_equal_are_different_work(one: Any, other: Any) -> None:
    """Types and limits between values are part of the digest."""
    assert work_digest(PURPOSE, one) != work_digest(PURPOSE, other)


def test_everything_that_the_result_depends_on_is_in_the_digest() -> None:
    """Service, operation, model and parameters each make another purpose; the order of a mapping does not."""
    asked = [
        ("openai", "chat", "gpt-4o", {"n": 1, "t": 0.5}),
        ("azure", "chat", "gpt-4o", {"n": 1, "t": 0.5}),
        ("openai", "chats", "gpt-4o", {"n": 1, "t": 0.5}),
        ("openai", "chat", "gpt-4", {"n": 1, "t": 0.5}),
        ("openai", "chat", None, {"n": 1, "t": 0.5}),
        ("openai", "chat", "gpt-4o", {"n": 2, "t": 0.5}),
        ("openai", "chat", "gpt-4o", None),
        ("openaichat", "", "gpt-4o", {"n": 1, "t": 0.5}),
    ]
    assert len({work_digest(purpose_digest(*one), "text") for one in asked}) == len(asked)
    assert purpose_digest(*asked[0]) == purpose_digest("openai", "chat", "gpt-4o", {"t": 0.5, "n": 1})


def test_the_digest_does_not_change_between_releases() -> None:
    """Fixed values: another digest would silently empty every cache."""
    assert PURPOSE.hex() == PURPOSE_HEX
    assert work_digest(PURPOSE, {"text": "Zoë", "n": [1, 2.5, None, b"\x00"]}).hex() == WORK_HEX


@pytest.mark.parametrize(
    "content", [{1: "a"}, Decimal(1), object(), {1, 2}, "\ud800", [[{"a": {2: 3}}]]], ids=lambda one: repr(one)[:20]
)
def test_content_without_one_form_is_refused(content: Any) -> None:
    """Keys that are no text would run into each other as text; other types have no form that lasts."""
    with pytest.raises(InvalidValue):
        work_digest(PURPOSE, content)


def test_content_that_holds_itself_is_refused() -> None:
    """The depth is bounded, also of what has none."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidValue, match=str(DEPTH_MAX)):
        work_digest(PURPOSE, endless)
    with pytest.raises(InvalidValue, match=str(DEPTH_MAX)):
        encode_result(endless)


@given(JSON | st.binary())
def test_a_result_comes_back_as_it_was(result: Any) -> None:
    """With all its types."""
    back = decode_result(encode_result(result))
    assert repr(back) == repr(result)


@pytest.mark.parametrize(
    "result",
    [(1, 2), {1: "a"}, float("nan"), float("inf"), Decimal("1.5"), object(), [{"a": (1,)}], Colour.RED, {"a"}],
    ids=lambda one: repr(one)[:20],
)
def test_a_result_that_would_come_back_different_is_refused(result: Any) -> None:
    """A caller must get the same from the cache as from the work."""
    with pytest.raises(InvalidValue):
        encode_result(result)


@pytest.mark.parametrize("data", [b"", b"x", b"j{", b"\x80\x04K\x01."])
def test_bytes_of_somebody_else_are_no_result(data: bytes) -> None:
    """Pickles neither: they are never loaded."""
    with pytest.raises(InvalidValue):
        decode_result(data)


@pytest.mark.parametrize("name", ["", "A", "a b", "a:b", "a{b", "-a", "x" * 65, 5])
def test_a_cache_name_must_fit_into_keys_and_operations(name: Any) -> None:
    """The error says what it may be."""
    with pytest.raises(InvalidValue, match="64 characters"):
        checked_cache_name(name)
