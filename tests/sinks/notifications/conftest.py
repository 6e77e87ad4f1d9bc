"""What the tests of delivery share: receivers, a clock that is set by hand, and a desk with a ledger and routes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.sinks.conftest import Ledger
from tests.sinks.notifications.receivers import MailServer, Receiver, make_certificate

from costledger.schemas.alerts import AlertKind, AlertState, CostAlert, Severity
from costledger.schemas.codec import encode_alert
from costledger.schemas.settings import Settings
from costledger.sinks.alerts import store_alerts
from costledger.sinks.database import Connection, connect
from costledger.sinks.notifications import people
from costledger.sinks.notifications.dispatch import Dispatcher, deliver_due
from costledger.sinks.notifications.routes import AddedRoute, add_route, wanted_route
from costledger.sinks.notifications.sending import send
from costledger.sinks.patience import PatientConnection

ALERT = CostAlert(
    kind=AlertKind.BUDGET_THRESHOLD,
    state=AlertState.ALARM,
    severity=Severity.WARNING,
    user_id="alice",
    scope="total",
    period_start=1_793_491_200_000_000,
    period_end=1_796_083_200_000_000,
    actual=7_500_000_000_001,
    limit=7_500_000_000_000,
    threshold_percent=Decimal(75),
    budget_version=3,
    occurred_at=1_795_400_000_000_000,
    raised_at=1_795_400_000_000_001,
    message="75 % of the budget is spent.",
)


def many_alerts(count: int, **changes: Any) -> list[CostAlert]:
    """Alerts that differ in their threshold, raised a second apart."""
    return [
        replace(ALERT, threshold_percent=Decimal(n + 1), raised_at=ALERT.raised_at + n * 1_000_000, **changes)
        for n in range(count)
    ]


@pytest.fixture(scope="session", autouse=True)
def loaded() -> None:
    """The library of mail and chats is there before anything is timed: to load it takes as long as some attempts may."""
    assert people._plugin("mailto://127.0.0.1?from=alerts@costs.example") is not None


class Stored:
    """An alert's bytes with their place on the topic, as a consumer gives them."""

    def __init__(self, alert: CostAlert, offset: int) -> None:
        self._value = encode_alert(alert)
        self._offset = offset

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return (1, 0)


@dataclass
class Seen:
    """An observer that counts."""

    counts: Counter[str] = field(default_factory=Counter)

    def delivered(self, channel: str, seconds: list[float]) -> None:
        self.counts[f"{channel} delivered"] += len(seconds)

    def failed(self, channel: str, dead: int) -> None:
        self.counts[f"{channel} failed"] += 1
        self.counts[f"{channel} dead"] += dead


class Desk:
    """A ledger with alerts, routes and deliveries, and the hand on the clock."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self.ledger = ledger
        self.settings = settings
        self.seen = Seen()
        self.now: datetime = ledger.one("SELECT now()")
        self.connection = connect(ledger.url, "tests", 10)

    def clock(self, _connection: Connection) -> datetime:
        """The time as set."""
        return self.now

    def pass_time(self, **units: float) -> None:
        """Let time pass."""
        self.now += timedelta(**units)

    def store(self, *alerts: CostAlert) -> int:
        """Store alerts as the notifier does; how many were new."""
        outcome = store_alerts(self.connection, "cost.alerts", [Stored(one, n) for n, one in enumerate(alerts)])
        assert outcome.refused == []
        # What the database has stamped is not in the future of the clock that the test sets.
        self.now = max(self.now, self.ledger.one("SELECT now()"))
        return sum(outcome.stored.values())

    def route(self, channel: str, target: str, user_id: str | None = "alice", **other: Any) -> AddedRoute:
        """Add a route."""
        wanted = wanted_route(self.settings, user_id=user_id, channel=channel, target=target, **other)
        return add_route(self.connection, wanted)

    def dispatcher(self, **other: Any) -> Dispatcher:
        """What delivers, at the time as set."""
        return Dispatcher(
            **{"settings": self.settings, "observer": self.seen, "clock": self.clock, "send": send, **other}
        )

    def deliver(self, route: AddedRoute, **other: Any) -> int:
        """Deliver what is due on a route now."""
        patient = PatientConnection(lambda: connect(self.ledger.url, "tests", 10))
        try:
            return deliver_due(self.dispatcher(**other), patient, route.route_id)
        finally:
            patient.close()

    def states(self) -> list[str]:
        """The states of all deliveries, sorted."""
        return [state for (state,) in self.ledger.all("SELECT state FROM ledger.alert_deliveries ORDER BY 1")]

    def next_attempt(self) -> datetime:
        """When the next attempt of any delivery is due, with its route's rest."""
        due: datetime = self.ledger.one(
            "SELECT min(greatest(d.next_attempt_at, r.retry_at)) FROM ledger.alert_deliveries d "
            "JOIN ledger.alert_routes r USING (route_id) WHERE d.state = 'pending'"
        )
        return due

    def jobs(self) -> int:
        """Jobs that wait."""
        return int(self.ledger.one("SELECT count(*) FROM jobs.procrastinate_jobs WHERE status = 'todo'"))

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


@pytest.fixture
def ledger(api_database: str) -> Iterator[Ledger]:
    """A fresh migrated database: a copy, which takes a tenth of migrating."""
    ledger = Ledger(api_database)
    yield ledger
    ledger.connection.close()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Start HTTP servers; stopped at the end."""
    started: list[Receiver] = []

    def start(certificate: Path | None = None) -> Receiver:
        started.append(Receiver(certificate))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def receiver(receive: Callable[..., Receiver]) -> Receiver:
    """An HTTP server that takes everything."""
    return receive()


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    """An SMTP server that takes everything."""
    server = MailServer()
    yield server
    server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody knows."""
    return make_certificate(tmp_path / "certificate.pem")


@pytest.fixture
def make_desk(ledger: Ledger) -> Iterator[Callable[..., Desk]]:
    """Make desks on this test's ledger, with settings of theirs."""
    made: list[Desk] = []

    def make(**other: Any) -> Desk:
        values = {
            "database_url": ledger.url,
            "database_timeout_seconds": 10,
            "delivery_allow_private_targets": True,
            "delivery_timeout_http_seconds": 1,
            **other,
        }
        made.append(Desk(ledger, Settings(**values)))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def start_delivery_process(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start workers that deliver as processes of their own, with more variables where given; killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(settings: Settings, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        values = settings.model_dump(mode="json", exclude_defaults=True)
        values["database_url"] = settings.database_url.get_secret_value()
        environment = {f"COSTLEDGER_{name.upper()}": str(one) for name, one in values.items()}
        path = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with (tmp_path / f"delivery-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("delivery_process.py"))],
                env={**path, **environment, **(variables or {})},
                stdout=log,
                stderr=log,
                cwd=tmp_path,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    """A desk."""
    return make_desk()


def alert_ids(alerts: list[CostAlert]) -> list[UUID]:
    """Their ids."""
    return [one.alert_id for one in alerts]
