"""Publish events and wait until Kafka has every one of them: what `emit`, `import` and `demo` share."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka.admin import AdminClient

from costledger.deploy.console import err
from costledger.deploy.kafka_topics import cluster_metadata
from costledger.schemas.errors import Unavailable
from costledger.schemas.events import AHEAD_MICROSECONDS_MAX
from costledger.schemas.kafka_config import client_config
from costledger.schemas.money import usd_text
from costledger.schemas.settings import Settings

if TYPE_CHECKING:
    from costledger.producers import CostTracker, EventDropped, Stats
    from costledger.schemas.events import CostEvent

#: How far ahead of the clock an event may be.
AHEAD_MAX: Final = timedelta(microseconds=AHEAD_MICROSECONDS_MAX)
_FLUSH_STEP_SECONDS: Final = 0.5
_PROGRESS_EVERY_EVENTS: Final = 500


@dataclass(slots=True)
class Published:
    """What came of it. `amount` is the exact sum in 1e-12 USD of all events that have a price.

    `ahead` counts the events that the sink will refuse, if this machine's clock and the broker's agree.
    """

    events: int = 0
    amount: int = 0
    unpriced: int = 0
    ahead: int = 0
    acknowledged: int = 0
    errors: list[str] = field(default_factory=list)

    def count(self, event: CostEvent) -> None:
        """One more event was handed to the tracker."""
        self.events += 1
        self.amount += event.amount or 0
        self.unpriced += event.amount is None
        self.ahead += event.occurred_at - datetime.now(UTC) > AHEAD_MAX

    @property
    def ok(self) -> bool:
        """Kafka has acknowledged every event."""
        return self.acknowledged == self.events

    def to_document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.ok,
            "events": self.events,
            "acknowledged": self.acknowledged,
            "unpriced": self.unpriced,
            "ahead": self.ahead,
            "total_usd": usd_text(self.amount),
            "errors": self.errors,
        }

    def to_text(self) -> str:
        """For people."""
        lines = [f"{self.acknowledged} of {self.events} events acknowledged, {usd_text(self.amount)} USD"]
        if self.unpriced:
            lines.append(f"{self.unpriced} events are unpriced: no price is known for them")
        if self.ahead:
            minutes = AHEAD_MAX // timedelta(minutes=1)
            lines.append(
                f"{self.ahead} events are more than {minutes} minutes ahead of this machine's clock: "
                "they go to quarantine, not to the ledger"
            )
        lines += [f"not published: {error}" for error in self.errors]
        return "\n".join(lines)


def publish(settings: Settings, events: Iterable[CostEvent], expected: int | None = None) -> Published:
    """Publish the events and wait for the acknowledgements, with a progress bar on a terminal.

    `Unavailable` at once when Kafka cannot be reached or has no such topic. Afterwards what fails is in the result.
    """
    require_topic(settings, settings.topics.events)
    result = Published()
    tracker = command_tracker(settings, result)
    with _Progress(expected) as progress, tracker:
        for event in events:
            tracker.emit(event, wait_seconds=settings.delivery_timeout_seconds)
            result.count(event)
            if result.events % _PROGRESS_EVERY_EVENTS == 0:
                progress.show(tracker.stats())
        # Longer than an event may try: by then each is acknowledged or given up.
        deadline = time.monotonic() + settings.delivery_timeout_seconds + settings.flush_timeout_seconds
        while tracker.flush(_FLUSH_STEP_SECONDS) and time.monotonic() < deadline:
            progress.show(tracker.stats())
        progress.show(tracker.stats())
        result.acknowledged = tracker.stats()["acked"]
    return result


def command_tracker(settings: Settings, result: Published) -> CostTracker:
    """A tracker whose drops are noted in `result`.

    Always in the mode `memory`, whatever the services' setting is: a command waits for its own events alone, and has
    neither a transaction of somebody's to write them into nor another run that would send what a spool keeps.
    """
    from costledger.producers import CostTracker

    return CostTracker(durability="memory", on_error=Dropped(result), topic=settings.topics.events)


def require_topic(settings: Settings, topic: str) -> None:
    """Raise `Unavailable` when Kafka cannot be reached or lacks the topic."""
    admin = AdminClient({**client_config(settings, "costledger-cli"), "log_level": 0})
    if topic not in cluster_metadata(admin, settings).topics:
        raise Unavailable(
            f"Kafka at {settings.bootstrap_servers} has no topic {topic}: create it with `costledger topics`"
        )


class Dropped:
    """Remembers the first few reasons why events were given up."""

    SHOWN_MAX: Final = 5

    def __init__(self, result: Published) -> None:
        self._result = result

    def __call__(self, dropped: EventDropped) -> None:
        if len(self._result.errors) < self.SHOWN_MAX:
            self._result.errors.append(str(dropped))


class _Progress:
    """A bar on stderr, on a terminal alone."""

    def __init__(self, expected: int | None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = err()
        columns = (TextColumn("publishing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("publishing", total=expected)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def show(self, stats: Stats) -> None:
        """Bring the bar up to date."""
        self._bar.update(self._task, completed=stats["acked"])
