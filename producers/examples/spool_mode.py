"""Events that outlive their process: with the spool, what was tracked is on the local disk until Kafka has it.

A service tracks calls while Kafka cannot be reached, and dies; the next one that starts sends what it left.
The spool lies in COSTLEDGER_SPOOL_DIR.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from costledger.producers import CostTracker

CALLS = 100
WAIT_SECONDS = 30


def die_while_kafka_is_away() -> None:
    """Track, and end as a `kill -9` would: no flush, no farewell."""
    tracker = CostTracker(source="photo-service", durability="spool")
    for _ in range(CALLS):
        tracker.track_rekognition("user-1", "detectLabels", 1)
    os._exit(9)


def main() -> None:
    """Let a process die with its events unsent, then start again."""
    nowhere = {**os.environ, "COSTLEDGER_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    died = subprocess.run([sys.executable, __file__, "die"], env=nowhere, check=False)
    print(f"a service died (exit code {died.returncode}) with {CALLS} events unsent")
    with CostTracker(source="photo-service", durability="spool") as tracker:
        deadline = time.monotonic() + WAIT_SECONDS
        while tracker.stats()["acked"] < CALLS and time.monotonic() < deadline:
            time.sleep(0.1)
        stats = tracker.stats()
    print(f"the next one found and sent {stats['acked']}; {stats['spooled']} are still on disk")
    assert stats["acked"] == CALLS


if __name__ == "__main__":
    die_while_kafka_is_away() if "die" in sys.argv else main()
