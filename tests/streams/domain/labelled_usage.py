"""Labelled usage: made-up users of known kinds, hour by hour, with injected anomalies of known size.

Each kind is a shape of the week with noise. An injected anomaly adds so many times the usual amount of the hour (of
the user's busy hours, where the hour is quiet) to one service, for one to three hours.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from costledger.schemas.ids import derived_event_id

USD = 10**12
HOUR = 3_600_000_000
START = 1_788_134_400_000_000  # Monday, 31 August 2026, midnight in UTC
SERVICES = ("openai", "aws-rekognition")
#: The first weeks are history without injections; nothing in them is judged.
HISTORY_WEEKS = 3


def office(hour: int, day: int) -> float:
    """Working hours from Monday to Friday."""
    return max(0.0, math.sin((hour - 7) / 11 * math.pi)) if 8 <= hour < 18 and day % 7 < 5 else 0.0


def wave(hour: int, day: int) -> float:
    """Always on, more by day, and more on weekends."""
    return (1 + 0.8 * math.sin((hour - 6) / 12 * math.pi)) * (1.4 if day % 7 >= 5 else 1.0)


def steady(hour: int, day: int) -> float:
    """The same at every hour."""
    return 1.0


def growing(hour: int, day: int) -> float:
    """A wave that grows by a tenth each week."""
    return float(wave(hour, day) * 1.1 ** (day / 7))


def nightly(hour: int, day: int) -> float:
    """One job each night."""
    return 4.0 if hour == 3 else 0.0


@dataclass(frozen=True)
class Kind:
    """A kind of user: shape of the week, noise (standard deviation of the logarithm), share of hours with any use."""

    shape: Callable[[int, int], float]
    noise: float
    share: float = 1.0
    #: A week without any use.
    holiday_week: int | None = None


KINDS = {
    "office": Kind(office, 0.3),
    "office, on holiday": Kind(office, 0.3, holiday_week=2),
    "wave": Kind(wave, 0.25),
    "wave, noisy": Kind(wave, 0.4),
    "steady": Kind(steady, 0.1),
    "growing": Kind(growing, 0.25),
    "nightly": Kind(nightly, 0.2),
    "sparse": Kind(steady, 0.5, share=0.15),
}


@dataclass
class Usage:
    """The amounts of one user, by (hour from the start, service), and the hours in which they are anomalous."""

    user: str
    kind: str
    amounts: dict[tuple[int, str], int] = field(default_factory=dict)
    #: (service, first hour, hours, size in times of the usual amount)
    injected: list[tuple[str, int, int, int]] = field(default_factory=list)


def usage(user: str, kind_name: str, weeks: int, chance: random.Random, sizes: tuple[int, ...] = ()) -> Usage:
    """One user's weeks; with `sizes`, one injection in each week after the history."""
    kind, made = KINDS[kind_name], Usage(user, kind_name)
    scales = {service: 10 ** chance.uniform(-1, 0.7) for service in SERVICES}
    for hour in range(weeks * 168):
        shape = 0.0 if hour // 168 == kind.holiday_week else kind.shape(hour % 24, hour // 24)
        for service, scale in scales.items():
            amount = scale * shape * math.exp(chance.gauss(0, kind.noise))
            if amount > 0 and chance.random() < kind.share:
                made.amounts[hour, service] = int(amount * USD)
    shapes = [kind.shape(hour % 24, hour // 24) for hour in range(168)]
    busy = sum(shapes) / sum(shape > 0 for shape in shapes)
    for week in range(HISTORY_WEEKS, weeks) if sizes else ():
        service, first, size = chance.choice(SERVICES), week * 168 + chance.randrange(160), chance.choice(sizes)
        count = chance.randint(1, 3)
        for hour in range(first, first + count):
            shape = kind.shape(hour % 24, hour // 24) or busy
            added = int(size * scales[service] * shape * USD)
            made.amounts[hour, service] = made.amounts.get((hour, service), 0) + added
        made.injected.append((service, first, count, size))
    return made


def records(users: list[Usage], events_an_hour: int = 1) -> Iterator[dict]:
    """The events of all users in the order of time: each hour's amount in so many events."""
    rows = sorted((hour, one.user, service, amount) for one in users for (hour, service), amount in one.amounts.items())
    for hour, user, service, amount in rows:
        for part in range(events_an_hour):
            at = START + hour * HOUR + (part + 1) * HOUR // (events_an_hour + 1)
            yield {
                "event_id": str(derived_event_id(at, user, service, str(part))),
                "user_id": user,
                "service": service,
                "operation": "o",
                "amount": amount // events_an_hour + (amount % events_an_hour if part == 0 else 0),
                "occurred_at": at,
                "reverses_event_id": None,
            }
