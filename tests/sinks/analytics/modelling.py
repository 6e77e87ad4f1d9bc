"""The same questions answered the slow way, from the events themselves."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from tests.sinks.conftest import make_event

from costledger.schemas.events import CostEvent
from costledger.schemas.ids import derived_event_id, new_event_id
from costledger.schemas.times import from_microseconds, to_microseconds

OPERATIONS = [("openai", "input-tokens"), ("openai", "output-tokens"), ("aws-s3", "put"), ("aws-s3", "get")]


class Span(Protocol):
    """Anything with a start and an end in Unix microseconds."""

    @property
    def start_us(self) -> int: ...

    @property
    def end_us(self) -> int: ...


def events_around(
    rng: random.Random, now: datetime, users: Sequence[str], zones: Sequence[str], count: int
) -> list[CostEvent]:
    """Events of 13 months, many at the edges of the zones' days; credits, unpriced ones, and some taken back."""
    events: list[CostEvent] = []
    while len(events) < count:
        at = now - timedelta(seconds=rng.random() ** 3 * 395 * 86_400)
        if rng.random() < 0.4:
            # Within an hour and a half of a midnight of a zone.
            local = at.astimezone(ZoneInfo(rng.choice(zones))).replace(hour=0, minute=0, second=0, microsecond=0)
            at = local.astimezone(UTC) + rng.choice([-1, 1]) * timedelta(microseconds=rng.randrange(5_400_000_000))
            at = at if rng.random() < 0.8 else local.astimezone(UTC)
        if at >= now:
            continue
        service, operation = rng.choice(OPERATIONS)
        amount = None if rng.random() < 0.1 else rng.randrange(-(10**12), 10**13)
        event = make_event(
            rng.choice(users),
            service=service,
            operation=operation,
            amount=amount,
            quantity=rng.randrange(1, 10**12),
            occurred_at=at,
            event_id=new_event_id(to_microseconds(at) + rng.randrange(-900_000, 900_000)),
        )
        events.append(event)
        if rng.random() < 0.1:
            events.append(reversal_of(event))
    return events


def reversal_of(event: CostEvent) -> CostEvent:
    """The entry that takes an event back."""
    return replace(
        event,
        event_id=derived_event_id(to_microseconds(event.occurred_at), "reversal", str(event.event_id)),
        quantity=-event.quantity,
        amount=None if event.amount is None else -event.amount,
        reverses_event_id=event.event_id,
    )


def within(events: Iterable[CostEvent], user: str, span: Span) -> list[CostEvent]:
    """The user's events in an interval."""
    start, end = from_microseconds(span.start_us), from_microseconds(span.end_us)
    return [event for event in events if event.user_id == user and start <= event.occurred_at < end]


def amount_of(events: Iterable[CostEvent]) -> int:
    """The sum of what has a price, in 1e-12 USD."""
    return sum(event.amount or 0 for event in events)


def sums_of(events: Iterable[CostEvent]) -> dict[tuple[str, str], tuple[int, int, int, int, int | None]]:
    """(service, operation) -> events, unpriced, quantity, amount, largest; without those of which nothing is left."""
    grouped: dict[tuple[str, str], list[CostEvent]] = {}
    for event in events:
        grouped.setdefault((event.service, event.operation), []).append(event)
    found = {}
    for key, some in grouped.items():
        signs = [1 if event.reverses_event_id is None else -1 for event in some]
        unpriced = sum(sign for sign, event in zip(signs, some, strict=True) if event.amount is None)
        priced = [event.amount for event in some if event.amount is not None and event.reverses_event_id is None]
        quantity = sum(event.quantity for event in some)
        sums = (sum(signs), unpriced, quantity, amount_of(some), max(priced, default=None))
        if any(sums[:4]) or priced:
            found[key] = sums
    return found
