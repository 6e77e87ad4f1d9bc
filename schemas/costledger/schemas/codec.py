"""Bytes to records and back: Avro in single-object encoding, and the Confluent wire format.

Single-object encoding (Avro 1.12 specification): `C3 01`, 8 bytes of little-endian CRC-64-AVRO of the
writer's schema, body. Confluent wire format: `00`, 4 bytes of big-endian schema id, body.

What is written is single-object encoding, until `configure_registry` (see `registry.use_registry`) switches the
process to the Confluent wire format. Single-object encoding is read always.

What is read is hostile until shown otherwise: the size is bounded before anything is decoded, only schemas
that were released (or that the configured registry names, and that `foreign` accepts) are used, and bytes left
over are an error.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any, Final, Protocol, cast

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from costledger.schemas.alerts import AlertRecord, CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.errors import MalformedMessage, OversizeMessage, UnknownSchema, shown
from costledger.schemas.event_bytes import known_event_bytes, learn
from costledger.schemas.events import CostEvent, EventRecord, check_event
from costledger.schemas.foreign import parse_foreign
from costledger.schemas.topics import TopicNames

SINGLE_OBJECT_MARKER: Final = b"\xc3\x01"
CONFLUENT_MARKER: Final = b"\x00"
_SINGLE_OBJECT_HEADER_BYTES: Final = 10
_CONFLUENT_HEADER_BYTES: Final = 5
#: Larger than any event within bounds (4 names of 128 characters, 4 KiB of metadata, all in 4-byte UTF-8).
MESSAGE_BYTES_MAX: Final = 16 * 1024
#: Foreign schemas that a codec remembers; more only cost another question to the registry.
_SCHEMA_IDS_MAX: Final = 256

Schema = dict[str, Any]


class SchemaRegistry(Protocol):
    """What the Confluent wire format needs to know of a schema registry."""

    def schema_of_id(self, schema_id: int) -> str:
        """The writer's schema as JSON text; `UnknownSchema` where the registry has none of this id."""
        ...

    def id_of_schema(self, subject: str, schema: str) -> int:
        """The id of a schema under a subject, registered if need be."""
        ...


class Codec:
    """Encodes and decodes records of one schema; safe to share between threads.

    `with_logical_types=False` reads and writes ids as text and times as integers of microseconds: less work,
    and the same bytes.
    """

    def __init__(self, name: str, *, with_logical_types: bool) -> None:
        self.name = name
        self._with_logical_types = with_logical_types
        self._reader = self._parse(current_schema(name))
        self._plain_reader = fastavro.parse_schema(without_logical_types(current_schema(name)))
        self._single_object_prefix = SINGLE_OBJECT_MARKER + schema_fingerprint(current_schema(name))
        self._writers: dict[bytes, Any] = {
            SINGLE_OBJECT_MARKER + schema_fingerprint(released): self._parse(released)
            for released in released_schemas(name)
        }
        # The very object, so that decoding sees at once that nothing needs resolving.
        self._writers[self._single_object_prefix] = self._reader
        self.use_registry(None, "")

    def use_registry(self, registry: SchemaRegistry | None, subject: str) -> None:
        """Write the Confluent wire format with the current schema registered under `subject`, and read it too.

        None goes back to single-object encoding alone. Errors of the registry pass through and change nothing.
        """
        prefix, by_id = self._single_object_prefix, {}
        if registry is not None:
            schema_id = registry.id_of_schema(subject, json.dumps(current_schema(self.name)))
            prefix, by_id = CONFLUENT_MARKER + schema_id.to_bytes(4, "big"), {schema_id: self._reader}
        self._registry = registry
        self._by_id: dict[int, Any] = by_id
        self._prefix = prefix

    def encode(self, record: dict[str, Any]) -> bytes:
        """A record in the encoding that the process uses. A record that does not fit the schema raises ValueError or TypeError."""
        return self._written(self._prefix, record)

    def framed(self, body: bytes) -> bytes:
        """A record that is in Avro already, in the encoding that the process uses."""
        return self._prefix + body

    def encode_single_object(self, record: dict[str, Any]) -> bytes:
        """The same in single-object encoding, whatever the process uses: what can be read without any registry."""
        return self._written(self._single_object_prefix, record)

    def _written(self, prefix: bytes, record: dict[str, Any]) -> bytes:
        out = BytesIO()
        out.write(prefix)
        fastavro.schemaless_writer(out, self._reader, record)
        return out.getvalue()

    def decode(self, data: bytes) -> dict[str, Any]:
        """The record in `data`, resolved to the current schema.

        Raises a `DecodeError`; `Unavailable` where a schema id is new and the registry cannot be asked.
        """
        if len(data) > MESSAGE_BYTES_MAX:
            raise OversizeMessage(f"the message has {len(data)} bytes; it may have at most {MESSAGE_BYTES_MAX}")
        writer = self._writers.get(data[:_SINGLE_OBJECT_HEADER_BYTES])
        start = _SINGLE_OBJECT_HEADER_BYTES
        if writer is None:
            writer, start = self._other_writer(data)
        body = BytesIO(data)
        body.seek(start)
        try:
            if start == _CONFLUENT_HEADER_BYTES and writer is not self._reader:
                record = self._read_foreign(body, writer)
            else:
                record = fastavro.schemaless_reader(body, writer, self._reader if writer is not self._reader else None)
        except Exception as error:
            raise MalformedMessage(f"the body is not a {self.name} in Avro: {shown(error)}") from error
        if body.tell() != len(data):
            raise MalformedMessage(f"{len(data) - body.tell()} bytes are left over after the {self.name}")
        return cast("dict[str, Any]", record)

    def _read_foreign(self, body: BytesIO, writer: Any) -> Any:
        """A record of a foreign schema, with the types of ours.

        The decoder applies the logical types of the writer, which may make a date of a number. So they are left aside,
        and the record is brought into our schema and read again as our own.
        """
        record = fastavro.schemaless_reader(body, writer, self._plain_reader)
        if not self._with_logical_types:
            return record
        own = BytesIO()
        fastavro.schemaless_writer(own, self._plain_reader, record)
        own.seek(0)
        return fastavro.schemaless_reader(own, self._reader, None)

    def _parse(self, schema: Schema) -> Any:
        return fastavro.parse_schema(schema if self._with_logical_types else without_logical_types(schema))

    def _other_writer(self, data: bytes) -> tuple[Any, int]:
        if data[:2] == SINGLE_OBJECT_MARKER:
            if len(data) < _SINGLE_OBJECT_HEADER_BYTES:
                raise MalformedMessage(f"the message ends after {len(data)} bytes, within its header")
            raise UnknownSchema(
                f"no release of costledger has a {self.name} with the schema fingerprint {data[2:10].hex()}"
            )
        if data[:1] == CONFLUENT_MARKER and len(data) >= _CONFLUENT_HEADER_BYTES:
            return self._writer_of_id(int.from_bytes(data[1:5], "big")), _CONFLUENT_HEADER_BYTES
        raise MalformedMessage(
            f"the message begins with {data[:2].hex() or 'nothing'}; "
            "Avro's single-object encoding begins with c301, the Confluent wire format with 00"
        )

    def _writer_of_id(self, schema_id: int) -> Any:
        if self._registry is None:
            raise UnknownSchema(f"the message names schema id {schema_id}, and no schema registry is configured")
        writer = self._by_id.get(schema_id)
        if writer is None:
            schema = parse_foreign(self._registry.schema_of_id(schema_id))
            try:
                writer = fastavro.parse_schema(without_logical_types(schema))
            except Exception as error:
                raise UnknownSchema(f"schema id {schema_id} is not an Avro schema: {shown(error)}") from error
            if len(self._by_id) >= _SCHEMA_IDS_MAX:
                # Those of others; our own are known by the object that reads them.
                self._by_id = {known: one for known, one in self._by_id.items() if one is self._reader}
            self._by_id[schema_id] = writer
        return writer


