"""The load generator's process: `python -m tests.fault.harness.load_main LOAD-AS-JSON FOLDER`.

For every event: a line of the oracle, then `track()`. Random numbers come from the seed alone; the clock only paces.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer
from tests.fault.harness.load import Load
from tests.fault.harness.oracle import CONFLICT, EVENT, POISON, REPEAT, OracleFile

from costledger.producers import CostTracker
from costledger.producers.channel import producer_config
from costledger.schemas.ids import new_event_id
from costledger.schemas.settings import Settings, load_settings

DAY_SECONDS: Final = 86_400
SERVICES: Final = ("openai", "aws-rekognition", "stripe")
OPERATIONS: Final = ("tokens", "detectLabels", "charge")
#: Events that may be sent once more: repeats come soon, as those of a producer do that is unsure.
REPEATABLE_MAX: Final = 200
TICK_SECONDS: Final = 0.01
#: A generator that fell behind its rate catches up by so many events a tick at most.
TICK_EVENTS_MAX: Final = 500


class Generating:
    """One run of a load."""

    def __init__(self, load: Load, folder: Path, settings: Settings) -> None:
        self.load = load
        self.chance = random.Random(load.seed)
        self.stopping = threading.Event()
        self.path = folder / load.name
        self.attempted = OracleFile(self.path.with_suffix(".attempted"))
        self.acked = OracleFile(self.path.with_suffix(".acked"))
        self.tracker = CostTracker(
            source="load",
            durability=load.durability,
            delivery_timeout_seconds=load.delivery_timeout_seconds,
            flush_timeout_seconds=load.flush_seconds,
        )
        if load.durability == "memory":
            self.tracker.subscribe(lambda event_id, _partition, _offset: self.acked.write(event_id))
        self.topic = settings.topics.events
        self.poisoner = Producer({**producer_config(settings), "linger.ms": 5}) if load.poison_share else None
        self.recent: deque[dict[str, Any]] = deque(maxlen=REPEATABLE_MAX)

    def run(self) -> None:
        """Attempt until there are enough, or until stopped; then flush, and tell the counts."""
        begun, sent = time.monotonic(), 0
        while not self.stopping.is_set() and (self.load.events is None or sent < self.load.events):
            due = self.load.due(time.monotonic() - begun) - sent
            if self.load.events is not None:
                due = min(due, self.load.events - sent)
            for _ in range(min(due, TICK_EVENTS_MAX)):
                self.attempt()
                sent += 1
            self.stopping.wait(TICK_SECONDS)
        if self.poisoner is not None:
            self.poisoner.flush(self.load.flush_seconds)
        self.tracker.close()
        self.path.with_suffix(".done").write_text(json.dumps(self.tracker.stats()))

    def attempt(self) -> None:
        """One attempt of some kind."""
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
            self.send(CONFLICT, {**earlier, "quantity": earlier["quantity"] + 10**9, "metadata": {"try": "again"}})
            return
        record = self.new_record()
        self.recent.append(record)
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
        back = chance.randrange(load.recent_seconds * 10**6)
        if chance.random() < load.late_share:
            back = chance.randrange(load.late_days_max * DAY_SECONDS * 10**6)
        occurred_at = time.time_ns() // 1000 - back
        which = chance.randrange(len(SERVICES))
        unpriced = chance.random() < load.unpriced_share
        amount = None if unpriced else chance.choice((1, chance.randrange(load.amount_max), chance.randrange(10**6)))
        return {
            "event_id": str(new_event_id(occurred_at)),
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


def main() -> int:
    """Run one load."""
    load = Load(**json.loads(sys.argv[1]))
    sys.stdout.write(f"load {load}\n")
    generating = Generating(load, Path(sys.argv[2]), load_settings())
    signal.signal(signal.SIGTERM, lambda *_: generating.stopping.set())
    generating.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
