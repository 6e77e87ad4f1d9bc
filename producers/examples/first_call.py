"""Track paid calls: one line for each, priced from the price book, never in the way of the service.

Run it beside `costledger up`; the address comes from COSTLEDGER_BOOTSTRAP_SERVERS.
"""

from __future__ import annotations

from costledger.producers import CostTracker


def main() -> None:
    """Three calls of three providers."""
    with CostTracker(source="photo-service") as tracker:
        tracker.track_rekognition("user-1", "detectLabels", 5, metadata={"album": "42"})
        tracker.track_s3("user-1", "put", 1)
        # What the price book does not have can bring its own price.
        tracker.track("user-1", "maps", "geocode", 3, unit="request", unit_price="0.005")
        waiting = tracker.flush(30)
        stats = tracker.stats()
    print(f"{stats['acked']} of {stats['tracked']} events are with Kafka, {waiting} still waiting")
    assert stats["acked"] == 3


if __name__ == "__main__":
    main()
