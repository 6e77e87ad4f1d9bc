"""Hold a job to its user's monthly budget: reserve before, settle after, whatever other processes do meanwhile.

Addresses come from the settings (COSTLEDGER_BOOTSTRAP_SERVERS, COSTLEDGER_REDIS_URL, COSTLEDGER_DATABASE_URL).
"""

from __future__ import annotations

from contextlib import closing

from costledger.producers import CostTracker
from costledger.producers.guard import RedisGuard
from costledger.schemas import load_settings
from costledger.schemas.money import to_picodollars, usd_text
from costledger.sinks.spend import LedgerReader

IMAGES = 40


def main() -> None:
    """Analyse some images, if the user's budget has room for them."""
    # Budgets, and the month's total where Redis has lost it, come from the ledger.
    # The tracker is closed first: what it still hears from Kafka then is for the guard.
    with (
        closing(LedgerReader(load_settings().database_url.get_secret_value())) as ledger,
        RedisGuard(budgets=ledger.budget, spend=ledger.month_to_date) as guard,
        CostTracker(source="gallery") as tracker,
    ):
        # What was settled is counted as reserved until the month's total has its events: the tracker tells which.
        guard.follow(tracker)
        # Once, when a service starts: a Redis that was just started may have lost reservations.
        guard.prepare(timeout_seconds=30)

        estimate = to_picodollars("0.001") * IMAGES
        reservation = guard.reserve("user-1", estimate, key="gallery-7")
        decision = reservation.decision
        print(f"{decision.verdict}: {decision.reason}")
        if not decision.may_run or reservation.reservation_id is None:
            return
        try:
            event_id = tracker.track_rekognition("user-1", "detectLabels", IMAGES)
        except BaseException:
            guard.release("user-1", reservation.reservation_id)
            raise
        guard.settle("user-1", reservation.reservation_id, estimate, [event_id])

        # The same work again: its key says that it was done.
        print(f"again: {guard.reserve('user-1', estimate, key='gallery-7').decision.reason}")
        after = guard.decide("user-1", estimate)
        if after.month_to_date is not None and after.reserved is not None:
            print(f"spent and reserved: {usd_text(after.month_to_date + after.reserved)} USD")


if __name__ == "__main__":
    main()
