"""Tracking through the caller's connection: committed or rolled back with it, what is written, and what it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.producers.outbox.outbox_cases import (
    NOBODY,
    ORDER,
    TABLE,
    ids_in,
    new_service,
    orders_in,
)

from costledger.producers import CostTracker, EventDropped
from costledger.producers.optimiser.recording import EventSink, SpendRecorder
from costledger.producers.outbox.table import OutboxTable
from costledger.producers.records import Draft, build_record
from costledger.schemas.errors import InvalidEvent, InvalidValue, SettingsError
from costledger.schemas.events import CostEvent, EventRecord


def test_a_committed_event_arrives_once_with_its_key(
    kafka: KafkaServer, postgres: PostgresServer, tracker: CostTracker
) -> None:
    """Nothing is on the topic before the commit; afterwards the relay brings it there, and the outbox is empty."""
    service = new_service(postgres.create_database(), kafka)
    with service.connect() as connection:
        event_id = tracker.using(connection).track_rekognition("user-1", "detectLabels", 5, metadata={"file": "a"})
        assert service.relay_all() == 0
        connection.commit()
        assert service.relay_all() == 1
    assert service.relay_all() == 0
    assert service.on_topic() == {event_id: 1}
    assert service.waiting() == []
    stats = tracker.stats()
    assert (stats["tracked"], stats["spooled"], stats["queued"]) == (1, 1, 0)


def test_a_rolled_back_event_never_arrives(kafka: KafkaServer, postgres: PostgresServer, tracker: CostTracker) -> None:
    """Neither the order nor its event is there, while those before and after are."""
    service = new_service(postgres.create_database(), kafka)
    with service.connect(autocommit=True) as connection:
        costs = tracker.using(connection)
        kept = []
        for number in range(3):
            try:
                with connection.transaction():
                    event_id = costs.track_s3("u", "get", 1)
                    connection.execute(ORDER, (event_id,))
                    if number == 1:
                        raise RuntimeError("no stock")
                    kept.append(event_id)
            except RuntimeError:
                pass
    assert service.relay_all() == 2
    assert sorted(service.on_topic().elements()) == sorted(kept) == sorted(service.orders())


def test_a_recorder_writes_through_the_callers_connection(url: str, tracker: CostTracker) -> None:
    """What a job or a cache takes for its tracker may be bound to a connection: prices, source, waiting and all."""
    assert tracker.outbox_only
    with psycopg.connect(url) as connection:
        costs: EventSink = tracker.using(connection)
        recorder = SpendRecorder(costs, "u")
        ids = [recorder.track_s3("u", "put", 1000), recorder.track_rekognition("u", "detectLabels", 2)]
        event = CostEvent.from_record(record_of("u", recorder))
        ids += [recorder.emit(event, wait_seconds=5.0)]
        assert (recorder.price_book, recorder.source) == (tracker.price_book, tracker.source)
    assert ids_in(url) == ids
    assert recorder.spend().known > 0


def record_of(user_id: str, sink: EventSink) -> EventRecord:
    """The record of an event that the sink has not seen."""
    draft = Draft(user_id=user_id, service="aws-s3", operation="put", quantity=1)
    return build_record(draft, sink.price_book, sink.source)[1]


def test_every_method_writes_its_events(url: str, tracker: CostTracker, errors: list[EventDropped]) -> None:
    """Each method of the tracker has its counterpart, with the same prices; ids come back in order."""
    at = datetime(2026, 11, 23, 9, tzinfo=UTC)
    with psycopg.connect(url) as connection:
        costs = tracker.using(connection)
        ids = [
            costs.track_rekognition("u", "detectFaces", 3),
            costs.track_rekognition_video("u", 2),
            costs.track_transcribe("u", 2.5),
            costs.track_comprehend("u", "detectSentiment", 250),
            costs.track_s3("u", "put", 1000),
            costs.track_embedding("u", "text-embedding-3-small", 1000),
            costs.track_processing("u", 2, 3),
            costs.track_stripe_charge("u", "100.00"),
            costs.track("u", "nobody", "knows", 1, occurred_at=at),
            *costs.track_chat("u", "gpt-4o", 1000, 100, 400),
        ]
        values = connection.execute(f"SELECT value FROM {TABLE} ORDER BY id").fetchall()
        event = CostEvent.from_record(_record(values[8][0]))
        ids += [costs.emit(event), costs.emit_record(event.to_record())]
    assert errors == []
    assert ids_in(url) == ids
    assert len(ids) == 14
    assert event.occurred_at == at
    assert _record(values[0][0])["amount"] == 3 * 10**9
    assert (tracker.stats()["spooled"], tracker.stats()["unpriced"]) == (14, 3)


def _record(value: bytes) -> Any:
    from costledger.schemas.codec import decode_event

    return decode_event(value)


def test_a_wrong_argument_writes_nothing_and_spoils_nothing(
    url: str, tracker: CostTracker, errors: list[EventDropped]
) -> None:
    """It is counted and told as with any tracker; the order is committed."""
    with psycopg.connect(url) as connection:
        costs = tracker.using(connection)
        connection.execute(ORDER, (UUID(int=1),))
        costs.track("", "s", "o", 1)
        costs.track_chat("u", "gpt-4", 1, 1, 2)
        costs.emit(None)  # type: ignore[arg-type]  # as a mistaken caller would
        costs.emit_record({})  # type: ignore[typeddict-item]  # likewise
    assert [error.reason for error in errors] == ["invalid"] * 4
    assert isinstance(errors[0].__cause__, InvalidEvent)
    assert tracker.stats()["rejected"] == 4
    assert (ids_in(url), orders_in(url)) == ([], 1)


def test_a_service_needs_no_more_than_insert(postgres: PostgresServer, url: str, tracker: CostTracker) -> None:
    """The least privilege for a service: INSERT on the one table, in a schema named by the setting."""
    role = f"outbox_writer_{os.getpid()}"
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA shop")
    with OutboxTable(url, "shop.events_out", 30) as table:
        table.create()
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE ROLE {role}")
        connection.execute(f"GRANT USAGE ON SCHEMA shop TO {role}")
        connection.execute(f"GRANT INSERT ON shop.events_out TO {role}")
    try:
        with psycopg.connect(url) as connection:
            connection.execute(f"SET ROLE {role}")
            with CostTracker(NOBODY, "tests", "outbox") as other:
                other._outbox_table = "shop.events_out"
                event_id = other.using(connection).track_s3("u", "get", 1)
        assert ids_in(url, "shop.events_out") == [event_id]
    finally:
        with psycopg.connect(url) as connection:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


def test_a_direct_call_says_what_it_lacks(tracker: CostTracker, errors: list[EventDropped]) -> None:
    """In outbox mode an event without a connection has no transaction to be part of: dropped, with what to do."""
    event_id = tracker.track_s3("u", "get", 1)
    tracker.track_chat("u", "gpt-4o", 10, 1)
    assert (errors[0].event_id, errors[0].reason) == (event_id, "outbox_failed")
    assert "tracker.using(connection)" in str(errors[0])
    assert tracker.stats()["dropped"] == 3
    assert tracker._sender._channel is None


def test_in_memory_mode_a_connection_may_be_used_too(kafka: KafkaServer, url: str) -> None:
    """`using` means the outbox whatever the mode; the rest of the tracker goes its own way."""
    topic = kafka.create_topic(kafka.unique("events"))
    with (
        CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker,
        psycopg.connect(url) as connection,
    ):
        tracker.track_s3("u", "get", 1)
        tracker.using(connection).track_s3("u", "get", 1)
        assert tracker.flush(30) == 0
        stats = tracker.stats()
    assert (stats["tracked"], stats["acked"], stats["spooled"]) == (2, 1, 1)
    assert len(ids_in(url)) == 1


def test_after_closing_nothing_is_written(url: str, errors: list[EventDropped]) -> None:
    """As in every mode, later events are dropped as `closed`."""
    tracker = CostTracker(NOBODY, "tests", "outbox", on_error=errors.append)
    tracker.close()
    with psycopg.connect(url) as connection:
        tracker.using(connection).track_s3("u", "get", 1)
    assert [error.reason for error in errors] == ["closed"]
    assert ids_in(url) == []


def test_forked_children_count_for_themselves(url: str) -> None:
    """A child of a preloaded host writes through its own connections, and its counts begin at zero."""
    script = f"""
