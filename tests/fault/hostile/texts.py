"""Hostile texts, and messages with them in a field of one's choice: as bytes, for no str can be bad UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.schemas.samples import alert
from tests.sinks.conftest import make_event

from costledger.schemas import codec
from costledger.schemas.alerts import CostAlert
from costledger.schemas.budgets import Budget

TEXTS = {
    "NUL": b"a\x00b",
    "lone surrogate": b"\xed\xa0\x80",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "overlong": b"\xc0\x80",
    "overlong slash": b"\xe0\x80\xaf",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "cut short": b"ab\xe2\x82",
    "bidi override": "\u202euser".encode(),
    "900 kB": b"x" * 900_000,
}
#: Of these the metadata of an event may consist, for nobody sorts or groups by it.
FINE_IN_METADATA = {"bidi override"}
EVENT_FIELDS = (
    "event_id",
    "user_id",
    "service",
    "operation",
    "unit",
    "unit_price",
    "price_version",
    "currency",
    "source",
    "reverses_event_id",
    "metadata key",
    "metadata value",
)
BUDGET_FIELDS = ("user_id", "tier", "currency", "time_zone")
ALERT_FIELDS = ("alert_id", "user_id", "scope", "currency", "message")


def events() -> Iterator[tuple[str, str, bytes]]:
    """(field, name of the text, message) for every text in every field of an event."""
    for field in EVENT_FIELDS:
        for name, text in TEXTS.items():
            place = _placeholder(text)
            record = make_event("ann").to_record()
            if field.startswith("metadata"):
                record["metadata"] = {place: "v"} if field.endswith("key") else {"k": place}
            else:
                record[field] = place
            yield field, name, _put(codec._EVENTS.encode(record), text)


def budgets(user_id: str) -> Iterator[tuple[str, str, bytes]]:
    """The same of a budget."""
    record = Budget(user_id=user_id, version=9, monthly_budget=1).to_record()
    yield from _each(codec._BUDGETS, record, BUDGET_FIELDS)


def alerts(example: CostAlert | None = None) -> Iterator[tuple[str, str, bytes]]:
    """The same of an alert."""
    for number, (field, name, message) in enumerate(
        _each(codec._ALERTS, (example or alert()).to_record(), ALERT_FIELDS)
    ):
        if field == "alert_id":
            yield field, name, message
        else:
            # Of different decisions, so that none is a repeat of another.
            record = replace(example or alert(), budget_version=number).to_record()
            text = TEXTS[name]
            yield field, name, _put(codec._ALERTS.encode(record | {field: _placeholder(text)}), text)


def _each(schema: codec.Codec, record: dict[str, Any], fields: tuple[str, ...]) -> Iterator[tuple[str, str, bytes]]:
    plain = codec.Codec(schema.name, with_logical_types=True)
    for field in fields:
        for name, text in TEXTS.items():
            yield field, name, _put(plain.encode(record | {field: _placeholder(text)}), text)


def _placeholder(text: bytes) -> str:
    return "~" * len(text)


def _put(message: bytes, text: bytes) -> bytes:
    assert message.count(_placeholder(text).encode()) == 1
    return message.replace(_placeholder(text).encode(), text)
