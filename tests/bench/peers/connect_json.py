"""Events as Kafka Connect's JSON with schemas, each value in a type that Debezium writes into the ledger's column."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator

from costledger.schemas.events import EventRecord
from costledger.schemas.money import to_picodollars
from costledger.schemas.times import rfc3339

__all__ = ["connect_messages"]

_TEXT = {"type": "string"}
_UUID = {"type": "string", "name": "io.debezium.data.Uuid"}
_TIME = {"type": "string", "name": "io.debezium.time.ZonedTimestamp"}
_JSON = {"type": "string", "name": "io.debezium.data.Json"}


def _decimal(scale: int) -> dict[str, object]:
    name = "org.apache.kafka.connect.data.Decimal"
    return {"type": "bytes", "name": name, "version": 1, "parameters": {"scale": str(scale)}}


#: The columns of the ledger's entries, but for the one with a default.
_FIELDS: dict[str, dict[str, object]] = {
    "event_id": {**_UUID},
    "reverses_event_id": {**_UUID, "optional": True},
    "occurred_at": {**_TIME},
    "received_at": {**_TIME},
    "kafka_offset": {"type": "int64"},
    "kafka_partition": {"type": "int32"},
    "quantity": _decimal(9),
    "amount": {**_decimal(12), "optional": True},
    "unit_price": {**_decimal(12), "optional": True},
    "user_id": {**_TEXT},
    "service": {**_TEXT},
    "operation": {**_TEXT},
    "category": {**_TEXT},
    "unit": {**_TEXT},
    "price_version": {**_TEXT, "optional": True},
    "currency": {**_TEXT},
    "source": {**_TEXT},
    "kafka_topic": {**_TEXT},
    "metadata": {**_JSON},
}
_SCHEMA = {"type": "struct", "fields": [{"field": name, **kind} for name, kind in _FIELDS.items()]}


def connect_messages(records: Iterable[EventRecord], topic: str, partitions: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys (users) and values for the topic; `topic`, a partition and an offset go into the rows."""
    schema = json.dumps(_SCHEMA, separators=(",", ":"))
    for number, record in enumerate(records):
        price = record["unit_price"]
        payload = {
            **record,
            "occurred_at": rfc3339(record["occurred_at"]),
            "received_at": rfc3339(record["occurred_at"]),
            "kafka_offset": number // partitions,
            "kafka_partition": number % partitions,
            "kafka_topic": topic,
            "quantity": _unscaled(record["quantity"]),
            "amount": _unscaled(record["amount"]),
            "unit_price": _unscaled(None if price is None else to_picodollars(price)),
            "metadata": json.dumps(record["metadata"]),
        }
        text = json.dumps(payload, separators=(",", ":"))
        yield record["user_id"].encode(), f'{{"schema":{schema},"payload":{text}}}'.encode()


def _unscaled(number: int | None) -> str | None:
    """A decimal as Connect's JSON has it: the unscaled integer's bytes in base 64."""
    if number is None:
        return None
    return base64.b64encode(number.to_bytes(number.bit_length() // 8 + 1, signed=True)).decode()
