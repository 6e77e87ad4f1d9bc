"""The demo from start to end: start, replay, wait for quiet, reconcile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from costledger.deploy.demo.scenario import BUDGETS, USERS, demo_trace
from costledger.deploy.demo.screen import Moment, Screen
from costledger.deploy.demo.watch import Watch
from costledger.deploy.local_system import LocalSystem
from costledger.deploy.publishing import Published, command_tracker
from costledger.schemas.alerts import AlertRecord
from costledger.schemas.events import CostEvent
from costledger.schemas.money import usd_text
from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds

if TYPE_CHECKING:
    from costledger.sinks.reconcile import Report

#: For the last acknowledgements, and then for the sink.
QUIET_TIMEOUT_SECONDS: Final = 30.0
_DRAW_SECONDS: Final = 0.25
_ALERT_FIELDS: Final = ("alert_id", "kind", "state", "severity", "user_id", "threshold_percent", "message")


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What came of it; `seconds` is the time of the replay."""

    published: Published
    alerts: list[AlertRecord]
    report: Report
    seconds: float

    @property
    def ok(self) -> bool:
        """Every event is on Kafka and in the ledger, and everything agrees."""
        return self.published.ok and self.report.ok and self.report.total("lag") == 0

    def to_document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            **self.published.to_document(),
            "ok": self.ok,
            "users": USERS,
            "seconds": round(self.seconds, 3),
            "alerts": [
                {**{name: alert[name] for name in _ALERT_FIELDS}, "actual_usd": usd_text(alert["actual"])}
                for alert in self.alerts
            ],
            "reconcile": self.report.to_dict(),
        }


def run_demo(system: LocalSystem, screen: Screen, seconds: float) -> DemoResult:
    """Replay the sample through a system that is ready, in so many seconds; then compare everything."""
    from costledger.sinks.reconcile import reconcile

    settings = system.settings
    defaults = settings.budget_defaults()
    budgets = {budget.user_id: budget.limits(defaults).monthly for budget in BUDGETS}
    with Watch(settings, budgets) as watch:
        started_at = time.monotonic()
        with screen:
            published = _replay(system, settings, watch, screen, seconds)
            seconds_taken = time.monotonic() - started_at
            report = reconcile(settings, wait_seconds=QUIET_TIMEOUT_SECONDS)
            # Redis agrees with the ledger, so the stream app has seen every event, and sent its alerts before.
            last = watch.last_alerts()
            lag = published.acknowledged - watch.in_ledger()
            screen.show(Moment(seconds_taken, published.events, published.events, lag, watch.totals()), last)
        return DemoResult(published, list(watch.alerts), report, seconds_taken)


def _replay(system: LocalSystem, settings: Settings, watch: Watch, screen: Screen, seconds: float) -> Published:
    published = Published()
    tracker = command_tracker(settings, published)
    with tracker, demo_trace(time.time_ns() // 1000) as trace:
        started_at = time.monotonic()
        drawn_at = 0.0
        expected = sum(1 for _ in trace.events())
        for due_seconds, event in _paced(trace.events(), seconds):
            while True:
                now = time.monotonic()
                if now - drawn_at >= _DRAW_SECONDS:
                    drawn_at = now
                    system.tick()
                    acked = tracker.stats()["acked"]
                    lag = max(0, acked - watch.in_ledger())
                    screen.show(Moment(now - started_at, acked, expected, lag, watch.totals()), watch.new_alerts())
                ahead_seconds = started_at + due_seconds - now
                if ahead_seconds <= 0:
                    break
                time.sleep(min(ahead_seconds, _DRAW_SECONDS))
            tracker.emit(event)
            published.count(event)
        tracker.flush(QUIET_TIMEOUT_SECONDS)
        published.acknowledged = tracker.stats()["acked"]
    return published


def _paced(events: Iterator[CostEvent], seconds: float) -> Iterator[tuple[float, CostEvent]]:
    """Each event with the second of the replay at which it is due: as spread as in the sample."""
    ordered = sorted(events, key=lambda event: event.occurred_at)
    times = [to_microseconds(event.occurred_at) for event in ordered]
    span_us = max(1, times[-1] - times[0]) if times else 1
    return ((seconds * (at - times[0]) / span_us, event) for at, event in zip(times, ordered, strict=True))
