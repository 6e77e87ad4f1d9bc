"""I5: what Redis shows so many seconds after all is quiet, looked at while the other promises are checked."""

from __future__ import annotations

import threading
import time
from typing import Final

import redis
from tests.fault.harness.findings import Findings
from tests.fault.harness.totals_checks import Amounts, Key, compare_totals, redis_totals

_PAUSE_SECONDS: Final = 0.25
_LOOK_SECONDS_MAX: Final = 60.0


class RedisLooks:
    """Looks again and again from a thread of its own; the last look begins when the time is up, and none after it."""

    def __init__(self, client: redis.Redis, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self._looked = threading.Condition()
        self._latest: dict[Key, Amounts] | None = None
        self._is_last = False
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="redis looks", daemon=True)

    def __enter__(self) -> RedisLooks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(_LOOK_SECONDS_MAX)

    def compare(self, findings: Findings, wanted: dict[Key, Amounts]) -> None:
        """I5: of the latest look, and where that differs of the ones after it, until the time is up."""
        while True:
            latest, is_last = self._take()
            found = Findings()
            compare_totals(found, "I5", "Redis", wanted, latest)
            if not found.broken or is_last:
                findings.broken.update(found.broken)
                return

    def _take(self) -> tuple[dict[Key, Amounts], bool]:
        with self._looked:
            there = self._looked.wait_for(
                lambda: self._latest is not None or self._failure is not None, self._seconds + _LOOK_SECONDS_MAX
            )
            if self._failure is not None:
                raise self._failure
            assert there, "Redis could not be looked at"
            assert self._latest is not None
            latest = self._latest
            if not self._is_last:
                self._latest = None
            return latest, self._is_last

    def _run(self) -> None:
        deadline = time.monotonic() + self._seconds
        try:
            while True:
                is_last = time.monotonic() >= deadline
                seen = redis_totals(self._client)
                with self._looked:
                    self._latest, self._is_last = seen, is_last
                    self._looked.notify_all()
                if is_last or self._stopping.wait(min(_PAUSE_SECONDS, max(0.0, deadline - time.monotonic()))):
                    return
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            with self._looked:
                self._failure = error
                self._looked.notify_all()
