"""Amounts by (service, operation), integers of 1e-12 USD, and how they are stored.

The stored form is msgpack; integers beyond 64 bits, which msgpack cannot hold, are stored as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgpack

Operation = tuple[str, str]
Amounts = dict[Operation, int]

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1

#: Names of operations that are one object wherever they are met.
_SHARED_MAX: Final = 4096
#: One for all: `msgpack.packb` makes a buffer of 256 kB for every value. No other thread runs while it packs.
_PACKER: Final = msgpack.Packer()


def add_amounts(amounts: Amounts, added: Mapping[Operation, int]) -> None:
    """Add `added` to `amounts`, in place."""
    for operation, amount in added.items():
        amounts[operation] = amounts.get(operation, 0) + amount


def spent_by_service(amounts: Mapping[Operation, int]) -> dict[str, int]:
    """The sum of each service, 1e-12 USD."""
    spent: dict[str, int] = {}
    for (service, _), amount in amounts.items():
        spent[service] = spent.get(service, 0) + amount
    return spent


def packed(value: Any) -> bytes:
    """A value in its stored form."""
    return _PACKER.pack(value)  # type: ignore[no-any-return]  # bytes, as it resets itself


def number(value: int) -> int | str:
    """An integer as MessagePack can have it: text beyond 64 bits."""
    return value if _INT64_MIN <= value <= _INT64_MAX else str(value)


def number_or_none(value: int | None) -> int | str | None:
    """As `number`, for what may not be known."""
    return None if value is None else number(value)


def rows_of(amounts: Amounts) -> list[tuple[str, str, int | str]]:
    """Amounts as they are stored."""
    return [(service, operation, number(amount)) for (service, operation), amount in amounts.items()]


def amounts_of(rows: Iterable[tuple[str, str, int | str]]) -> Amounts:
    """What `rows_of` gave."""
    return {_operation(service, name): int(amount) for service, name, amount in rows}


@lru_cache(maxsize=_SHARED_MAX)
def _operation(service: str, name: str) -> Operation:
    return service, name
