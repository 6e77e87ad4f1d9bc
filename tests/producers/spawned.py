"""The function of a spawned `multiprocessing` worker: it tracks one event and returns without closing."""

from __future__ import annotations

from costledger.producers import CostTracker


def work(bootstrap_servers: str, topic: str) -> None:
    """Track one event."""
    tracker = CostTracker(bootstrap_servers, "worker", topic=topic, linger_ms=900)
    tracker.track_s3("worker", "get", 1)