import json, os, sys
import psycopg
from costledger.producers import CostTracker
tracker = CostTracker({NOBODY!r}, "host", "outbox")
with psycopg.connect(sys.argv[1]) as connection:
    tracker.using(connection).track_s3("parent", "get", 1)
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        with psycopg.connect(sys.argv[1]) as connection:
            tracker.using(connection).track_s3("child", "get", 1)
        os.write(1, json.dumps(tracker.stats()).encode() + b"\\n")
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
assert tracker.stats()["spooled"] == 1
"""
    done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["spooled"] for line in done.stdout.splitlines()] == [1, 1, 1]
    assert len(ids_in(url)) == 4


def test_without_psycopg_the_extra_is_named() -> None:
    """Asking for the outbox where its library is missing is an error of the set-up, told when the tracker is made."""
    script = f"""
import sys
sys.modules["psycopg"] = None
from costledger.producers import CostTracker
from costledger.schemas.errors import SettingsError
CostTracker({NOBODY!r}, "host", flush_timeout_seconds=0).close()
try:
    CostTracker({NOBODY!r}, "host", "outbox")
except SettingsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'costledger[outbox]'" in done.stdout


@pytest.mark.parametrize("name", ["", "Upper", "a.b.c", "a; DROP TABLE x", 'a"b', "a b", "x" * 64])
def test_a_table_name_is_an_identifier(name: str) -> None:
    """What the setting would refuse, the parts refuse too."""
    with pytest.raises(InvalidValue, match="outbox_table"):
        OutboxTable("postgresql://", name, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSTLEDGER_OUTBOX_TABLE", name)
        with pytest.raises(SettingsError, match="COSTLEDGER_OUTBOX_TABLE"):
            CostTracker(NOBODY, "tests", "outbox")
