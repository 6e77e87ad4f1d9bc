"""Bytewax: a total per user with `stateful_map`, no recovery store, so nothing survives the process.

`python bytewax_totals.py BOOTSTRAP TOPIC GROUP COMMIT_SECONDS REPORT SCHEMA` reads the topic to its end and ends;
the sum of the totals goes to the file REPORT. Bytewax commits no offsets by itself. Here its sink commits how many
events of each partition have come out at the end of the flow, so that progress is seen from outside as with the others.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import bytewax.operators as op
import fastavro
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main
from confluent_kafka import Consumer, TopicPartition

HEADER_BYTES = 10
#: As our own readers have it: the client of both fetches again as soon as its queue has room, not a second later.
READER = {"fetch.queue.backoff.ms": "10"}
#: User, partition of the event, total up to this event.
Outcome = tuple[str, tuple[int, int]]


class Committer(StatelessSinkPartition[Outcome]):
    """Keeps the last total of each user, and commits what has come out."""

    def __init__(self, bootstrap: str, topic: str, group: str, commit_seconds: float, report: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
        self._topic = topic
        self._commit_seconds = commit_seconds
        self._commit_at = time.monotonic() + commit_seconds
        self._report = Path(report)
        self._totals: dict[str, int] = {}
        #: Offsets of the topic begin at 0 and have no gaps: so many events are also the next offset.
        self._events: Counter[int] = Counter()

    def write_batch(self, items: list[Outcome]) -> None:
        """Called by Bytewax with what the flow gave."""
        for user, (partition, total) in items:
            self._totals[user] = total
            self._events[partition] += 1
        if time.monotonic() >= self._commit_at:
            self._commit()

    def close(self) -> None:
        """Called by Bytewax when the topic is at its end."""
        self._commit()
        self._consumer.close()
        self._report.write_text(str(sum(self._totals.values())))

    def _commit(self) -> None:
        offsets = [TopicPartition(self._topic, partition, events) for partition, events in self._events.items()]
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        self._commit_at = time.monotonic() + self._commit_seconds


class CommittingSink(DynamicSink[Outcome]):
    """Makes the one part that a single worker has."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Committer:  # noqa: ARG002
        """Called by Bytewax."""
        return Committer(*self._arguments)


def build(bootstrap: str, topic: str, group: str, commit_seconds: float, report: str, schema_path: str) -> Dataflow:
    """The flow: read, decode, add up, commit."""
    schema = fastavro.parse_schema(json.loads(Path(schema_path).read_text()))
    read = fastavro.schemaless_reader

    def decode(messages: list[KafkaSourceMessage]) -> Iterable[tuple[str, tuple[int, int]]]:
        for message in messages:
            body = BytesIO(message.value)
            body.seek(HEADER_BYTES)
            event: Any = read(body, schema, None)
            yield event["user_id"], (message.partition, event["amount"])

    def add(total: int | None, value: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        partition, amount = value
        total = (total or 0) + amount
        return total, (partition, total)

    flow = Dataflow("totals")
    messages = op.input("events", flow, KafkaSource([bootstrap], [topic], tail=False, add_config=READER))
    decoded = op.flat_map_batch("decode", messages, decode)
    totals = op.stateful_map("totals", decoded, add)
    op.output("commit", totals, CommittingSink(bootstrap, topic, group, commit_seconds, report))
    return flow


if __name__ == "__main__":
    _, bootstrap, topic, group, commit_seconds, report, schema_path = sys.argv
    cli_main(build(bootstrap, topic, group, float(commit_seconds), report, schema_path))
