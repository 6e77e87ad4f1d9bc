"""Brings saved budgets to Kafka at once, in a thread: no request waits for Kafka.

A convenience, not the guarantee: a budget and its message are rows of one transaction, and the notifier relays whatever
is there. This one only makes a change felt sooner, also on a machine without a notifier.
"""

from __future__ import annotations

from costledger.schemas.settings import Settings
from costledger.sinks.budgets import relay_budgets
from costledger.sinks.database import Connection, connect
from costledger.sinks.delivery import Deliverer
from costledger.sinks.relay import Relay

#: What is under way is left to the notifier.
STOP_SECONDS_MAX = 0.5


class BudgetCourier:
    """A thread that empties the outbox of budgets when told to, and tries again while that fails."""

    def __init__(self, settings: Settings) -> None:
        deliverer = Deliverer(settings, "costledger-api-budgets")
        topic = settings.topics.budgets

        def open_connection() -> Connection:
            url = settings.database_url.get_secret_value()
            return connect(url, "costledger api budgets", settings.database_timeout_seconds)

        self._relay = Relay(
            "budgets of the API",
            open_connection,
            lambda connection: relay_budgets(connection, deliverer, topic),
            deliverer.close,
            when_told=True,
        )

    def start(self) -> None:
        """Start the thread; it connects when there is something to do."""
        self._relay.start()

    def tell(self) -> None:
        """There is a budget to be brought. Returns at once."""
        self._relay.tell()

    def stop(self) -> None:
        """End the thread."""
        self._relay.stop(STOP_SECONDS_MAX)
