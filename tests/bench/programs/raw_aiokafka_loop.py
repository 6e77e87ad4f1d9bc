"""The limit for a stream app in Python: fetch, decode, one dict update, commit; no state that survives.

`python raw_aiokafka_loop.py BOOTSTRAP TOPIC GROUP COMMIT_SECONDS REPORT`; on SIGTERM the sum of the totals goes to
the file REPORT. Its event loop and its garbage collector are those of our own worker; it takes
four times as many records at a time.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import uvloop
from aiokafka import AIOKafkaConsumer

from costledger.schemas.codec import current_schema, without_logical_types
from costledger.schemas.memory import collect_seldom

HEADER_BYTES = 10
FETCH_RECORDS_MAX = 20_000
FETCH_BYTES_MAX = 4 * 1024 * 1024
FETCH_WAIT_MS = 100


async def caught_up(consumer: AIOKafkaConsumer) -> bool:
    """Whether every partition is read to its end: then the last commit need not wait for its time."""
    for partition in consumer.assignment():
        if await consumer.position(partition) != consumer.highwater(partition):
            return False
    return True


async def run(bootstrap: str, topic: str, group: str, commit_seconds: float) -> int:
    """Read until SIGTERM, committing every `commit_seconds` what has been added; the sum of the totals."""
    schema = fastavro.parse_schema(without_logical_types(current_schema("cost_event")))
    read = fastavro.schemaless_reader
    totals: dict[str, int] = {}
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    await consumer.start()
    commit_at = loop.time() + commit_seconds
    uncommitted = False
    while not stopping.is_set():
        fetched = await consumer.getmany(timeout_ms=FETCH_WAIT_MS, max_records=FETCH_RECORDS_MAX)
        for records in fetched.values():
            for record in records:
                body = BytesIO(record.value)
                body.seek(HEADER_BYTES)
                event: Any = read(body, schema, None)
                user = event["user_id"]
                totals[user] = totals.get(user, 0) + event["amount"]
        uncommitted = uncommitted or bool(fetched)
        if uncommitted and (loop.time() >= commit_at or await caught_up(consumer)):
            await consumer.commit()
            uncommitted = False
            commit_at = loop.time() + commit_seconds
    await consumer.stop()
    return sum(totals.values())


if __name__ == "__main__":
    _, bootstrap, topic, group, commit_seconds, report = sys.argv
    # As our own worker.
    collect_seldom()
    total = uvloop.run(run(bootstrap, topic, group, float(commit_seconds)))
    Path(report).write_text(str(total))
