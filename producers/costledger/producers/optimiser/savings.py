"""Savings and cache lookups are told as events too, so that they stand in the same roll-ups as the costs.

They cost nothing (amount 0) and belong to the service `costledger`:

- `cache-hit:<cache>` and `cache-miss:<cache>`, unit `lookup`, quantity = how many;
- `saved:<strategy>`, unit `mUSD` (1e-3 USD), quantity = what was saved. In 1e-9 units that is a whole number of
  picodollars, so it is exact; negative where a strategy cost more than it saved.
"""

from __future__ import annotations

from typing import Final

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
