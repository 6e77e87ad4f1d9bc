"""Messages of producers that are none of ours, among those of a load: the oracle knows of each before it is sent."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from confluent_kafka import Message, Producer
from tests.fault.harness import wire
from tests.fault.harness.oracle import EVENT, POISON, OracleFile, Record

from costledger.schemas.events import CostEvent

_FLUSH_SECONDS_MAX: Final = 60.0


class Strangers:
    """Writes down and sends. `record` goes to `Cluster.other_records`."""

    def __init__(self, bootstrap_servers: str, topic: str, folder: Path) -> None:
        self._bootstrap_servers, self._topic = bootstrap_servers, topic
        path = folder / "strangers"
        self.record = Record(path, "spool")
        self._attempted = OracleFile(path.with_suffix(".attempted"))
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "partitioner": "murmur2_random"})
        self._failed: list[object] = []
        path.with_suffix(".done").write_text("{}")  # all that is written down is sent

    def event(self, event: CostEvent, payload: bytes) -> None:
        """An event in bytes of their own, that must be in the ledger."""
        record = event.to_record()
        names = ("event_id", "user_id", "service", "operation", "occurred_at")
        amount = "-" if record["amount"] is None else record["amount"]
        self._attempted.write(EVENT, *(record[name] for name in names), amount)
        self._send(event.user_id.encode(), payload)

    def poison(self, user_id: str, payload: bytes) -> None:
        """Bytes that must be put aside once."""
        self._note_poison(payload)
        self._send(user_id.encode(), payload)

    def poison_batch(self, partition: int, payloads: list[bytes], codec: str) -> None:
        """The same as one record batch, as no honest producer would compress it."""
        for payload in payloads:
            self._note_poison(payload)
        records = (wire.record(number, b"stranger", payload) for number, payload in enumerate(payloads))
        wire.send(self._bootstrap_servers, self._topic, partition, [wire.batch(records, codec)])

    def finish(self) -> None:
        """AssertionError unless Kafka has everything."""
        assert self._producer.flush(_FLUSH_SECONDS_MAX) == 0
        assert self._failed == []
        self._attempted.close()

    def _note_poison(self, payload: bytes) -> None:
        self._attempted.write(POISON, hashlib.sha256(payload).hexdigest())

    def _send(self, key: bytes, payload: bytes) -> None:
        self._producer.produce(self._topic, payload, key, on_delivery=self._told)
        self._producer.poll(0)

    def _told(self, error: object, _message: Message) -> None:
        if error is not None:
            self._failed.append(error)
