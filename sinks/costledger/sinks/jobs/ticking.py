"""What the scheduler does every minute: look what is due by the clock and not done by the ledger, and do it.

Nothing depends on a minute not being missed: after a downtime the next one makes up for it, within bounds. Every part is
repeatable; that a period has one report is the primary key of `ledger.reports`, whoever makes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from datetime import date, datetime, timedelta
from typing import Final, TypeVar

import redis

from costledger.schemas.money import usd_text
from costledger.schemas.periods import Period
from costledger.schemas.settings import Settings
from costledger.schemas.times import from_microseconds, rfc3339, to_microseconds
from costledger.sinks.chain.sealing import TURN_ROUNDS_MAX, seal
from costledger.sinks.database import Connection
from costledger.sinks.jobs.observation import SchedulerMetrics
from costledger.sinks.queries import query
from costledger.sinks.reports import sweep
from costledger.sinks.reports.handover import hand_over, wake_lost
from costledger.sinks.reports.making import make_due_report
from costledger.sinks.reports.periods import ReportPeriod, Schedule
from costledger.sinks.reports.store import cache_owed
from costledger.sinks.reports.watermark import Watermarks

logger = logging.getLogger(__name__)

#: Everything that may still be due began after this long ago.
_LOOK_BACK: Final = timedelta(weeks=8)
_MINUTE_US: Final = 60_000_000
#: Between two attempts at a period that fails and fails.
_AGAIN_MINUTES_MAX: Final = 64

_Due = TypeVar("_Due", bound=Hashable)


class Ticker:
    """One look at what is due. `clock` gives Unix microseconds; `connect` a connection as the ledger's writer."""

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], Connection],
        client: redis.Redis,
        metrics: SchedulerMetrics,
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._redis = client
        self._metrics = metrics
        self._clock = clock
        self._schedule = Schedule.of(settings)
        #: How each part failed the last time, of those that did.
        self._failures: dict[str, str] = {}
        #: By part the periods that failed: how often, and when they are tried again (Unix microseconds).
        self._failed: dict[str, dict[Hashable, tuple[int, int]]] = {}

    def tick(self) -> None:
        """Do what is due. A part that fails is logged and counted, holds no other part up, and is tried the next time.

        Raises `psycopg.Error` where there is no connection.
        """
        watermarks = Watermarks(self._settings)
        parts: dict[str, Callable[[Connection], None]] = {
            "housekeeping": self._keep_house,
            "chain": self._seal,
            "sweep": lambda one: self._sweep(one, watermarks),
            "reports": lambda one: self._report(one, watermarks),
            "deliveries": self._wake,
            "cache": self._cache,
        }
        connection = self._connect()
        try:
            for name, part in parts.items():
                if connection.closed:
                    connection = self._connect()
                self._try(name, part, connection)
        finally:
            connection.close()

    def _try(self, name: str, part: Callable[[Connection], None], connection: Connection) -> None:
        try:
            part(connection)
        except Exception as error:
            self._metrics.failed(name)
            text = f"{type(error).__name__}: {str(error).strip()}"
            # Each minute the same traceback would say nothing more.
            new = self._failures.get(name) != text
            self._failures[name] = text
            logger.error("%s failed, again in a minute: %s", name, text, exc_info=new)  # noqa: TRY400
        else:
            self._failures.pop(name, None)

    def _each(self, connection: Connection, part: str, due: Sequence[_Due], do: Callable[[_Due], None]) -> None:
        """Do what is due, also what comes after one that failed; the first failure is raised at the end.

        One that fails again and again, perhaps after minutes each time, is tried ever less often.
        """
        now_us = self._clock()
        failed = self._failed.setdefault(part, {})
        for gone in failed.keys() - set(due):
            del failed[gone]
        failure: Exception | None = None
        for one in due:
            count, not_before_us = failed.get(one, (0, 0))
            if now_us < not_before_us:
                continue
            try:
                do(one)
            except Exception as error:
                if connection.closed:
                    raise
                # Half a minute less: ticks are not a minute apart to the microsecond.
                minutes = min(2**count, _AGAIN_MINUTES_MAX) - 1.5
                failed[one] = count + 1, now_us + int(minutes * _MINUTE_US)
                failure = failure or error
            else:
                failed.pop(one, None)
        if failure is not None:
            raise failure

    def _done(self, connection: Connection) -> tuple[int | None, list[tuple[str, datetime, date | None]]]:
        """Since when anything is due (None: nothing is yet), and kind, start and date of what is done."""
        ((began,),) = connection.execute(query("jobs_began")).fetchall() or [(None,)]
        since = from_microseconds(self._clock()) - _LOOK_BACK
        rows = connection.execute(query("periods_done"), {"since": since}).fetchall()
        return None if began is None else to_microseconds(began), rows

    def _report(self, connection: Connection, watermarks: Watermarks) -> None:
        began_us, done = self._done(connection)
        if began_us is None:
            return
        now_us = self._clock()

        def make(period: ReportPeriod) -> None:
            stored = make_due_report(connection, self._settings, period, now_us, watermarks)
            if stored is None:
                return
            queued = hand_over(connection, self._settings, stored)
            self._metrics.made(period.kind.value)
            logger.info("the %s report of %s is made, for %d recipients", period.kind.value, period.label, queued)

        made = {(kind, day) for kind, _, day in done if day is not None}
        self._each(connection, "reports", self._schedule.due(now_us, began_us, made), make)

    def _sweep(self, connection: Connection, watermarks: Watermarks) -> None:
        began_us, done = self._done(connection)
        if began_us is None:
            return
        now_us = self._clock()

        def look(hour: Period) -> None:
            watermark = watermarks.read(connection, hour.end_us)
            if not watermark.complete and now_us < hour.end_us + sweep.WAIT_US:
                return
            found = sweep.read_sweep(connection, self._settings, hour, watermark)
            if sweep.store_sweep(connection, found):
                self._tell_missed(found)

        swept = {to_microseconds(start) for kind, start, _ in done if kind == sweep.KIND}
        self._each(connection, "sweep", list(sweep.due_hours(now_us, began_us, swept)), look)

    def _tell_missed(self, found: sweep.Sweep) -> None:
        self._metrics.missed(len(found.missed))
        for spike in found.missed[: sweep.MISSED_MAX]:
            logger.error(
                "no alert told of a spike: %s has spent %s USD, of at most %s, in the hour from %s",
                spike.user_id,
                usd_text(spike.amount),
                usd_text(spike.limit),
                rfc3339(spike.period_start_us),
            )

    def _wake(self, connection: Connection) -> None:
        lost = wake_lost(connection)
        if lost:
            logger.warning("%d reports were still to be sent and had no job; they have one again", lost)

    def _cache(self, connection: Connection) -> None:
        cache_owed(connection, self._redis, self._settings)

    def _keep_house(self, connection: Connection) -> None:
        """Delete jobs that ended long ago; make the partitions of this month and the next ahead of time."""
        connection.execute(query("delete_old_jobs"), {"days": self._settings.jobs_keep_days})
        today = from_microseconds(self._clock()).date()
        after = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        connection.execute("SELECT ledger.ensure_partitions(%s, %s)", (today, after))

    def _seal(self, connection: Connection) -> None:
        """Seal what is due in the hash chain; while another process does so, nothing."""
        settings = self._settings
        sealed = seal(
            connection,
            settings.topics.events,
            after_seconds=settings.chain_seal_after_seconds,
            rounds_max=TURN_ROUNDS_MAX,
            wait=False,
        )
        self._metrics.sealed(sealed)
