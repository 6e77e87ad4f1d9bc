"""Answers over all users, remembered for some seconds: they are the same for everybody, and dear."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

ANSWERS_MAX: Final = 32
#: While one request asks anew, others get the old answer if it is no older than so many times its life.
STALE_LIVES_MAX: Final = 4

Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Entry(Generic[Answer]):
    asking: threading.Lock = field(default_factory=threading.Lock)
    answer: Answer | None = None
    made_at: float = 0.0


class Remembered(Generic[Answer]):
    """At most `ANSWERS_MAX` answers, each for `seconds` (0: none). Safe to share between threads.

    One thread at a time makes an answer; the others wait for it, or get the one before. An error is not remembered.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry[Answer]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Answer]) -> Answer:
        """The answer of this key; made if there is none that is young enough. Raises what `make` raises."""
        if self._seconds <= 0:
            return make()
        entry = self._entry(key)
        answer = self._younger_than(entry, self._seconds)
        if answer is not None:
            return answer
        usable = self._younger_than(entry, self._seconds * STALE_LIVES_MAX)
        if not entry.asking.acquire(blocking=usable is None):
            assert usable is not None  # noqa: S101 - else the lock was waited for
            return usable
        try:
            answer = self._younger_than(entry, self._seconds)
            if answer is None:
                answer = make()
                entry.answer, entry.made_at = answer, self._clock()
            return answer
        finally:
            entry.asking.release()

    def _entry(self, key: Hashable) -> _Entry[Answer]:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > ANSWERS_MAX:
                self._entries.popitem(last=False)
            return entry

    def _younger_than(self, entry: _Entry[Answer], seconds: float) -> Answer | None:
        # The answer before its time: a pair that is torn by another thread is at worst too young by one answer.
        answer, made_at = entry.answer, entry.made_at
        return answer if answer is not None and self._clock() - made_at < seconds else None
