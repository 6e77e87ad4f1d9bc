"""The hourly sweep: what the last hour cost, and whether every user above the hourly limit was told of.

The stream app decides and tells; the sweep looks at the ledger afterwards. A spike that no alert told is said in the log
and in a metric and kept in `ledger.reports` (kind `sweep`); it never becomes an alert of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from psycopg.types.json import Jsonb

from costledger.schemas.money import to_usd, usd_text
from costledger.schemas.periods import Period, PeriodKind, period_at
from costledger.schemas.settings import Settings
from costledger.schemas.times import from_microseconds, rfc3339
from costledger.sinks.database import Connection, allow_silence
from costledger.sinks.queries import query
from costledger.sinks.reports.content import Watermark
from costledger.sinks.reports.document import Document, digest
from costledger.sinks.reports.reading import OWN_SERVICE

KIND: Final = "sweep"
#: Time for the last events and alerts of an hour to arrive; then it is swept.
DELAY_US: Final = 5 * 60_000_000
#: A ledger that is behind is waited for so long; then the sweep is marked as incomplete.
WAIT_US: Final = 30 * 60_000_000
#: Hours that are swept after a downtime; for older ones nobody can act any more.
CATCH_UP_MAX: Final = 24
#: Missed spikes that are kept by name; the others are counted.
MISSED_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """A user above the hourly limit (1e-12 USD) in an hour; `told`: an alert said so."""

    user_id: str
    amount: int
    limit: int
    period_start_us: int
    told: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What the sweep of a UTC hour found. `month_total` is that of the UTC month up to the end of the hour."""

    hour: Period
    active_users: int
    total: int
    month_total: int
    spikes: tuple[Spike, ...]
    watermark: Watermark

    @property
    def missed(self) -> list[Spike]:
        """The spikes that nobody was told of."""
        return [spike for spike in self.spikes if not spike.told]


def due_hours(now_us: int, since_us: int, done: Collection[int]) -> list[Period]:
    """The full UTC hours to be swept, the oldest first: at most 24, of those that ended after `since_us`."""
    hour = period_at(PeriodKind.HOUR, now_us - DELAY_US).previous()
    found = []
    for _ in range(CATCH_UP_MAX):
        if hour.end_us > since_us and hour.start_us not in done:
            found.append(hour)
        hour = hour.previous()
    return found[::-1]


def own_hours(hour: Period, zones: Collection[str]) -> dict[tuple[int, int], list[str]]:
    """The users' own hours that a UTC hour stands for: (start, end) in microseconds, and the zones that have it.

    In a zone that is whole hours from UTC it is the very same; elsewhere the newest one that was over by then.
    """
    found: dict[tuple[int, int], list[str]] = {}
    for zone in sorted({"UTC", *zones}):
        own = period_at(PeriodKind.HOUR, hour.end_us - 1, zone)
        if own.end_us > hour.end_us:
            own = own.previous()
        found.setdefault((own.start_us, own.end_us), []).append(zone)
    return found


def read_sweep(connection: Connection, settings: Settings, hour: Period, watermark: Watermark) -> Sweep:
    """The sweep of an hour, as the ledger has it now. `connection` must be in no transaction."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        milliseconds = int(settings.report_timeout_seconds * 1000)
        connection.execute("SELECT set_config('statement_timeout', %s, true)", (str(milliseconds),))
        allow_silence(connection, settings.report_timeout_seconds)
        parameters = {**_bounds(hour.start_us, hour.end_us), "left_out": OWN_SERVICE}
        ((active_users, total),) = connection.execute(query("hour_totals"), parameters).fetchall()
        month = period_at(PeriodKind.MONTH, hour.start_us)
        bounds = _bounds(month.start_us, hour.end_us)
        ((month_total,),) = connection.execute(query("report_total_amount"), bounds).fetchall()
        zones = [zone for (zone,) in connection.execute(query("sweep_zones"))]
        default_limit = to_usd(settings.budget_defaults().hourly_spike_limit)
        spikes = [
            Spike(user_id=user, amount=int(amount), limit=int(limit), period_start_us=start_us, told=told)
            for (start_us, end_us), of_zones in own_hours(hour, zones).items()
            for user, amount, limit, told in connection.execute(
                query("sweep_spikes"),
                {**_bounds(start_us, end_us), "zones": of_zones, "default_limit": default_limit},
            )
        ]
    return Sweep(
        hour=hour,
        active_users=active_users,
        total=int(total),
        month_total=int(month_total),
        spikes=tuple(spikes),
        watermark=watermark,
    )


def store_sweep(connection: Connection, sweep: Sweep) -> bool:
    """Store a sweep unless its hour has one; whether this one was stored."""
    content = to_document(sweep)
    values: dict[str, Any] = {
        "period_start": from_microseconds(sweep.hour.start_us),
        "period_end": from_microseconds(sweep.hour.end_us),
        "complete": sweep.watermark.complete,
        "content": Jsonb(content),
        "content_sha256": digest(content),
    }
    return connection.execute(query("insert_sweep"), values).rowcount == 1


def to_document(sweep: Sweep) -> Document:
    """The sweep as plain JSON values; at most 100 missed spikes by name."""
    missed = sweep.missed
    return {
        "kind": KIND,
        "hour": sweep.hour.label,
        "active_users": sweep.active_users,
        "total": usd_text(sweep.total),
        "month_total": usd_text(sweep.month_total),
        "spikes": len(sweep.spikes),
        "missed": len(missed),
        "missed_spikes": [
            {
                "user_id": spike.user_id,
                "total": usd_text(spike.amount),
                "limit": usd_text(spike.limit),
                "period_start": rfc3339(spike.period_start_us),
            }
            for spike in missed[:MISSED_MAX]
        ],
        "complete": sweep.watermark.complete,
    }


def _bounds(start_us: int, end_us: int) -> dict[str, Any]:
    return {"start": from_microseconds(start_us), "end": from_microseconds(end_us)}
