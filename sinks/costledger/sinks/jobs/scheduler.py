"""The scheduler: a process that does what is due by the clock, and delivers reports and alerts to people.

Any number of them may run: what is due is decided by the ledger, and each job is one worker's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import procrastinate
from prometheus_client import CollectorRegistry

from costledger.schemas.settings import Settings
from costledger.sinks.database import Connection, connect
from costledger.sinks.jobs.observation import SchedulerMetrics
from costledger.sinks.jobs.queue import make_app
from costledger.sinks.jobs.ticking import Ticker
from costledger.sinks.jobs.worker import JobWorker
from costledger.sinks.notifications.tasks import DeliveryTasks
from costledger.sinks.patience import PatientConnection
from costledger.sinks.relay import Relay
from costledger.sinks.reports.handover import DELIVER_TASK, QUEUE, deliver
from costledger.sinks.reports.recipients import recipients
from costledger.sinks.reports.sending import send_report
from costledger.sinks.reports.store import open_redis

logger = logging.getLogger(__name__)

TICK_TASK: Final = "costledger.tick"
#: Once a minute (UTC, but every minute is one in every zone).
TICK_CRON: Final = "* * * * *"
#: Before the reports that wait in the same queue.
_TICK_PRIORITY: Final = 1
#: Places for the tick and reports beside those of alerts, so that slow targets of alerts do not hold them up.
REPORTS_CONCURRENCY: Final = 2
_GAUGES_SECONDS: Final = 15.0
_STOP_SECONDS_MAX: Final = 2.0


class Scheduler:
    """One scheduler process. `run` blocks; `stop` and `health` may be called from any thread.

    `clock` gives Unix microseconds (tests have their own).
    """

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry | None = None,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        tick_cron: str = TICK_CRON,
    ) -> None:
        self._settings = settings
        recipients(settings)  # refuses wrong ones now, not at nine in the morning
        registry = registry or CollectorRegistry()
        self._metrics = SchedulerMetrics(registry)
        self._redis = open_redis(settings)
        self._ticker = Ticker(settings, self._connect, self._redis, self._metrics, clock)
        self._tick_cron = tick_cron
        self._alerts = DeliveryTasks(settings, registry)
        self._app = make_app(settings, [self._register, self._alerts.register])
        self._worker = JobWorker(
            self._app, concurrency=settings.jobs_concurrency, reserved={QUEUE: REPORTS_CONCURRENCY}
        )
        self._gauges = Relay("gauges", self._connect, self._refresh, lambda: None)
        self._refreshed_at = 0.0
        self._failure: str | None = None

    def stop(self) -> None:
        """Ask `run` to return, within 10 s; jobs that take longer are run again by another scheduler."""
        self._worker.stop()

    def health(self) -> tuple[bool, str]:
        """(whether the scheduler does its work, why not or what it does)."""
        trouble = self._failure or self._worker.trouble or self._gauges.trouble
        return (True, "running jobs, looking every minute what is due") if trouble is None else (False, trouble)

    def stats(self) -> None:
        """Bring the metrics of alert delivery up to date; for the moment before they are read."""
        self._alerts.stats()

    def run(self) -> int:
        """Run jobs until stopped. Returns 0 after an orderly end, 1 after anything else."""
        self._gauges.start()
        try:
            self._worker.run()
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            logger.exception("the scheduler stops: what is due is done by the next one")
            return 1
        finally:
            self._gauges.stop(_STOP_SECONDS_MAX)
            self._redis.close()
        return 0

    def _register(self, app: procrastinate.App, settings: Settings) -> None:
        # One at a time, whichever worker has it; one more may wait meanwhile.
        @app.periodic(cron=self._tick_cron)
        @app.task(name=TICK_TASK, queue=QUEUE, priority=_TICK_PRIORITY, lock=TICK_TASK, queueing_lock=TICK_TASK)
        def tick(timestamp: int) -> None:  # noqa: ARG001 - which minute it is says the clock
            self._ticker.tick()

        @app.task(name=DELIVER_TASK, queue=QUEUE)
        def deliver_report(**arguments: Any) -> None:
            patient = PatientConnection(self._connect)
            try:
                deliver(patient, settings, send_report, arguments)
            finally:
                patient.close()

    def _refresh(self, connection: Connection) -> int:
        if time.monotonic() - self._refreshed_at >= _GAUGES_SECONDS:
            self._metrics.refresh(connection)
            self._refreshed_at = time.monotonic()
        return 0

    def _connect(self) -> Connection:
        settings = self._settings
        url = settings.database_url.get_secret_value()
        return connect(url, "costledger scheduler", settings.database_timeout_seconds)
