"""A Faust app as its documentation writes it: `table[user] += amount` for each event.

`python faust_documented_app.py BOOTSTRAP TOPIC GROUP COMMIT_SECONDS PARTITIONS DATA_DIR`. Only what the comparison
needs differs from the defaults: where it reads from, how often it commits, and no web server.
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

import fastavro
import faust

from costledger.schemas.codec import current_schema, without_logical_types

HEADER_BYTES = 10


def build(bootstrap: str, topic: str, group: str, commit_seconds: float, partitions: int, data_dir: str) -> faust.App:
    """The app with its table and its agent."""
    schema = fastavro.parse_schema(without_logical_types(current_schema("cost_event")))
    app = faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=data_dir,
        topic_partitions=partitions,
        broker_commit_interval=commit_seconds,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    totals = app.Table("totals", default=int, partitions=partitions)
    events = app.topic(topic, key_serializer="raw", value_serializer="raw")

    @app.agent(events)
    async def add(stream: faust.StreamT[bytes]) -> None:
        async for value in stream:
            body = BytesIO(value)
            body.seek(HEADER_BYTES)
            event: Any = fastavro.schemaless_reader(body, schema, None)
            totals[event["user_id"]] += event["amount"]

    return app


if __name__ == "__main__":
    _, bootstrap, topic, group, commit_seconds, partitions, data_dir = sys.argv
    app = build(bootstrap, topic, group, float(commit_seconds), int(partitions), data_dir)
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
