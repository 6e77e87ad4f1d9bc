"""The metrics of delivery, made from the definitions in `costledger.schemas.metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from costledger.schemas import metrics
from costledger.sinks.notifications.targets import Channel


class DeliveryMetrics:
    """What delivery counts; every channel and outcome is there from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._deliveries = metrics.create(metrics.DELIVERIES, registry)
        self._pending = metrics.create(metrics.DELIVERIES_PENDING, registry)
        self._dead = metrics.create(metrics.DELIVERIES_DEAD, registry)
        self._seconds = metrics.create(metrics.DELIVERY_SECONDS, registry)
        for channel in Channel:
            for outcome in ("delivered", "failed", "dead", "suppressed"):
                self._deliveries.labels(channel.value, outcome)

    def delivered(self, channel: str, seconds: list[float]) -> None:
        """One message was taken; so long each of its alerts waited."""
        self._deliveries.labels(channel, "delivered").inc(len(seconds))
        for one in seconds:
            self._seconds.labels(channel).observe(one)

    def failed(self, channel: str, dead: int) -> None:
        """One attempt failed; so many deliveries were given up with it."""
        self._deliveries.labels(channel, "failed").inc()
        self._deliveries.labels(channel, "dead").inc(dead)

    def suppressed(self, channel: str) -> None:
        """One delivery was acknowledged before it was sent."""
        self._deliveries.labels(channel, "suppressed").inc()

    def counted(self, counts: dict[str, tuple[int, int]]) -> None:
        """(pending, dead) by channel, as they are in the ledger now."""
        for channel in Channel:
            pending, dead = counts.get(channel.value, (0, 0))
            self._pending.labels(channel.value).set(pending)
            self._dead.labels(channel.value).set(dead)
