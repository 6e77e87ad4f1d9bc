"""Who takes part in the demo: six users of one language model, with budgets that make alerts fire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Final

from costledger.producers.importers import LlmTrace, read_trace, sample_trace
from costledger.schemas.budgets import Budget
from costledger.schemas.money import PICODOLLARS_PER_USD
from costledger.schemas.settings import Settings
from costledger.schemas.times import from_microseconds

MODEL: Final = "gpt-4"
#: Each of them spends about 6 to 7 USD in the sample.
USERS: Final = 6

BUDGETS: Final = (
    Budget(user_id="user-0000", tier="free"),
    Budget(user_id="user-0001", tier="free"),
    Budget(user_id="user-0002"),
    Budget(user_id="user-0003", tier="premium"),
    Budget(user_id="user-0004", tier="premium", alert_thresholds=(Decimal(10), Decimal(50))),
    Budget(user_id="user-0005", monthly_budget=4 * PICODOLLARS_PER_USD, hourly_spike_limit=3 * PICODOLLARS_PER_USD),
)


@contextmanager
def demo_trace(now_us: int) -> Iterator[LlmTrace]:
    """The sample, moved so that its last request was made now (Unix microseconds). Lasts some four minutes."""
    with sample_trace() as path:
        yield read_trace(path, MODEL, users=USERS, shift_to=from_microseconds(now_us), source="costledger-demo")


def set_budgets(settings: Settings) -> None:
    """Write the users' budgets and bring them to Kafka: before the workers start, so that they apply at once."""
    from costledger.sinks.budgets import relay_budgets, save_budget
    from costledger.sinks.database import connect
    from costledger.sinks.delivery import Deliverer

    deliverer = Deliverer(settings, "costledger-demo")
    url = settings.database_url.get_secret_value()
    with connect(url, "costledger demo", settings.database_timeout_seconds) as connection:
        for budget in BUDGETS:
            save_budget(connection, budget)
        relay_budgets(connection, deliverer, settings.topics.budgets)
    deliverer.close()
