"""Which events of settled amounts are on the topic, learned from the ledger.

A service that settles over HTTP tracks its events itself, so no tracker of this process hears of them. The ledger has
them a moment later, with their offsets: from then on the guard can tell whether the totals have them too. Without
this, each settled amount would count beside the totals for `COSTLEDGER_GUARD_SETTLED_HOLD_SECONDS`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

logger = logging.getLogger(__name__)

#: Events that are awaited; with more, the oldest are awaited no longer.
EVENTS_MAX: Final = 50_000
#: Events that one question to the ledger is about.
ASKED_AT_ONCE_MAX: Final = 1000
_INTERVAL_SECONDS: Final = 0.5
_INTERVAL_SECONDS_MAX: Final = 30.0

Listener = Callable[[UUID, int, int], None]


class Place(NamedTuple):
    """Where an event lies on `cost.events`, and whose it is."""

    event_id: UUID
    user_id: str
    partition: int
    offset: int


class PlaceSource(Protocol):
    """Finds events; may raise whatever its source raises."""

    def __call__(self, event_ids: Sequence[UUID]) -> Iterable[Place]:
        """The places of those that are there."""
        ...


class Confirmations:
    """Tells its listeners of each awaited event once the ledger has it. What a guard can `follow`.

    An event is awaited for at most `seconds_max`; one that turns out to be another user's is awaited no more, since its
    offset says nothing about this user's totals. Safe to share between threads.
    """

    def __init__(
        self,
        places: PlaceSource,
        seconds_max: float,
        *,
        interval_seconds: float = _INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = places
        self._seconds_max = seconds_max
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._awaited: OrderedDict[UUID, tuple[str, float]] = OrderedDict()
        self._listeners: list[Listener] = []
        self._ended = threading.Event()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._awaited)

    def subscribe(self, listener: Listener) -> None:
        """Call the listener for every event that is found."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Call it no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def expect(self, user_id: str, event_ids: Sequence[UUID]) -> None:
        """Look out for these events of a user."""
        now = self._clock()
        with self._lock:
            for event_id in event_ids:
                self._awaited[event_id] = (user_id, now)
            dropped = len(self._awaited) - EVENTS_MAX
            for _ in range(dropped):
                self._awaited.popitem(last=False)
        if dropped > 0:
            logger.warning("%d events of settled amounts are awaited no more: more than %d are", dropped, EVENTS_MAX)
        if event_ids:
            self._wanted.set()

    def begin(self) -> None:
        """Look in a thread of its own from now on."""
        self._thread = threading.Thread(target=self._run, name="costledger-confirmations", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> int:
        """Ask once for what is awaited, tell of what is there, and return how many that was."""
        with self._lock:
            now = self._clock()
            while self._awaited and now - next(iter(self._awaited.values()))[1] > self._seconds_max:
                self._awaited.popitem(last=False)
            awaited = list(self._awaited)
        found = 0
        for start in range(0, len(awaited), ASKED_AT_ONCE_MAX):
            for place in self._places(awaited[start : start + ASKED_AT_ONCE_MAX]):
                found += self._tell(place)
        return found

    def _tell(self, place: Place) -> int:
        with self._lock:
            user_id, _ = self._awaited.pop(place.event_id, (None, 0.0))
        if user_id != place.user_id:
            return 0
        for listener in list(self._listeners):
            listener(place.event_id, place.partition, place.offset)
        return 1

    def _run(self) -> None:
        interval = self._interval_seconds
        while not self._ended.is_set():
            self._wanted.wait()
            if self._ended.wait(interval):
                return
            try:
                self.look()
                interval = self._interval_seconds
            except Exception as error:  # noqa: BLE001 - whatever the ledger raises: asked again later
                logger.warning("the ledger cannot be asked which settled events it has (%s): asked again later", error)
                interval = min(interval * 2, _INTERVAL_SECONDS_MAX)
            with self._lock:
                if not self._awaited and not self._ended.is_set():
                    self._wanted.clear()
