"""Bytes on the topics: what is written can be read by any Avro library, and what is read is bounded."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.schemas.samples import LONG_MAX, LONG_MIN, alert, alerts, budgets, event_record, event_records

from costledger.schemas import (
    Budget,
    CostEvent,
    DecodeError,
    InvalidEvent,
    InvalidValue,
    MalformedMessage,
    OversizeMessage,
    UnknownSchema,
    check_event,
    decode_alert,
    decode_budget,
    decode_cost_event,
    decode_event,
    encode_alert,
    encode_budget,
    encode_event,
)
from costledger.schemas.codec import (
    MESSAGE_BYTES_MAX,
    SINGLE_OBJECT_MARKER,
    Schema,
    current_schema,
    released_schemas,
    schema_fingerprint,
    without_logical_types,
)
from costledger.schemas.compatibility import NAMES
from costledger.schemas.times import from_microseconds

HEADER_BYTES = 10


def published(name: str) -> str:
    """The text of a published .avsc file."""
    return (files("costledger.schemas") / "avro" / f"{name}.avsc").read_text(encoding="utf-8")


def apache_read(name: str, data: bytes) -> Any:
    """What the Apache Avro library reads from a message, with the published schema alone."""
    assert data[:2] == SINGLE_OBJECT_MARKER
    reader = avro.io.DatumReader(avro.schema.parse(published(name)))
    body = io.BytesIO(data[HEADER_BYTES:])
    record = reader.read(avro.io.BinaryDecoder(body))
    assert body.read() == b""
    return record


def apache_write(schema: str, record: dict[str, Any]) -> bytes:
    """A message that the Apache Avro library writes; the fingerprint is computed by hand."""
    body = io.BytesIO()
    avro.io.DatumWriter(avro.schema.parse(schema)).write(record, avro.io.BinaryEncoder(body))
    return SINGLE_OBJECT_MARKER + crc_64_avro(canonical_form(json.loads(schema))) + body.getvalue()


def with_times(record: dict[str, Any]) -> dict[str, Any]:
    """An event record as Apache Avro shows it: times as datetime, ids as text."""
    return record | {"occurred_at": from_microseconds(record["occurred_at"])}


def with_types(record: dict[str, Any]) -> dict[str, Any]:
    """An event record as fastavro shows it: times as datetime, ids as UUID."""
    event = CostEvent.from_record(record)
    return with_times(record) | {"event_id": event.event_id, "reverses_event_id": event.reverses_event_id}


def canonical_form(schema: Any, namespace: str = "") -> str:
    """The parsing canonical form of the Avro specification, for the types that our schemas use.

    Written out here since Apache's Python library writes `{"type":"long"}` for a long with a logical type,
    where the specification (and Java) have `"long"`.
    """
    if isinstance(schema, str):
        return json.dumps(schema)
    if isinstance(schema, list):
        return "[" + ",".join(canonical_form(branch, namespace) for branch in schema) + "]"
    kind = schema["type"]
    if kind in {"record", "enum"}:
        namespace = schema.get("namespace", namespace)
        head = f'{{"name":"{namespace}.{schema["name"]}","type":"{kind}",'
        if kind == "enum":
            return head + f'"symbols":{json.dumps(schema["symbols"], separators=(",", ":"))}}}'
        fields = (f'{{"name":"{f["name"]}","type":{canonical_form(f["type"], namespace)}}}' for f in schema["fields"])
        return head + '"fields":[' + ",".join(fields) + "]}"
    for part in ("items", "values"):
        if part in schema:
            return f'{{"type":"{kind}","{part}":{canonical_form(schema[part], namespace)}}}'
    return canonical_form(kind, namespace)


def crc_64_avro(text: str) -> bytes:
    """CRC-64-AVRO bit by bit, from the definition in the Avro specification; little-endian."""
    empty = 0xC15D213AA4D7A795
    value = empty
    for byte in text.encode():
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (empty if value & 1 else 0)
    return value.to_bytes(8, "little")


@pytest.mark.parametrize("name", NAMES)
def test_fingerprint_is_crc_64_avro_of_the_canonical_form(name: str) -> None:
    """The fingerprint equals one computed by hand, and Apache Avro's of the same canonical form."""
    canonical = canonical_form(json.loads(published(name)))
    theirs = avro.schema.parse(canonical)
    assert theirs.canonical_form == canonical
    assert schema_fingerprint(current_schema(name)) == crc_64_avro(canonical) == theirs.fingerprint()


def test_fingerprint_knows_the_empty_one() -> None:
    """The bitwise CRC is the specification's: its value for `"int"` is the one of the Java implementation."""
    assert crc_64_avro('"int"') == (0x7275D51A3F395C8F).to_bytes(8, "little")


@pytest.mark.parametrize("name", NAMES)
def test_logical_types_change_no_fingerprint(name: str) -> None:
    """Dropping logical types and docs changes neither fingerprint nor canonical form: the bytes are the same."""
    schema = current_schema(name)
    assert schema_fingerprint(without_logical_types(schema)) == schema_fingerprint(schema)


