"""The load under which latency is measured, and what its report says should become visible where. Pure.

What sends it: programs/latency_load.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from tests.bench.latencies import NOWHERE, Probe

from costledger.schemas.budgets import Budget
from costledger.schemas.events import EventRecord
from costledger.schemas.ids import new_event_id
from costledger.schemas.money import PICODOLLARS_PER_USD, to_usd

#: Enough for most of the 12 partitions to have some.
PROBE_USERS = 24
PROBES_PER_SECOND = 100
ALERTS_PER_SECOND = 20
#: Of each event of a probe user, 1e-12 USD: so their total is their number.
PROBE_AMOUNT = 1_000_000
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Load:
    """`rate` events a second for `seconds`; those of the first `warm_up_seconds` are no samples."""

    rate: int
    seconds: float
    warm_up_seconds: float

    @property
    def total_seconds(self) -> float:
        """How long it is sent."""
        return self.seconds + self.warm_up_seconds

    @cached_property
    def probe_users(self) -> list[str]:
        """Those whose totals are watched."""
        return [f"probe-{number:02d}" for number in range(PROBE_USERS)]

    @cached_property
    def alert_users(self) -> list[str]:
        """Those that come to their budget, each with its only event."""
        return [f"alert-{number:06d}" for number in range(int(ALERTS_PER_SECOND * self.total_seconds))]

    def arguments(self) -> str:
        """For the program that sends it. At least every other event is one of the crowd."""
        return json.dumps(
            {
                "rate": self.rate,
                "seconds": self.total_seconds,
                "probe_users": self.probe_users,
                "probe_every": max(2, self.rate // PROBES_PER_SECOND),
                "probe_amount_usd": f"{to_usd(PROBE_AMOUNT):f}",
                "alert_users": self.alert_users,
                "alert_every": max(2, self.rate // ALERTS_PER_SECOND),
            }
        )

    def budgets(self) -> Iterator[Budget]:
        """With one event each alert user comes to 100 % of the budget, which is the only threshold."""
        for user in self.alert_users:
            thresholds = (Decimal(100),)
            yield Budget(
                user_id=user, version=1, monthly_budget=PICODOLLARS_PER_USD, alert_thresholds=thresholds, updated_at=0
            )

    def pilots(self, now_us: int) -> Iterator[EventRecord]:
        """An event of each probe user: when all can be seen, everything works, and the load may begin."""
        for user in self.probe_users:
            yield {
                "event_id": str(new_event_id(now_us)),
                "user_id": user,
                "service": "bench",
                "operation": "pilot",
                "category": "USAGE",
                "quantity": 10**9,
                "unit": "event",
                "unit_price": None,
                "price_version": None,
                "amount": PROBE_AMOUNT,
                "currency": "USD",
                "occurred_at": now_us,
                "source": "bench",
                "reverses_event_id": None,
                "metadata": {},
            }


@dataclass(frozen=True)
class Sent:
    """An event that was sent as a sample."""

    user: str
    event_id: str
    due_ns: int


@dataclass(frozen=True)
class LoadReport:
    """What the program says after the load."""

    probes: list[Sent]
    alerts: list[Sent]
    rate_reached: float
    late_ms_max: float
    cpu_seconds: float
    acked: int
    dropped: int

    @classmethod
    def parse(cls, text: str) -> LoadReport:
        """From the program's file."""
        report: dict[str, Any] = json.loads(text)
        return cls(
            [Sent(*one) for one in report["probes"]],
            [Sent(*one) for one in report["alerts"]],
            report["rate_reached"],
            report["late_ms_max"],
            report["cpu_seconds"],
            report["stats"]["acked"],
            report["stats"]["dropped"],
        )

    def redis_probes(self) -> list[Probe]:
        """A user's pilot comes first, so the user's first event is seen as the second one."""
        counts: dict[str, int] = {}
        probes = []
        for sent in self.probes:
            counts[sent.user] = counts.get(sent.user, 1) + 1
            probes.append(Probe(sent.user, counts[sent.user], sent.due_ns))
        return probes

    def alert_probes(self) -> list[Probe]:
        """One alert for each user."""
        return [Probe(sent.user, 1, sent.due_ns) for sent in self.alerts]

    def ledger_probes(self, places: Mapping[str, tuple[int, int]]) -> list[Probe]:
        """`places` has partition and offset of each event that has a row in the ledger."""
        probes = []
        for sent in self.probes:
            if sent.event_id in places:
                partition, offset = places[sent.event_id]
                probes.append(Probe(str(partition), offset + 1, sent.due_ns))
            else:
                probes.append(Probe(NOWHERE, 1, sent.due_ns))
        return probes

    def counted_from_ns(self, load: Load) -> int:
        """When the warm-up was over; it begins with the first event that was due."""
        begun_ns = min(sent.due_ns for sent in (*self.probes, *self.alerts))
        return begun_ns + int(load.warm_up_seconds * _NANOSECONDS)
