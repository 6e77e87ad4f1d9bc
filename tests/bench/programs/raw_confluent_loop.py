"""The same limit as `raw_aiokafka_loop.py` with librdkafka: `consume(n)`, decode, one dict update, commit.

`python raw_confluent_loop.py BOOTSTRAP TOPIC GROUP COMMIT_SECONDS REPORT`; on SIGTERM the sum of the totals goes to
the file REPORT. Its garbage collector is that of our own worker.
"""

from __future__ import annotations

import signal
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaException

from costledger.schemas.codec import current_schema, without_logical_types
from costledger.schemas.memory import collect_seldom

HEADER_BYTES = 10
#: `consume` waits for so many, or for so long: short, since at the end of the topic that wait is part of the run.
CONSUME_RECORDS_MAX = 10_000
CONSUME_WAIT_SECONDS = 0.02
FETCH_BYTES_MAX = 4 * 1024 * 1024
FETCH_BACKOFF_MS = 10


def caught_up(consumer: Consumer) -> bool:
    """Whether every partition is read to its end: then the last commit need not wait for its time."""
    for place in consumer.position(consumer.assignment()):
        _, end = consumer.get_watermark_offsets(place, cached=True)
        if place.offset != end:
            return False
    return True


def run(bootstrap: str, topic: str, group: str, commit_seconds: float) -> int:
    """Read until SIGTERM, committing every `commit_seconds` what has been added; the sum of the totals."""
    schema = fastavro.parse_schema(without_logical_types(current_schema("cost_event")))
    read = fastavro.schemaless_reader
    totals: dict[str, int] = {}
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": FETCH_BYTES_MAX,
            # As our sink: by itself the client rests for a second when its queue is full.
            "fetch.queue.backoff.ms": FETCH_BACKOFF_MS,
        }
    )
    consumer.subscribe([topic])
    commit_at = time.monotonic() + commit_seconds
    uncommitted = False
    while not stopping:
        messages = consumer.consume(CONSUME_RECORDS_MAX, CONSUME_WAIT_SECONDS)
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            body = BytesIO(message.value())
            body.seek(HEADER_BYTES)
            event: Any = read(body, schema, None)
            user = event["user_id"]
            totals[user] = totals.get(user, 0) + event["amount"]
        uncommitted = uncommitted or bool(messages)
        if uncommitted and (time.monotonic() >= commit_at or caught_up(consumer)):
            consumer.commit(asynchronous=False)
            uncommitted = False
            commit_at = time.monotonic() + commit_seconds
    consumer.close()
    return sum(totals.values())


if __name__ == "__main__":
    _, bootstrap, topic, group, commit_seconds, report = sys.argv
    # As our own worker.
    collect_seldom()
    total = run(bootstrap, topic, group, float(commit_seconds))
    Path(report).write_text(str(total))