def without_logical_types(schema: Any) -> Any:
    """The same schema without logical types and docs: the same bytes and the same fingerprint."""
    if isinstance(schema, dict):
        return {key: without_logical_types(value) for key, value in schema.items() if key not in {"logicalType", "doc"}}
    if isinstance(schema, list):
        return [without_logical_types(part) for part in schema]
    return schema


def schema_fingerprint(schema: Schema) -> bytes:
    """The 8 bytes of little-endian CRC-64-AVRO of a schema's parsing canonical form."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


@cache
def current_schema(name: str) -> Schema:
    """The published schema of this name: `cost_event`, `cost_alert` or `budget`."""
    return cast("Schema", json.loads((files(__package__) / "avro" / f"{name}.avsc").read_text()))


@cache
def released_schemas(name: str) -> tuple[Schema, ...]:
    """Every released version of a schema, oldest first; the last one is the current schema."""
    folder = files(__package__) / "avro" / "released" / name
    texts = sorted(folder.iterdir(), key=lambda entry: int(entry.name.removesuffix(".avsc")))
    return tuple(json.loads(text.read_text()) for text in texts)


_EVENTS: Final = Codec("cost_event", with_logical_types=False)
_ALERTS: Final = Codec("cost_alert", with_logical_types=True)
_BUDGETS: Final = Codec("budget", with_logical_types=True)


def configure_registry(registry: SchemaRegistry | None, names: TopicNames | None = None) -> None:
    """From now on this process writes the Confluent wire format and reads it too; None switches that off.

    The current schemas are registered under `<topic>-value`, here and once, so that encoding never waits for
    the registry. Errors of the registry pass through (`Unavailable`, `UnknownSchema`).
    """
    topics = names or TopicNames()
    _EVENTS.use_registry(registry, f"{topics.events}-value")
    _ALERTS.use_registry(registry, f"{topics.alerts}-value")
    _BUDGETS.use_registry(registry, f"{topics.budgets}-value")


def encode_event(record: EventRecord) -> bytes:
    """An event record as bytes, after checking its bounds; raises `InvalidEvent`."""
    body = known_event_bytes(record)
    if body is not None:
        return _EVENTS.framed(body)
    check_event(record)
    data = _EVENTS.encode(record)
    learn(record)
    return data


def decode_event(data: bytes) -> EventRecord:
    """The event record in `data`; raises a `DecodeError`. Its bounds are for `check_event`."""
    return _EVENTS.decode(data)


def decode_cost_event(data: bytes) -> CostEvent:
    """The event in `data` with its bounds checked, for people and tests; raises `DecodeError` or `InvalidEvent`."""
    record = decode_event(data)
    check_event(record)
    return CostEvent.from_record(record)


def encode_alert(alert: CostAlert) -> bytes:
    """An alert as bytes."""
    return _ALERTS.encode(alert.to_record())


def decode_alert(data: bytes) -> AlertRecord:
    """The alert record in `data` (ids as UUID, times as datetime); raises a `DecodeError`."""
    return _ALERTS.decode(data)


def encode_budget(budget: Budget) -> bytes:
    """A budget as bytes."""
    return _BUDGETS.encode(budget.to_record())


def encode_stored_budget(budget: Budget) -> bytes:
    """A budget as bytes of a process's own state: in single-object encoding, so that it outlives a registry."""
    return _BUDGETS.encode_single_object(budget.to_record())


def decode_budget(data: bytes) -> Budget:
    """The budget in `data`; raises a `DecodeError` or `InvalidValue`."""
    return Budget.from_record(_BUDGETS.decode(data))
