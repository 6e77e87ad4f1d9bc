"""What was used within a period, summed by service and operation: what the ledger's roll-ups tell and advice is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One service and operation. Sums of any size: `quantity` in 1e-9 units, `amount` in 1e-12 USD of the priced events.

    `unpriced` is how many of the `events` have no amount.
    """

    service: str
    operation: str
    events: int
    quantity: int
    amount: int
    unpriced: int = 0
