"""A steady stream of events from the SDK: what a service sends, whatever becomes of it.

`python latency_load.py LOAD REPORT`; LOAD is a JSON object (see `Load`), REPORT a file that is written at the end. Where
Kafka is, and all else, is in the settings of the SDK.

The load is open: event number n is *due* n/rate seconds after the start, and is sent as soon as it is due, whether or
not anything else keeps up. Latency counts from there, so a generator that falls behind hides nothing.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from costledger.producers import CostTracker

USERS = 2_000
SEED = 20_261_129
#: Between two rounds of sending; an event is sent at most so long after it was due, and that counts as latency.
TICK_SECONDS = 0.001
START_AFTER_SECONDS = 0.1
ALERT_AMOUNT_USD = Decimal(1)
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Load:
    """`rate` events a second for `seconds`. Every `probe_every`th is of a probe user, in turn, with `probe_amount_usd`.

    Every `alert_every`th is the only event of one of the alert users: it comes to their budget.
    """

    rate: int
    seconds: float
    probe_users: list[str]
    probe_every: int
    probe_amount_usd: str
    alert_users: list[str]
    alert_every: int


class Generating:
    """One run of a load, and the book of the events that are sampled."""

    def __init__(self, load: Load, tracker: CostTracker) -> None:
        self._load = load
        self._tracker = tracker
        self._probe_amount = Decimal(load.probe_amount_usd)
        #: The crowd: evenly, and each user with all services. The same in every run.
        self._chance = random.Random(SEED)
        self._users = [f"user-{number:05d}" for number in range(USERS)]
        self._calls: list[Callable[[str, int], object]] = [
            lambda user, n: tracker.track_rekognition(user, "detectLabels", n),
            tracker.track_transcribe,
            lambda user, n: tracker.track_comprehend(user, "detectSentiment", 100 * n),
            lambda user, n: tracker.track_s3(user, "put", n),
            lambda user, n: tracker.track_embedding(user, "text-embedding-3-small", 1_000 * n),
        ]
        #: User, event id, when it was due (ns).
        self.probes: list[tuple[str, str, int]] = []
        self.alerts: list[tuple[str, str, int]] = []
        self.late_ns_max = 0

    def run(self) -> float:
        """Send everything; the events per second that it came to."""
        load, number = self._load, 0
        total = int(load.rate * load.seconds)
        start_ns = time.monotonic_ns() + int(START_AFTER_SECONDS * NANOSECONDS)
        while number < total:
            now_ns = time.monotonic_ns()
            due = min(total, (now_ns - start_ns) * load.rate // NANOSECONDS + 1)
            if number < due:
                self.late_ns_max = max(self.late_ns_max, now_ns - start_ns - number * NANOSECONDS // load.rate)
            while number < due:
                self._send(number, start_ns + number * NANOSECONDS // load.rate)
                number += 1
            time.sleep(TICK_SECONDS)
        return total / ((time.monotonic_ns() - start_ns) / NANOSECONDS)

    def _send(self, number: int, due_ns: int) -> None:
        load = self._load
        if number % load.probe_every == 0:
            user = load.probe_users[len(self.probes) % len(load.probe_users)]
            event_id = self._tracker.track(user, "bench", "probe", 1, amount=self._probe_amount)
            self.probes.append((user, str(event_id), due_ns))
        elif number % load.alert_every == 1 and len(self.alerts) < len(load.alert_users):
            user = load.alert_users[len(self.alerts)]
            event_id = self._tracker.track(user, "bench", "alert", 1, amount=ALERT_AMOUNT_USD)
            self.alerts.append((user, str(event_id), due_ns))
        else:
            user = self._users[self._chance.randrange(USERS)]
            self._calls[number % len(self._calls)](user, 1 + number % 9)


def main() -> None:
    """Run the load; the report has what was sampled, what rate it came to, and the tracker's counts."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    load = Load(**json.loads(sys.argv[1]))
    # As a service makes it: mode `memory`, all else by default.
    tracker = CostTracker(source="bench")
    generating = Generating(load, tracker)
    rate_reached = generating.run()
    tracker.close()
    report: dict[str, Any] = {
        "probes": generating.probes,
        "alerts": generating.alerts,
        "rate_reached": rate_reached,
        "late_ms_max": generating.late_ns_max / 1e6,
        "cpu_seconds": time.process_time(),
        "stats": tracker.stats(),
    }
    Path(sys.argv[2]).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