@given(event_records())
@settings(max_examples=200, deadline=None)
def test_event_round_trip(record: dict[str, Any]) -> None:
    """Every event within bounds comes back as it was, in no more bytes than a message may have."""
    data = encode_event(record)
    assert len(data) <= MESSAGE_BYTES_MAX
    assert decode_event(data) == record
    assert decode_cost_event(data).to_record() == record


@given(event_records())
@settings(max_examples=100, deadline=None)
def test_event_bytes_are_plain_avro(record: dict[str, Any]) -> None:
    """fastavro and Apache Avro both read an event with nothing but the published schema."""
    data = encode_event(record)
    plain = fastavro.schemaless_reader(
        io.BytesIO(data[HEADER_BYTES:]), fastavro.parse_schema(current_schema("cost_event"))
    )
    assert plain == with_types(record)
    assert apache_read("cost_event", data) == with_times(record)


@given(event_records())
@settings(max_examples=100, deadline=None)
def test_events_written_by_apache_avro_decode(record: dict[str, Any]) -> None:
    """An event written by Apache Avro is the same bytes as ours and decodes to the same record."""
    data = apache_write(published("cost_event"), with_times(record))
    assert decode_event(data) == record
    assert data == encode_event(record)


@given(budgets())
@settings(deadline=None)
def test_budget_round_trip(budget: Any) -> None:
    """Every budget within bounds comes back as it was; Apache Avro reads the same."""
    data = encode_budget(budget)
    assert decode_budget(data) == budget
    assert apache_read("budget", data) == budget.to_record()


@given(alerts())
@settings(deadline=None)
def test_alert_round_trip(one: Any) -> None:
    """Every alert comes back as its record, totals beyond 64 bits as the nearest long; Apache Avro reads the same."""
    data = encode_alert(one)
    record = one.to_record()
    assert decode_alert(data) == record | {"alert_id": one.alert_id}
    assert apache_read("cost_alert", data) == record
    assert record["actual"] == min(max(one.actual, LONG_MIN), LONG_MAX)


def test_largest_event_fits() -> None:
    """The largest event that bounds allow (all in 4-byte UTF-8) is within the largest message."""
    wide = "\U0001f4b0"
    record = event_record(
        user_id=wide * 128,
        service=wide * 128,
        operation=wide * 128,
        source=wide * 128,
        unit=wide * 64,
        price_version=wide * 128,
        unit_price="1" * 30 + "." + "1" * 30,
        metadata={f"{key:02d}": "x" * 126 for key in range(32)},
    )
    data = encode_event(record)
    assert len(data) <= MESSAGE_BYTES_MAX
    assert decode_cost_event(data).to_record() == record


@pytest.mark.parametrize("decode", [decode_event, decode_alert, decode_budget])
def test_truncation_is_malformed_everywhere(decode: Any) -> None:
    """Every proper prefix of a message is refused as malformed, also the empty one."""
    whole = {
        decode_event: encode_event(event_record()),
        decode_alert: encode_alert(alert()),
        decode_budget: encode_budget(Budget(user_id="u", monthly_budget=1, alert_thresholds=None)),
    }[decode]
    decode(whole)
    for length in range(len(whole)):
        with pytest.raises(MalformedMessage):
            decode(whole[:length])


@pytest.mark.parametrize("tail", [b"\x00", b"\xc3\x01", b"x" * 1000])
def test_trailing_bytes_are_malformed(tail: bytes) -> None:
    """Bytes after the record are refused with their number."""
    with pytest.raises(MalformedMessage, match=f"{len(tail)} bytes are left over"):
        decode_event(encode_event(event_record()) + tail)


def test_unknown_fingerprint_is_named() -> None:
    """A fingerprint that no release has is an unknown schema, shown in hex."""
    data = bytearray(encode_event(event_record()))
    data[2:HEADER_BYTES] = bytes(range(8))
    with pytest.raises(UnknownSchema, match="0001020304050607"):
        decode_event(bytes(data))


def test_the_schema_of_another_topic_is_unknown() -> None:
    """An alert on the topic of events is refused, not misread."""
    with pytest.raises(UnknownSchema):
        decode_event(encode_alert(alert()))


def test_oversize_is_refused_before_decoding() -> None:
    """One byte more than a message may have is refused with both numbers; exactly so many are looked at."""
    with pytest.raises(OversizeMessage, match=rf"{MESSAGE_BYTES_MAX + 1} bytes.*at most {MESSAGE_BYTES_MAX}"):
        decode_event(b"\xc3" * (MESSAGE_BYTES_MAX + 1))
    with pytest.raises(MalformedMessage):
        decode_event(b"\xc3" * MESSAGE_BYTES_MAX)


@pytest.mark.parametrize("data", [b"", b"{}", b"\x01", b"Obj\x01", b"\x00", b"\x00\x00\x00"])
def test_other_beginnings_are_malformed(data: bytes) -> None:
    """What begins neither as single-object encoding nor as the Confluent wire format is malformed."""
    with pytest.raises(MalformedMessage):
        decode_event(data)


