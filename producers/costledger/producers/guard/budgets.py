"""What a budget allows, remembered for a few seconds."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Final

from costledger.schemas.budgets import Budget

#: A user's own budget; None where none was set. May raise whatever its source raises.
BudgetSource = Callable[[str], Budget | None]

_USERS_MAX: Final = 10_000


class BudgetCache:
    """Budgets by user, at most `seconds` old."""

    def __init__(self, source: BudgetSource, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._seconds = seconds
        self._clock = clock
        # Reentrant: a signal handler that closes the tracker comes in here, while its own thread may be inside.
        self._lock = RLock()
        self._budgets: OrderedDict[str, tuple[float, Budget]] = OrderedDict()

    def get(self, user_id: str) -> Budget:
        """The budget in force, the defaults' where none was set; raises what the source raises."""
        held = self._budgets.get(user_id)
        if held is not None and self._clock() - held[0] < self._seconds:
            return held[1]
        # Before it is read: an answer that takes long is as old as its question.
        asked_at = self._clock()
        budget = self._source(user_id) or Budget(user_id=user_id)
        with self._lock:
            self._budgets[user_id] = (asked_at, budget)
            self._budgets.move_to_end(user_id)
            while len(self._budgets) > _USERS_MAX:
                self._budgets.popitem(last=False)
        return budget

    def time_zone(self, user_id: str) -> str:
        """The zone of the user's months as last known, however long ago; UTC where nothing is."""
        held = self._budgets.get(user_id)
        return "UTC" if held is None else held[1].time_zone
