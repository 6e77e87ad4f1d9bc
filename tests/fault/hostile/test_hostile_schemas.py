"""Schemas of several versions on one topic, and a registry that goes away and comes back (F17)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.fault.harness import wire
from tests.fault.hostile.conftest import HostileSystem
from tests.schemas.samples import alert
from tests.schemas.test_registry import Registry, confluent, event_with
from tests.sinks.conftest import make_event

from costledger.schemas.codec import current_schema, encode_event
from costledger.schemas.events import CostEvent

pytestmark = pytest.mark.fault

USERS = 40
UNKNOWN_ID = 999
#: More than the client inflates.
BOMB_MEGABYTES = 200

#: What a second and a third version of the event would have: more fields, and none of the optional ones.
TEAM = {"name": "team", "type": ["null", "string"], "default": None}
TAGS = {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []}


@dataclass
class Mixed:
    """Messages of all kinds, and what must become of them."""

    messages: list[tuple[bytes | None, bytes | None]] = field(default_factory=list)
    landing: list[CostEvent] = field(default_factory=list)
    refused: int = 0

    def add(self, registry: Registry, compatible: dict[str, Any], incompatible: dict[str, Any], more: dict) -> None:
        """Of each user: an event of this release, one of a compatible version, and one whose amount is of another type."""
        theirs = registry.register("theirs-value", json.dumps(compatible))
        wrong = registry.register("theirs-value", json.dumps(incompatible))
        for number in range(USERS):
            ours, newer, broken = (make_event(f"user-{number:03d}") for _ in range(3))
            values = [
                encode_event(ours.to_record()),
                confluent(theirs, compatible, {**newer.to_record(), **more}),
                confluent(wrong, incompatible, {**broken.to_record(), "amount": 0.1}),
            ]
            self.landing += [ours, newer]
            self.refused += 1
            self.messages += [(ours.user_id.encode(), value) for value in values]


@contextmanager
def running(registry: Registry) -> Iterator[Registry]:
    """The registry answers until the end."""
    thread = threading.Thread(target=registry.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        registry.shutdown()
        registry.server_close()
        thread.join(10)


@pytest.mark.parametrize("restart", [False, pytest.param(True, marks=pytest.mark.long)], ids=["waiting", "restarted"])
def test_versions_of_a_schema_are_read_together_and_wait_for_their_registry(
    hostile: HostileSystem, restart: bool
) -> None:
    """Events of compatible versions land beside those of this release, those of an incompatible type and of an unknown id
    are put aside once. While the registry is away whoever meets a new id waits and puts nothing aside, and then goes on; or
    ends in good order when asked to, and the next one goes on."""
    first = Registry()
    hostile.environment |= {"COSTLEDGER_SCHEMA_REGISTRY_URL": f"http://{first.address}", "no_proxy": "*"}
    known = Mixed()
    with running(first):
        workers = hostile.start_all()
        known.add(first, event_with(TEAM), event_with(TEAM, amount="double"), {"team": "x"})
        known.messages.append((b"user-000", b"\x00" + UNKNOWN_ID.to_bytes(4, "big") + b"rest"))
        known.refused += 1
        hostile.send_raw(known.messages)
        hostile.await_read()
    check(hostile, known.landing, known.refused)

    # Ids that are asked for now for the first time, and nobody answers.
    new = Mixed()
    new.add(first, event_with(TEAM, TAGS), event_with(TEAM, TAGS, amount="double"), {"team": "x", "tags": ["a"]})
    hostile.send_raw(new.messages)
    # Behind the alert that waits, what is passed over: that must not pass over the alert.
    bomb = wire.batch((wire.record(number, b"u", bytes(2**20)) for number in range(BOMB_MEGABYTES)), "zstd")
    hostile.send_batches(0, [wire.batch([wire.record(0, b"u", newer_alert(first))]), bomb], "cost.alerts")
    for worker, words in {"sink": "waits for a schema", "stream": "waits: ", "notifier": "wait for a schema"}.items():
        hostile.wait_until(lambda name=worker, said=words: said in hostile.log_of(name), 30, f"{worker}: {words}")
    assert len(hostile.quarantined()) == known.refused
    assert len(hostile.dead_letters()) == known.refused
    assert [worker.poll() for worker in workers] == [None] * 3
    if restart:
        for worker in workers:
            hostile.stop(worker)

    again = Registry(first.server_port)
    again.schemas, again.subjects = first.schemas, first.subjects
    with running(again):
        if restart:
            workers = hostile.start_all()
        hostile.await_read()
        check(hostile, known.landing + new.landing, known.refused + new.refused)
        hostile.await_reconciled()
        hostile.wait_until(lambda: hostile.value("SELECT count(*) FROM ledger.alerts") == 1, 30, "the alert")
        hostile.wait_until(lambda: len(hostile.quarantined("cost.alerts")) == BOMB_MEGABYTES, 30, "the bomb aside")
        for worker in workers:
            hostile.stop(worker)


def newer_alert(registry: Registry) -> bytes:
    """An alert of a version with one more field."""
    schema = json.loads(json.dumps(current_schema("cost_alert")))
    schema["fields"].append(TEAM)
    schema_id = registry.register("theirs-value", json.dumps(schema))
    return confluent(schema_id, schema, {**replace(alert(), message="newer").to_record(), "team": "x"})


def check(hostile: HostileSystem, landing: list[CostEvent], refused: int) -> None:
    """Exactly these events are in the ledger, and each refused message is aside and on the dead-letter topic once."""
    expected = {str(event.event_id): event.amount for event in landing}
    rows = hostile.sql("SELECT event_id::text, (amount * 1000000000000)::bigint FROM ledger.entries")
    assert dict(rows) == expected
    assert len(rows) == len(landing)
    assert len(hostile.quarantined()) == refused
    hostile.wait_until(lambda: len(hostile.dead_letters()) == refused, 30, "a dead letter of each refused event")
    places = {
        (one["partition"], one["offset"]) for one in (dict(letter.headers()) for letter in hostile.dead_letters())
    }
    assert len(places) == refused