def test_confluent_without_registry_is_unknown() -> None:
    """Without a registry a schema id cannot be known, and the message says so."""
    with pytest.raises(UnknownSchema, match="schema id 7, and no schema registry"):
        decode_event(b"\x00\x00\x00\x00\x07rest")


@given(st.binary(max_size=300), st.booleans())
@example(b"", True)
@settings(max_examples=500, deadline=None)
def test_random_bytes_raise_only_what_is_promised(noise: bytes, with_header: bool) -> None:
    """Noise, also behind a good header, raises DecodeError or InvalidEvent and nothing else."""
    data = SINGLE_OBJECT_MARKER + schema_fingerprint(current_schema("cost_event")) + noise if with_header else noise
    refusal: DecodeError | InvalidEvent | None = None
    try:
        check_event(decode_event(data), 0)
    except (DecodeError, InvalidEvent) as error:
        refusal = error
    assert refusal is not None
    assert refusal.reason
    assert len(str(refusal)) < 1000


@given(event_records(), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_events_raise_only_what_is_promised(record: dict[str, Any], data: st.DataObject) -> None:
    """An event with some bytes replaced decodes, or raises DecodeError or InvalidEvent."""
    message = bytearray(encode_event(record))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DecodeError, InvalidEvent):
        decode_cost_event(bytes(message))


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_budget_and_alert_bodies_raise_only_what_is_promised(noise: bytes) -> None:
    """Noise behind the header of a budget or an alert raises DecodeError or InvalidValue and nothing else."""
    for name, decode in (("budget", decode_budget), ("cost_alert", decode_alert)):
        decoding: Callable[[bytes], object] = decode
        with suppress(DecodeError, InvalidValue):
            decoding(SINGLE_OBJECT_MARKER + schema_fingerprint(current_schema(name)) + noise)


@pytest.mark.parametrize("occurred_at", [LONG_MIN, -(10**17), -1, 0, 2 * 10**17, LONG_MAX])
def test_times_that_no_calendar_holds_are_refused(occurred_at: int) -> None:
    """A time before year 1 or after 9999 decodes, and is refused as out of bounds, not as a crash."""
    record = event_record(occurred_at=occurred_at)
    data = apache_write(json.dumps(without_logical_types(current_schema("cost_event"))), record)
    with pytest.raises(InvalidEvent, match="occurred_at"):
        check_event(decode_event(data), occurred_at)


@pytest.mark.parametrize("length", [2**31, 2**40, 2**62, -1, -(2**62)])
def test_claimed_lengths_cost_nothing(length: int) -> None:
    """A string that claims gigabytes (or less than nothing) is malformed at once."""
    body = io.BytesIO()
    avro.io.BinaryEncoder(body).write_long(length)
    header = SINGLE_OBJECT_MARKER + schema_fingerprint(current_schema("cost_event"))
    with pytest.raises(MalformedMessage):
        decode_event(header + body.getvalue() + b"abc")


def test_encoding_checks_the_bounds() -> None:
    """What is out of bounds is never written."""
    with pytest.raises(InvalidEvent, match="user_id"):
        encode_event(event_record(user_id=""))


def test_decoding_leaves_bounds_to_the_caller() -> None:
    """decode_event reads what Avro holds; decode_cost_event also checks the bounds."""
    data = apache_write(published("cost_event"), with_times(event_record()) | {"currency": "EUR"})
    assert decode_event(data)["currency"] == "EUR"
    with pytest.raises(InvalidEvent, match="currency is 'EUR'; it must be USD"):
        decode_cost_event(data)


@pytest.mark.parametrize("name", NAMES)
def test_every_release_is_readable(name: str) -> None:
    """The current schema is the last release, and each release has a fingerprint of its own."""
    releases = released_schemas(name)
    assert releases[-1] == current_schema(name)
    fingerprints = [schema_fingerprint(release) for release in releases]
    assert len(set(fingerprints)) == len(fingerprints)


def test_microseconds_survive() -> None:
    """Times keep every microsecond on the way through bytes."""
    for microseconds in range(1, 1000, 37):
        record = event_record(occurred_at=1_795_424_400_000_000 + microseconds)
        event = decode_cost_event(encode_event(record))
        expected: datetime = from_microseconds(1_795_424_400_000_000) + timedelta(microseconds=microseconds)
        assert event.occurred_at == expected


def names_in(schema: Schema) -> list[str]:
    """The field names of a record schema."""
    return [field["name"] for field in schema["fields"]]


def test_python_fields_are_the_schema_fields() -> None:
    """The dataclasses and the published schemas have the same fields."""
    assert names_in(current_schema("cost_event")) == list(event_record())
    assert set(names_in(current_schema("budget"))) == set(Budget(user_id="u").to_record())
    assert set(names_in(current_schema("cost_alert"))) == set(alert().to_record())
