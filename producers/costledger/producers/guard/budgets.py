"""What a budget allows, remembered for a few seconds."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Final, TypeVar

from costledger.producers.guard.pause import PAUSE_SECONDS, Pause
from costledger.schemas.budgets import Budget
from costledger.schemas.errors import Unavailable, shown

#: A user's own budget; None where none was set. May raise whatever its source raises.
BudgetSource = Callable[[str], Budget | None]

Value = TypeVar("Value")

_USERS_MAX: Final = 10_000
#: A source that took longer to fail than this is as good as silent, for every user.
_SLOW_SECONDS: Final = 0.5


class BudgetCache:
    """Budgets by user, at most `seconds` old.

    A failure is remembered too, for `PAUSE_SECONDS`: that of one user, or, where it took long, of the source. Else
    each of many jobs would wait as long.
    """

    def __init__(self, source: BudgetSource, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._seconds = seconds
        self._clock = clock
        # Reentrant: a signal handler that closes the tracker comes in here, while its own thread may be inside.
        self._lock = RLock()
        self._budgets: OrderedDict[str, tuple[float, Budget]] = OrderedDict()
        self._failures: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._pause = Pause(clock)

    def get(self, user_id: str) -> Budget:
        """The budget in force, the defaults' where none was set; raises what the source raises.

        `Unavailable` where it has only just failed.
        """
        held = self._budgets.get(user_id)
        if held is not None and self._clock() - held[0] < self._seconds:
            return held[1]
        # Before it is read: an answer that takes long is as old as its question.
        asked_at = self._clock()
        self._check_failures(user_id, asked_at)
        try:
            found = self._source(user_id)
            # Taken for a budget, anything else would fail wherever it is used, or pass for none.
            if found is not None and not isinstance(found, Budget):
                raise Unavailable(f"its source gave {shown(found)} of type {type(found).__name__}, which is no budget")
            budget = Budget(user_id=user_id) if found is None else found
        except Exception as error:
            self._failed(user_id, asked_at, error)
            raise
        with self._lock:
            _put_bounded(self._budgets, user_id, (asked_at, budget))
        return budget

    def time_zone(self, user_id: str) -> str:
        """The zone of the user's months as last known, however long ago; UTC where nothing is."""
        held = self._budgets.get(user_id)
        return "UTC" if held is None else held[1].time_zone

    def _check_failures(self, user_id: str, now: float) -> None:
        if self._pause.is_on:
            raise Unavailable("its source took long to fail a moment ago")
        failed_at, text = self._failures.get(user_id, (now - PAUSE_SECONDS, ""))
        if now - failed_at < PAUSE_SECONDS:
            raise Unavailable(f"a moment ago: {text}")

    def _failed(self, user_id: str, asked_at: float, error: Exception) -> None:
        now = self._clock()
        if now - asked_at > _SLOW_SECONDS:
            self._pause.begin()
        with self._lock:
            _put_bounded(self._failures, user_id, (now, str(error)))


def _put_bounded(mapping: OrderedDict[str, Value], key: str, value: Value) -> None:
    mapping[key] = value
    mapping.move_to_end(key)
    while len(mapping) > _USERS_MAX:
        mapping.popitem(last=False)
