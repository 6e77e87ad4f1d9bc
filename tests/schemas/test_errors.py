"""Explaining what is wrong with a value raises nothing itself."""

from __future__ import annotations

from typing import Any

import pytest

from costledger.schemas.errors import InvalidValue, shown


class Unwilling:
    """A value whose text cannot be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [nested(100_000), Unwilling(), 10**5000], ids=["deep", "unwilling", "long"])
def test_what_cannot_be_shown_is_named_by_its_type(value: object) -> None:
    """Nested beyond the interpreter's stack, a failing `__repr__`, too many digits."""
    assert shown(value).startswith(f"a value of type {type(value).__name__} ")
    assert str(InvalidValue("quantity", value, "a number")).startswith("quantity is a value of type ")
