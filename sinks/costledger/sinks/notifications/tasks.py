"""The jobs of delivery: one delivers what is due on a route; every minute another looks after what jobs have missed."""

from __future__ import annotations

import logging
from typing import Any, Final
from uuid import UUID

import procrastinate
import psycopg
from procrastinate import JobContext
from prometheus_client import CollectorRegistry

from costledger.schemas.settings import Settings
from costledger.sinks.database import Connection, connect
from costledger.sinks.notifications.deliveries import DELIVER_TASK, delivery_counts, wake_routes
from costledger.sinks.notifications.dispatch import (
    LEASE_MARGIN_SECONDS,
    Clock,
    Dispatcher,
    database_clock,
    deliver_due,
)
from costledger.sinks.notifications.observation import DeliveryMetrics
from costledger.sinks.patience import PatientConnection
from costledger.sinks.queries import query

logger = logging.getLogger(__name__)

SWEEP_TASK: Final = "notifications:sweep"
_EVERY_MINUTE: Final = "* * * * *"
#: Routes that one sweep wakes; the next one finds the others.
SWEEP_ROUTES_MAX: Final = 1000


class DeliveryTasks:
    """What a scheduler process needs to deliver alerts: `register` adds the tasks to its app, `stats` sets gauges."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        clock: Clock = database_clock,
        lease_margin_seconds: float = LEASE_MARGIN_SECONDS,
    ) -> None:
        self._settings = settings
        self._lease_margin_seconds = lease_margin_seconds
        self._metrics = DeliveryMetrics(registry)
        self._clock = clock

    def register(self, app: procrastinate.App, _settings: Settings) -> None:
        """Add the tasks."""
        app.task(name=DELIVER_TASK, pass_context=True)(self._deliver)
        app.periodic(cron=_EVERY_MINUTE)(app.task(name=SWEEP_TASK, queueing_lock=SWEEP_TASK)(self._sweep))

    def stats(self) -> None:
        """Count anew what waits and what was given up; for the moment before the metrics are read."""
        try:
            with self._connect() as connection:
                self._metrics.counted(delivery_counts(connection))
        except psycopg.Error as error:
            logger.warning("deliveries cannot be counted, the metrics keep their last values: %s", error)

    def sweep(self, connection: Connection) -> int:
        """Suppress and wake what changed without a job; returns how many routes were woken."""
        now = self._clock(connection)
        parameters: dict[str, Any] = {"now": now, "route_id": None, "limit": SWEEP_ROUTES_MAX}
        with connection.transaction():
            for name in ("suppress_acknowledged", "suppress_removed"):
                for (channel,) in connection.execute(query(name), parameters).fetchall():
                    self._metrics.suppressed(channel)
            connection.execute(query("put_off_snoozed"), parameters)
            routes = [one for (one,) in connection.execute(query("routes_with_due"), parameters).fetchall()]
            wake_routes(connection, routes)
        return len(routes)

    def _sweep(self, timestamp: int) -> None:  # noqa: ARG002 - procrastinate tells the minute by this name
        with self._connect() as connection:
            self.sweep(connection)

    def _deliver(self, context: JobContext, route_id: str) -> None:
        patient = PatientConnection(self._connect)
        dispatcher = Dispatcher(
            self._settings,
            self._metrics,
            self._clock,
            should_stop=context.should_abort,
            lease_margin_seconds=self._lease_margin_seconds,
        )
        try:
            deliver_due(dispatcher, patient, UUID(route_id))
        finally:
            patient.close()

    def _connect(self) -> Connection:
        url = self._settings.database_url.get_secret_value()
        return connect(url, "costledger deliveries", self._settings.database_timeout_seconds)
