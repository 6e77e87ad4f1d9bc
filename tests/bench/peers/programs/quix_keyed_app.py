"""Quix Streams with keyed state, as its documentation writes it: a total per user, kept in RocksDB, changelog on.

`python quix_keyed_app.py BOOTSTRAP TOPIC GROUP COMMIT_SECONDS STATE_DIR SCHEMA`. Only what the comparison needs
differs from the defaults: where it reads from, how often it commits, where its state lives.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from quixstreams import Application, State

HEADER_BYTES = 10


def build(bootstrap: str, topic: str, group: str, commit_seconds: float, state_dir: str, schema_path: str) -> Any:
    """The application with its one stream."""
    schema = fastavro.parse_schema(json.loads(Path(schema_path).read_text()))
    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_interval=commit_seconds,
        state_dir=state_dir,
        loglevel="WARNING",
        # As our own readers have it: it fetches again as soon as its queue has room, not a second later.
        consumer_extra_config={"fetch.queue.backoff.ms": 10},
    )

    def add(value: bytes, state: State) -> int:
        body = BytesIO(value)
        body.seek(HEADER_BYTES)
        event: Any = fastavro.schemaless_reader(body, schema, None)
        total: int = state.get("total", 0) + event["amount"]
        state.set("total", total)
        return total

    events = app.topic(topic, key_deserializer="bytes", value_deserializer="bytes")
    app.dataframe(events).apply(add, stateful=True)
    return app


if __name__ == "__main__":
    _, bootstrap, topic, group, commit_seconds, state_dir, schema_path = sys.argv
    build(bootstrap, topic, group, float(commit_seconds), state_dir, schema_path).run()
