"""The totals of a month, what was told about it, and how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgpack

from costledger.schemas.budgets import THRESHOLDS_MAX
from costledger.streams.domain.amounts import Amounts, Operation, add_amounts, amounts_of, number, packed, rows_of

#: Thresholds of a month that are remembered as told: many times what one budget may have.
TOLD_MAX: Final = 16 * THRESHOLDS_MAX

#: Lists of thresholds that are one object wherever they are met.
_SHARED_MAX: Final = 4096


class MonthTotals:
    """The totals of one month, and what was told about it.

    `told` has for each threshold (percent) the highest amount at which it was told. `version` and
    `thresholds` are the budget last in force while the month was open: late events are held against it.
    `forecast` is the highest budget that the projection was seen to pass (-1: none).
    """

    __slots__ = ("amounts", "forecast", "thresholds", "told", "total", "version")

    def __init__(self) -> None:
        self.amounts: Amounts = {}
        self.total = 0
        self.told: dict[Decimal, int] = {}
        self.version = 0
        self.thresholds: tuple[tuple[Decimal, int], ...] = ()
        self.forecast = -1

    def add(self, added: Mapping[Operation, int]) -> None:
        """Add amounts by (service, operation)."""
        add_amounts(self.amounts, added)
        self.total += sum(added.values())

    def tell(self, percent: Decimal, amount: int) -> None:
        """Note that a threshold was told at an amount.

        A user may set ever new thresholds: of those no longer in force, the oldest are forgotten.
        """
        self.told.pop(percent, None)
        self.told[percent] = amount
        if len(self.told) > TOLD_MAX:
            in_force = {each for each, _ in self.thresholds}
            del self.told[next(each for each in self.told if each not in in_force)]

    def stored(self) -> bytes:
        """The stored form."""
        told = {_percent_text(percent): number(amount) for percent, amount in self.told.items()}
        thresholds = _threshold_rows(self.thresholds)
        return packed([rows_of(self.amounts), told, self.version, thresholds, number(self.forecast)])

    @classmethod
    def of_stored(cls, data: bytes) -> MonthTotals:
        """The month that `stored` wrote."""
        month = cls()
        rows, told, month.version, thresholds, *more = msgpack.unpackb(data, use_list=False)
        month.forecast = int(more[0]) if more else -1
        month.amounts = amounts_of(rows)
        month.total = sum(month.amounts.values())
        month.told = {Decimal(percent): int(amount) for percent, amount in told.items()}
        month.thresholds = _thresholds(thresholds)
        return month


@lru_cache(maxsize=_SHARED_MAX)
def _threshold_rows(thresholds: tuple[tuple[Decimal, int], ...]) -> list[tuple[str, int | str | None]]:
    return [(_percent_text(percent), number(amount)) for percent, amount in thresholds]


@lru_cache(maxsize=_SHARED_MAX)
def _thresholds(rows: tuple[tuple[str, int | str], ...]) -> tuple[tuple[Decimal, int], ...]:
    return tuple((Decimal(percent), int(amount)) for percent, amount in rows)


@lru_cache(maxsize=_SHARED_MAX)
def _percent_text(percent: Decimal) -> str:
    """One text for equal numbers: 90 and 9E+1 are one key of a cache, and would else be written as whichever came first."""
    return f"{percent.normalize():f}"
