"""Worker processes for the guard's tests: each reserves, works, tracks and settles in several threads.

Run as a program with one JSON argument. It forks `processes` children; each prints a line of JSON at its end.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import random
import sys
import threading
import time
from typing import Any
from uuid import UUID

import redis

from costledger.producers.guard import RedisGuard
from costledger.producers.guard.decisions import MONTHLY_EXCEEDED, RECOVERING, UNAVAILABLE
from costledger.schemas.budgets import Budget
from costledger.schemas.ids import new_event_id

USER = "ann"
DEADLINE_SECONDS = 60.0


class LateTracker:
    """Events reach the topic (a list, whose positions are the offsets) late, and are acknowledged later still."""

    def __init__(self, log_url: str, log_key: str, seed: int) -> None:
        self._topic = redis.Redis.from_url(log_url)
        self._key = log_key
        self._rng = random.Random(seed)
        self._waiting: list[tuple[float, UUID, int, int]] = []
        self._lock = threading.Condition()
        self._listeners: list[Any] = []
        self._at_work = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def subscribe(self, listener: Any) -> None:
        """As the tracker's."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Any) -> None:
        """As the tracker's."""
        self._listeners.remove(listener)

    def track(self, amount: int) -> UUID:
        """An event of this amount."""
        event_id = new_event_id(time.time_ns() // 1000)
        self._put(event_id, amount, -1, 0.06)
        return event_id

    def flush(self) -> None:
        """Wait until every event is acknowledged."""
        with self._lock:
            while self._waiting or self._at_work:
                self._lock.wait(0.05)

    def _put(self, event_id: UUID, amount: int, offset: int, seconds_max: float) -> None:
        with self._lock:
            due = time.monotonic() + self._rng.random() * seconds_max
            heapq.heappush(self._waiting, (due, event_id, amount, offset))
            self._lock.notify_all()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting or self._waiting[0][0] > time.monotonic():
                    self._lock.wait(0.005 if self._waiting else None)
                _, event_id, amount, offset = heapq.heappop(self._waiting)
                self._at_work = True
            if offset < 0:
                self._put(event_id, amount, self._topic.rpush(self._key, amount) - 1, 0.03)
            else:
                for listener in list(self._listeners):
                    listener(event_id, 0, offset)
            with self._lock:
                self._at_work = False
                self._lock.notify_all()


def work(guard: RedisGuard, tracker: LateTracker, options: dict[str, Any], seed: int, done: dict[str, int]) -> None:
    """Jobs of random cost until the month's total itself leaves no room for the smallest one."""
    rng = random.Random(seed)
    least, most, budget = options["least"], options["most"], options["budget"]
    deadline = time.monotonic() + DEADLINE_SECONDS
    ask_for = None
    while time.monotonic() < deadline:
        estimate = ask_for or rng.randint(least, most)
        made = guard.reserve(USER, estimate, key=f"{seed}-{rng.random()}" if rng.random() < 0.3 else None)
        decision = made.decision
        if not decision.may_run:
            if decision.code not in (RECOVERING, UNAVAILABLE):
                assert decision.code == MONTHLY_EXCEEDED
                if decision.month_to_date + least > budget and estimate == least:
                    done["exhausted"] += 1
                    return
                ask_for = least
            time.sleep(0.02 + rng.random() * 0.1)
            continue
        time.sleep(rng.random() * 0.01)
        if rng.random() < 0.1:
            guard.release(USER, made.reservation_id)
            continue
        actual = estimate if rng.random() < 0.5 else rng.randint(0, estimate)
        first = rng.randint(0, actual)
        events = [tracker.track(part) for part in (first, actual - first)]
        time.sleep(rng.choice([0, 0.02, 0.1]) * rng.random())
        guard.settle(USER, made.reservation_id, actual, events)
        done["jobs"] += 1
        done["spent"] += actual


def run_process(options: dict[str, Any], number: int) -> None:
    """One process of several threads."""
    seed = options["seed"] * 1000 + number * 100
    spend = None
    if options.get("database_url"):
        from costledger.sinks.spend import LedgerReader

        spend = LedgerReader(options["database_url"]).month_to_date
    guard = RedisGuard(
        options["redis_url"],
        budgets=lambda user: Budget(user_id=user, monthly_budget=options["budget"]),
        spend=spend,
        recovery_seconds=options["recovery_seconds"],
        reservation_seconds=options["reservation_seconds"],
        settled_hold_seconds=options["settled_hold_seconds"],
        timeout_seconds=5,
    )
    tracker = LateTracker(options["log_url"], options["log_key"], seed)
    guard.follow(tracker)
    guard.prepare(DEADLINE_SECONDS)
    done = {"jobs": 0, "spent": 0, "exhausted": 0}
    threads = [
        threading.Thread(target=work, args=(guard, tracker, options, seed + each, done))
        for each in range(options["threads"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracker.flush()
    guard.close()
    say({"pid": os.getpid(), **done, "codes": guard.stats()})


def say(document: dict[str, Any]) -> None:
    """One line on stdout, in one piece."""
    os.write(1, json.dumps(document).encode() + b"\n")


def main() -> None:
    """Fork the processes and wait for them."""
    options = json.loads(sys.argv[1])
    children = []
    for number in range(options["processes"]):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(KeyboardInterrupt):
                run_process(options, number)
            os._exit(0)
        children.append(pid)
    say({"children": children})
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
