"""Savings and cache lookups are told as events too, so that they stand in the same roll-ups as the costs.

They cost nothing (amount 0) and belong to the service `costledger`:

- `cache-hit:<cache>` and `cache-miss:<cache>`, unit `lookup`, quantity = how many;
- `saved:<strategy>`, unit `mUSD` (1e-3 USD), quantity = what was saved. In 1e-9 units that is a whole number of
  picodollars, so it is exact; negative where a strategy cost more than it saved.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import UUID

from costledger.schemas.money import from_nanounits

if TYPE_CHECKING:
    from costledger.producers.records import Metadata
    from costledger.producers.services import ServiceMethods

SAVINGS_SERVICE: Final = "costledger"
CACHE_HIT_PREFIX: Final = "cache-hit:"
CACHE_MISS_PREFIX: Final = "cache-miss:"
SAVED_PREFIX: Final = "saved:"
LOOKUP_UNIT: Final = "lookup"
#: A quantity of it in 1e-9 units is an amount in 1e-12 USD.
SAVED_UNIT: Final = "mUSD"

EMBEDDING_DEDUPLICATION: Final = "embedding_deduplication"
BATCH_PROCESSING: Final = "batch_processing"
TIERED_PROCESSING: Final = "tiered_processing"


def record_saving(
    tracker: ServiceMethods,
    user_id: str,
    strategy: str,
    picodollars: int,
    *,
    metadata: Metadata | None = None,
    occurred_at: datetime | None = None,
) -> UUID:
    """Tell what a strategy has saved (1e-12 USD; negative where it cost more, 0 where it changed nothing).

    Returns the event's id. As with all tracking, a wrong argument is counted and reported, never raised.
    """
    return tracker.track(
        user_id,
        SAVINGS_SERVICE,
        SAVED_PREFIX + strategy if isinstance(strategy, str) else strategy,
        _millidollars(picodollars),
        unit=SAVED_UNIT,
        amount=0,
        metadata=metadata,
        occurred_at=occurred_at,
    )


def record_lookups(
    tracker: ServiceMethods,
    user_id: str,
    cache: str,
    hits: int,
    misses: int,
    *,
    metadata: Metadata | None = None,
    occurred_at: datetime | None = None,
) -> list[UUID]:
    """Tell how many lookups of a cache found something and how many did not: the hit rate comes from these.

    One event for the hits and one for the misses, none where there were none; returns their ids.
    """
    return [
        tracker.track(
            user_id,
            SAVINGS_SERVICE,
            prefix + cache if isinstance(cache, str) else cache,
            count,
            unit=LOOKUP_UNIT,
            amount=0,
            metadata=metadata,
            occurred_at=occurred_at,
        )
        for prefix, count in ((CACHE_HIT_PREFIX, hits), (CACHE_MISS_PREFIX, misses))
        if count != 0
    ]


def _millidollars(picodollars: int) -> Decimal | str:
    """An amount as the quantity of its event, exactly; what is no whole number as text that the tracker refuses."""
    if isinstance(picodollars, bool) or not isinstance(picodollars, int):
        return f"{picodollars!r} picodollars"
    return from_nanounits(picodollars)
