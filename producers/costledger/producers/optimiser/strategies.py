"""The named strategies: what each is expected to save, and what it has saved. Pure; money in 1e-12 USD.

The percentages are chosen, not measured. What each applies to:

- embedding deduplication, 30 %: embeddings, that is operations `embedding-...` of any service;
- batch processing, 15 %: calls that can be gathered into batches, that is all of openai, aws-rekognition and
  aws-comprehend;
- tiered processing, 25 %: what a processing plan decides on, that is all of aws-rekognition, aws-comprehend and
  aws-transcribe, and embeddings.

They overlap, so their estimates must not be added up. An estimate is of what the period has cost as it was; what
has been saved already is in `measured_saving`, told by those who saved it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from costledger.producers.optimiser.ledger_usage import Spending, share_of
from costledger.producers.prices.book import EMBEDDING_PREFIX
from costledger.producers.savings import BATCH_PROCESSING, EMBEDDING_DEDUPLICATION, TIERED_PROCESSING
from costledger.producers.services import AWS_COMPREHEND, AWS_REKOGNITION, AWS_TRANSCRIBE, OPENAI

_BATCHED: Final = frozenset({OPENAI, AWS_REKOGNITION, AWS_COMPREHEND})
_PLANNED: Final = frozenset({AWS_REKOGNITION, AWS_COMPREHEND, AWS_TRANSCRIBE})


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way of spending less: `percent` of the cost of what it `applies_to` (service, operation)."""

    name: str
    title: str
    percent: int
    applies_to: Callable[[str, str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategySavings:
    """What a strategy would save and has saved, in 1e-12 USD.

    `percent`, `applicable_cost` and `estimated_saving` are None for a strategy that only its savings are known of
    (a name given by the host). `measured_saving` is negative where it cost more than it saved.
    """

    name: str
    title: str
    percent: int | None
    applicable_cost: int | None
    estimated_saving: int | None
    measured_saving: int


def is_embedding(operation: str) -> bool:
    """Whether an operation, of whatever service, makes embeddings."""
    return operation.startswith(EMBEDDING_PREFIX)


STRATEGIES: Final = (
    Strategy(EMBEDDING_DEDUPLICATION, "Embedding deduplication", 30, lambda _, operation: is_embedding(operation)),
    Strategy(BATCH_PROCESSING, "Batch processing", 15, lambda service, _: service in _BATCHED),
    Strategy(
        TIERED_PROCESSING,
        "Tiered processing",
        25,
        lambda service, operation: service in _PLANNED or is_embedding(operation),
    ),
)


def strategy_savings(spending: Spending) -> list[StrategySavings]:
    """All named strategies, then any others that savings were told of; by estimated saving, then measured, then name.

    Where a strategy's own services have cost nothing (or were credited more than they cost), its estimate is 0.
    """
    found = []
    for strategy in STRATEGIES:
        applicable = sum(amount for key, amount in spending.by_operation.items() if strategy.applies_to(*key))
        found.append(
            StrategySavings(
                name=strategy.name,
                title=strategy.title,
                percent=strategy.percent,
                applicable_cost=applicable,
                estimated_saving=share_of(max(0, applicable), strategy.percent),
                measured_saving=spending.saved.get(strategy.name, 0),
            )
        )
    named = {strategy.name for strategy in STRATEGIES}
    found += [
        StrategySavings(
            name=name,
            title=name.replace("_", " ").capitalize(),
            percent=None,
            applicable_cost=None,
            estimated_saving=None,
            measured_saving=amount,
        )
        for name, amount in spending.saved.items()
        if name not in named
    ]
    return sorted(found, key=lambda one: (-(one.estimated_saving or 0), -one.measured_saving, one.name))
