"""What the tests of the tracker share: a time, a broker that is not there, and the identity of the counts."""

from __future__ import annotations

from datetime import UTC, datetime

from costledger.producers import CostTracker

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
FLUSH_SECONDS = 30.0
#: Nobody listens there: the port of the discard protocol, which no test starts.
NOBODY = "127.0.0.1:9"


def identity_holds(tracker: CostTracker) -> bool:
    """tracked = acked + spooled + queued + dropped, and no count is negative."""
    stats = tracker.stats()
    counted = stats["acked"] + stats["spooled"] + stats["queued"] + stats["dropped"]
    return stats["tracked"] == counted and min(stats["queued"], stats["acked"], stats["dropped"]) >= 0
