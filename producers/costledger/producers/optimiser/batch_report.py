"""What came of a run of batches: each item's value or error, each batch's cost, and the saving with its sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from costledger.producers.optimiser.recording import Spend
from costledger.schemas.money import usd_text

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOutcome(Generic[R]):
    """One item: its place among all items (from 0), the batch it was in, and its value, or the error instead."""

    index: int
    batch: int
    value: R | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """One batch: how many items it had, what its calls have cost, and the error where the whole of it failed."""

    index: int
    items: int
    spend: Spend
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport(Generic[R]):
    """All batches that were begun, and their items, in the order of the items. Amounts in 1e-12 USD.

    `one_by_one` is what the items that were done would have cost singly, by the price book; `saving` is that less
    what the batches have really cost, failed ones included: negative where they cost more. Both None where it is
    not known; `saving_text` says it in words.
    """

    items: tuple[ItemOutcome[R], ...]
    batches: tuple[BatchOutcome, ...]
    one_by_one: int | None
    saving: int | None
    saving_text: str

    @property
    def cost(self) -> int:
        """What the calls of all batches have cost; at least so much where `is_complete` is False."""
        return sum(batch.spend.known for batch in self.batches)

    @property
    def is_complete(self) -> bool:
        """True where the cost of every call is known."""
        return all(batch.spend.is_complete for batch in self.batches)

    @property
    def failed(self) -> tuple[ItemOutcome[R], ...]:
        """The items that were not done, each with its error."""
        return tuple(item for item in self.items if item.error is not None)

    @property
    def values(self) -> list[R | None]:
        """The values in the order of the items, None for those that failed."""
        return [item.value for item in self.items]


def cost_of(batches: Sequence[BatchOutcome]) -> int | None:
    """What the batches have cost, None where that is not known in full."""
    if not all(batch.spend.is_complete for batch in batches):
        return None
    return sum(batch.spend.known for batch in batches)


def saving_text(saving: int) -> str:
    """A saving in words, with its sign."""
    if saving > 0:
        return f"{usd_text(saving)} USD saved against one by one"
    if saving < 0:
        return f"{usd_text(-saving)} USD more than one by one"
    return "as much as one by one"
