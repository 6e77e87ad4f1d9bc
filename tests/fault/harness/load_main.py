"""The load generator's process: `python -m tests.fault.harness.load_main LOAD-AS-JSON FOLDER`.

For every event: a line of the oracle, then `emit_record`, which is `track_*` behind the price book. What is drawn comes from the seed
alone; the clock says when, and dates what is drawn.
SIGUSR1 has it rest until SIGUSR2; SIGTERM has it flush and end.
"""

from __future__ import annotations

import gc
import hashlib
import json
import random
import signal
import sys
import threading
import time
from collections import deque
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final
from unittest import mock

from confluent_kafka import Producer
from prometheus_client import CollectorRegistry
from tests.fault.harness.load import Load
from tests.fault.harness.oracle import CONFLICT, EVENT, POISON, REFUSED, REPEAT, OracleFile

from costledger.deploy.observe import ObserveServer, observe_memory
from costledger.producers import CostTracker
from costledger.producers.channel import producer_config
from costledger.schemas.ids import derived_event_id
from costledger.schemas.settings import Settings, load_settings
from costledger.schemas.stopping import StopRequest

DAY_SECONDS: Final = 86_400
SERVICES: Final = ("openai", "aws-rekognition", "stripe")
OPERATIONS: Final = ("tokens", "detectLabels", "charge")
#: Events that may be sent once more: repeats come soon, as those of a producer do that is unsure.
REPEATABLE_MAX: Final = 200
#: A conflict that has waited for so many attempts is given up: behind the backlog of an outage it would come further from its
#: first than the stream remembers (20,000 events of a partition), which nobody promises to recognise.
CONFLICT_ATTEMPTS_MAX: Final = 10_000
TICK_SECONDS: Final = 0.01
#: A generator that fell behind its rate catches up by so many events a tick at most.
TICK_EVENTS_MAX: Final = 500
AHEAD_SECONDS_MAX: Final = 600
#: Whether an event is too far ahead is decided when the broker stores it, which may be a while later: none is dated so
#: little below the limit, nor so little above it.
AHEAD_DOUBT_SECONDS: Final = (5, 1_800)


class Clock:
    """The clock of this process, which may be wrong; what paces and waits (`time.monotonic`) is right."""

    def __init__(self) -> None:
        self.right_ns = time.time_ns
        self.shift_seconds = 0

    def install(self) -> None:
        """Have everybody in this process who asks for the time be told the wrong one."""
        mock.patch.multiple(time, time_ns=self.wrong_ns, time=lambda: self.wrong_ns() / 1e9).start()

    def wrong_ns(self) -> int:
        """What this process takes for the time, in nanoseconds since 1970."""
        return self.right_ns() + self.shift_seconds * 10**9


