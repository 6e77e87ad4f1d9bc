"""The events of a benchmark: the same for every contender, made again whenever they are needed.

Two hours of traffic in the order of time, spread evenly over the users and over five operations. The mean user
spends the default monthly budget, so that thresholds and spikes are met about as often whatever the number of events.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from costledger.schemas.events import EventRecord
from costledger.schemas.ids import derived_event_id
from costledger.schemas.periods import PeriodKind, period_at

#: Service, operation, unit, price per unit in USD.
_OPERATIONS = (
    ("aws-rekognition", "detectLabels", "image", "0.001"),
    ("aws-comprehend", "detectSentiment", "100 characters", "0.0001"),
    ("aws-s3", "get", "request", "0.0000004"),
    ("openai", "input-tokens", "token", "0.0000025"),
    ("openai", "output-tokens", "token", "0.00001"),
)
_HOUR_MICROSECONDS = 3600 * 1_000_000
_SPAN_MICROSECONDS = 2 * _HOUR_MICROSECONDS
#: A service's hour in the history. In the load it comes to one or two dollars: neither an anomaly nor a spike …
_HISTORY_PICODOLLARS = 2 * 10**12
#: … but for every so-manyth user, who spent a tenth of that before.
THRIFTY_EVERY = 50
_MEAN_SPEND_PICODOLLARS = 10 * 10**12
_NANOUNITS_MAX = 10**13


@dataclass(frozen=True)
class History:
    """What came before: for `days` up to `end_us` (Unix microseconds) an event of each user in every hour.

    The operations take turns, so that after a day each user has had them all. An hour costs about what a service costs in
    an hour of the load, and in a few users much less: the load is unusual for those alone.
    """

    days: int
    users: int
    end_us: int

    @property
    def events(self) -> int:
        """How many there are."""
        return self.days * 24 * self.users

    @property
    def amount(self) -> int:
        """Their sum, 1e-12 USD."""
        return sum(map(self.spent_by, range(self.users)))

    def spent_by(self, user: int) -> int:
        """What a user has spent in it, 1e-12 USD."""
        return self.days * 24 * hourly_spend(user)

    def records(self) -> Iterator[EventRecord]:
        """In the order of time."""
        for hour in range(self.days * 24):
            for user in range(self.users):
                service, operation, unit, unit_price = _OPERATIONS[(hour + user) % len(_OPERATIONS)]
                occurred_at = self.end_us - (self.days * 24 - hour) * _HOUR_MICROSECONDS + user
                yield {
                    "event_id": str(derived_event_id(occurred_at, "history", f"{hour} {user}")),
                    "user_id": user_id(user),
                    "service": service,
                    "operation": operation,
                    "category": "USAGE",
                    "quantity": 10**9,
                    "unit": unit,
                    "unit_price": unit_price,
                    "price_version": "bench",
                    "amount": hourly_spend(user),
                    "currency": "USD",
                    "occurred_at": occurred_at,
                    "source": "bench",
                    "reverses_event_id": None,
                    "metadata": {},
                }


def load_end_us(now_us: int) -> int:
    """When a load ends (Unix microseconds): now, or with the last month, since in two months nobody would come to a budget."""
    month_start_us = period_at(PeriodKind.MONTH, now_us).start_us
    return now_us if now_us - _SPAN_MICROSECONDS >= month_start_us else month_start_us - 1


def user_id(user: int) -> str:
    """The id of a user by number, in history and load."""
    return f"user-{user:05d}"


def hourly_spend(user: int) -> int:
    """What a user spends in each hour of the history, 1e-12 USD."""
    return _HISTORY_PICODOLLARS if user % THRIFTY_EVERY else _HISTORY_PICODOLLARS // 10


@dataclass(frozen=True)
class Workload:
    """`events` events of `users` users, the last one at `end_us` (Unix microseconds)."""

    events: int
    users: int
    end_us: int
    seed: int

    @property
    def start_us(self) -> int:
        """No event is earlier (Unix microseconds)."""
        return self.end_us - _SPAN_MICROSECONDS

    def records(self, count: int | None = None) -> Iterator[EventRecord]:
        """The records of all events, or of the first `count`; always the same ones."""
        return islice(self._records(), self.events if count is None else count)

    @cached_property
    def amount(self) -> int:
        """The sum of all amounts, 1e-12 USD."""
        return self.amount_of(self.events)

    def amount_of(self, count: int) -> int:
        """The sum of the first `count` amounts, 1e-12 USD."""
        return sum(record["amount"] or 0 for record in self.records(count))

    def _records(self) -> Iterator[EventRecord]:
        chance = random.Random(self.seed)
        amount_max = 2 * _MEAN_SPEND_PICODOLLARS * self.users // self.events
        for number in range(self.events):
            occurred_at = self.start_us + _SPAN_MICROSECONDS * (number + 1) // self.events
            service, operation, unit, unit_price = chance.choice(_OPERATIONS)
            yield {
                "event_id": str(derived_event_id(occurred_at, str(self.seed), str(number))),
                "user_id": user_id(chance.randrange(self.users)),
                "service": service,
                "operation": operation,
                "category": "USAGE",
                "quantity": chance.randrange(1, _NANOUNITS_MAX),
                "unit": unit,
                "unit_price": unit_price,
                "price_version": "bench",
                "amount": chance.randrange(amount_max),
                "currency": "USD",
                "occurred_at": occurred_at,
                "source": "bench",
                "reverses_event_id": None,
                "metadata": {},
            }