class Generating:
    """One run of a load."""

    def __init__(self, load: Load, folder: Path, settings: Settings) -> None:
        self.load = load
        self.folder = folder
        self.stopping = StopRequest()
        #: Set by signal handlers, as the request is: nothing with a lock.
        self.resting = False
        self.begin(load.name, load.seed)
        self.clock = Clock()
        if any(load.clock_shifts_seconds):
            self.clock.install()
        self.tracker = CostTracker(
            source="load",
            durability=load.durability,
            queue_events_max=load.queue_events_max,
            delivery_timeout_seconds=load.delivery_timeout_seconds,
            flush_timeout_seconds=load.flush_seconds,
        )
        if load.durability == "memory" or load.conflict_share:
            # Not without need: a tracker with a listener serves its callbacks in another thread than one without.
            self.tracker.subscribe(lambda event_id, _partition, _offset: self.note_acked(str(event_id)))
        self.topic = settings.topics.events
        self.poisoner = Producer({**producer_config(settings), "linger.ms": 5}) if load.poison_share else None

    def begin(self, name: str, seed: int) -> None:
        """Begin a record of its own; also a forked child's, which goes on with the tracker of its parent."""
        self.chance = random.Random(seed)
        self.path = self.folder / name
        self.attempted = OracleFile(self.path.with_suffix(".attempted"))
        self.acked = OracleFile(self.path.with_suffix(".acked"))
        self.recent: deque[dict[str, Any]] = deque(maxlen=REPEATABLE_MAX)
        #: Conflicts that wait until Kafka has the event whose id they have, each with the number of the attempt that it was made
        #: at: what waits in a spool may be overtaken, and the first of two payloads is the event.
        self.waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self.attempts = 0
        #: Whether Kafka has them: the events of `recent` and those that conflicts wait for.
        self.stored: dict[str, bool] = {}

    def end(self) -> None:
        """Every `track()` has returned: note so, with the tracker's counts."""
        self.path.with_suffix(".done").write_text(json.dumps(self.tracker.stats()))

    def run(self) -> None:
        """Attempt until there are enough, or until stopped; then flush, and tell the counts."""
        begun, sent = time.monotonic(), 0
        while not self.stopping.is_set() and (self.load.events is None or sent < self.load.events):
            if self.resting:
                begun += self.rest()
                continue
            due = self.load.due(time.monotonic() - begun) - sent
            if self.load.events is not None:
                due = min(due, self.load.events - sent)
            for _ in range(min(due, TICK_EVENTS_MAX)):
                self.clock.shift_seconds = self.shift_at(sent)
                self.attempt()
                sent += 1
            self.stopping.wait(TICK_SECONDS)
        if self.poisoner is not None:
            self.poisoner.flush(self.load.flush_seconds)
        self.tracker.close()
        self.end()

    def rest(self) -> float:
        """Attempt nothing until told to go on, or to end; the seconds that it took."""
        began = time.monotonic()
        # Without work no objects are made, and the collector would not come: what an outage left in cycles would count as held.
        gc.collect()
        while self.resting and not self.stopping.wait(TICK_SECONDS):
            pass
        return time.monotonic() - began

    def shift_at(self, sent: int) -> int:
        """By how many seconds the clock is wrong after so many attempts."""
        shifts = self.load.clock_shifts_seconds
        return shifts[min(sent * len(shifts) // (self.load.events or sent + 1), len(shifts) - 1)]

    def note_acked(self, event_id: str) -> None:
        """Kafka has an event; called from any thread."""
        if event_id in self.stored:
            self.stored[event_id] = True
        if self.load.durability == "memory":
            self.acked.write(event_id)

    def remember(self, record: dict[str, Any]) -> None:
        """Repeats and conflicts are made of the latest events."""
        if len(self.recent) == REPEATABLE_MAX and self.recent[0]["event_id"] not in self.awaited():
            del self.stored[self.recent[0]["event_id"]]
        self.recent.append(record)
        self.stored[record["event_id"]] = False

    def next_conflict(self) -> dict[str, Any]:
        """The one that has waited for the longest time."""
        _, conflict = self.waiting.popleft()
        event_id = conflict["event_id"]
        if event_id not in self.awaited() and all(record["event_id"] != event_id for record in self.recent):
            del self.stored[event_id]
        return conflict

    def awaited(self) -> set[str]:
        """The ids of events that conflicts wait for."""
        return {other["event_id"] for _, other in self.waiting}

    def attempt(self) -> None:
        """One attempt of some kind."""
        self.attempts += 1
        while self.waiting and self.attempts - self.waiting[0][0] > CONFLICT_ATTEMPTS_MAX:
            self.next_conflict()
        if self.waiting and self.stored[self.waiting[0][1]["event_id"]]:
            self.send(CONFLICT, self.next_conflict())
            return
        drawn = self.chance.random()
        load = self.load
        if self.poisoner is not None and drawn < load.poison_share:
            self.send_poison(self.poisoner)
            return
        drawn -= load.poison_share
        if self.recent and drawn < load.repeat_share:
            self.send(REPEAT, self.chance.choice(self.recent))
            return
        drawn -= load.repeat_share
        if self.recent and drawn < load.conflict_share:
            earlier = self.chance.choice(self.recent)
            amount = (earlier["amount"] or 0) + 10**6
            other = {**earlier, "quantity": earlier["quantity"] + 10**9, "amount": amount, "metadata": {"try": "again"}}
            if len(self.waiting) < REPEATABLE_MAX:
                self.waiting.append((self.attempts, other))
        record = self.new_record()
        if record["occurred_at"] > self.clock.right_ns() // 1000 + AHEAD_SECONDS_MAX * 10**6:
            self.send(REFUSED, record)
            return
        self.remember(record)
        self.send(EVENT, record)

    def send(self, kind: str, record: dict[str, Any]) -> None:
        """Write the line, then track."""
        amount = "-" if record["amount"] is None else record["amount"]
        names = ("event_id", "user_id", "service", "operation", "occurred_at")
        self.attempted.write(kind, *(record[name] for name in names), amount)
        self.tracker.emit_record(record)

    def send_poison(self, poisoner: Producer) -> None:
        """Bytes that are no event, under the key of a user whose events are around it."""
        payload = b"poison " + self.chance.randbytes(24)
        user = f"user-{self.chance.randrange(self.load.users):03d}"
        self.attempted.write(POISON, hashlib.sha256(payload).hexdigest())
        poisoner.produce(self.topic, payload, user.encode())
        poisoner.poll(0)

    def new_record(self) -> dict[str, Any]:
        """A valid event."""
        chance, load = self.chance, self.load
        occurred_at = self.new_time()
        which = chance.randrange(len(SERVICES))
        unpriced = chance.random() < load.unpriced_share
        amount = None if unpriced else chance.choice((1, chance.randrange(load.amount_max), chance.randrange(10**6)))
        return {
            "event_id": str(derived_event_id(occurred_at, chance.randbytes(16))),
            "user_id": f"user-{chance.randrange(load.users):03d}",
            "service": SERVICES[which],
            "operation": OPERATIONS[which],
            "category": "USAGE",
            "quantity": 10**9 * chance.randrange(1, 100),
            "unit": "call",
            "unit_price": None,
            "price_version": None if unpriced else "fault-harness",
            "amount": amount,
            "currency": "USD",
            "occurred_at": occurred_at,
            "source": "load",
            "reverses_event_id": None,
            "metadata": {},
        }

    def new_time(self) -> int:
        """When an event occurred, in Unix microseconds."""
        chance, load = self.chance, self.load
        now = time.time_ns() // 1000
        if load.around and chance.random() < load.around_share:
            around = chance.choice(load.around) * 10**6
            return min(now, around + chance.randrange(-load.around_seconds, load.around_seconds) * 10**6)
        back = chance.randrange(load.recent_seconds * 10**6)
        if chance.random() < load.late_share:
            back = chance.randrange(load.late_days_max * DAY_SECONDS * 10**6)
        ahead_seconds = (now - back) / 10**6 - self.clock.right_ns() / 10**9
        if 0 < ahead_seconds - AHEAD_SECONDS_MAX + AHEAD_DOUBT_SECONDS[0] < sum(AHEAD_DOUBT_SECONDS):
            back += sum(AHEAD_DOUBT_SECONDS) * 10**6
        return now - back


def main() -> int:
    """Run one load."""
    load = Load(**json.loads(sys.argv[1]))
    sys.stdout.write(f"load {load}\n")
    raised = note_exceptions()
    generating = Generating(load, Path(sys.argv[2]), load_settings())
    signal.signal(signal.SIGTERM, lambda *_: generating.stopping.set())
    signal.signal(signal.SIGUSR1, lambda *_: setattr(generating, "resting", True))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(generating, "resting", False))
    generating.path.with_suffix(".begun").touch()
    with observed(load.metrics_port) if load.metrics_port else nullcontext():
        generating.run()
    # Whatever is away: no exception reaches the service, in no thread of it.
    return 1 if raised else 0


def note_exceptions() -> list[str]:
    """What is raised in other threads, or where nobody can hear of it, from now on."""
    raised: list[str] = []

    def note(told: Any) -> None:
        raised.append(repr(told.exc_value))
        sys.stderr.write(f"raised in the service: {told}\n")

    threading.excepthook = note
    sys.unraisablehook = note
    return raised


def observed(port: int) -> ObserveServer:
    """Tells of this process what a worker tells of itself."""
    registry = CollectorRegistry()
    observe_memory(registry)
    return ObserveServer("127.0.0.1", port, registry, lambda: (True, "at work"))


if __name__ == "__main__":
    sys.exit(main())
