"""The handler on hostile records: nothing that may stand on a topic stops it."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from tests.streams.domain.test_domain_partition import NOW, USD, event

from costledger.schemas import encode_budget, encode_event
from costledger.schemas.budgets import Budget
from costledger.schemas.codec import configure_registry
from costledger.schemas.errors import Unavailable
from costledger.schemas.topics import TopicNames
from costledger.streams.domain.rules import Rules
from costledger.streams.handler import DEAD_LETTER_BYTES_MAX, CostHandler
from costledger.streams.instruments import Instruments
from costledger.streams.transport import Batch, Flush
from costledger.streams.view import connect

TOPICS = TopicNames()


class Record(SimpleNamespace):
    """A record that can be referred to weakly."""


def record(offset: int, key: bytes | None, value: bytes | None) -> Record:
    """A record as the Kafka client gives it."""
    return Record(offset=offset, key=key, value=value, timestamp=NOW // 1000, headers=())


def event_bytes(number: int, user: str) -> bytes:
    """A valid event of one dollar."""
    more = {"category": "USAGE", "quantity": 1, "unit": "token", "unit_price": None, "price_version": None}
    more |= {"currency": "USD", "source": "test", "reverses_event_id": None, "metadata": {}}
    return encode_event({**event(number, user, USD, NOW), **more})


@pytest.fixture
def handler() -> CostHandler:
    """A handler that has partition 0; its Redis is never asked."""
    made = CostHandler(TOPICS, Rules(), connect("redis://127.0.0.1:1/0"), 100, "app", Instruments(CollectorRegistry()))
    made.restore(0, [], lambda: True)
    return made


@pytest.fixture
def process(handler: CostHandler) -> Callable[..., Flush | None]:
    """Give the handler a batch of a topic; what its flush says."""

    def give(topic: str, *records: SimpleNamespace) -> Flush | None:
        handler.process(Batch(topic, 0, records))
        return handler.flush(0)

    return give


BAD_KEYS = [None, b"", b" ", b"x" * 129, b"a\x00b", b"a\nb", b"\xff\xfe", "\u202e".encode()]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_deleted_budget_under_an_impossible_key_is_refused(process, key: bytes | None) -> None:
    """Its key is checked like a user id; the budgets around it are applied."""
    good = [
        record(offset, name.encode(), encode_budget(Budget(user_id=name, version=1)))
        for offset, name in ((0, "ann"), (2, "bob"))
    ]
    flush = process(TOPICS.budgets, good[0], record(1, key, None), good[1])
    value = b"" if key is None else None
    assert [(output.topic, output.key, output.value) for output in flush.outputs] == [(TOPICS.dead_letters, key, value)]
    assert sorted(change.key for group in flush.changes for change in group) == [b"u\x00ann", b"u\x00bob"]


def test_user_ids_of_unusual_characters_are_users(process) -> None:
    """Braces, colons, slashes and characters of other scripts are only characters."""
    names = ["}{", "a}:total:day:2026-11-18", "用户", "x" * 128, "a b"]
    records = [record(offset, name.encode(), event_bytes(offset, name)) for offset, name in enumerate(names)]
    flush = process(TOPICS.events, *records)
    assert flush.outputs == []
    assert {change.key.split(b"\x00")[1].decode() for group in flush.changes[:5] for change in group} == set(names)


def test_an_event_without_a_value_is_refused(process) -> None:
    """A deletion means nothing on the topic of events; its neighbours count."""
    flush = process(TOPICS.events, record(0, b"ann", None), record(1, None, event_bytes(1, "ann")))
    (letter,) = flush.outputs
    assert dict(letter.headers)["reason"] == b"undecodable"
    assert flush.source_offset == 1


def test_a_record_too_large_for_a_dead_letter_is_named_by_its_place(process) -> None:
    """What no producer could send again is refused without its bytes, and the flush can be written."""
    fits, too_large = bytes(DEAD_LETTER_BYTES_MAX - 1), bytes(DEAD_LETTER_BYTES_MAX)
    flush = process(TOPICS.events, record(0, b"k", fits), record(1, b"k", too_large))
    kept, cut = flush.outputs
    assert (kept.key, kept.value) == (b"k", fits)
    assert (cut.key, cut.value) == (b"k", None)
    headers = dict(cut.headers)
    assert headers["reason"] == b"oversize"
    assert headers["offset"] == b"1"
    assert b"key and value have 800001 bytes" in headers["error"]


def test_a_record_without_key_and_value_becomes_an_empty_dead_letter(process) -> None:
    """The Kafka client refuses to send a record that has neither."""
    flush = process(TOPICS.events, record(0, None, None), record(1, bytes(DEAD_LETTER_BYTES_MAX + 1), None))
    assert [(output.key, output.value) for output in flush.outputs] == [(None, b""), (None, b"")]


class AbsentRegistry:
    """A registry that knows our own schemas, and whose answer to other ids fails to come."""

    def id_of_schema(self, _subject: str, _schema: str) -> int:
        return 1

    def schema_of_id(self, _schema_id: int) -> str:
        raise Unavailable("the registry is away")


@pytest.mark.parametrize("topic", [TOPICS.events, TOPICS.budgets])
def test_a_batch_with_a_schema_that_cannot_be_had_now_is_not_applied(process, topic: str) -> None:
    """Neither what comes before nor behind it, good or bad: the same batch comes again, and then all of it counts once."""
    good = (
        event_bytes(0, "ann")
        if topic == TOPICS.events
        else encode_budget(Budget(user_id="ann", version=1, tier="free"))
    )
    records = [record(0, b"ann", good), record(1, b"ann", b"bad"), record(2, b"ann", b"\x00\x00\x00\x00\x07rest")]
    configure_registry(AbsentRegistry())
    try:
        with pytest.raises(Unavailable):
            process(topic, *records)
    finally:
        configure_registry(None)
    flush = process(topic)
    assert flush is None or (list(flush.outputs), list(flush.changes)) == ([], [])
    flush = process(topic, *records)
    assert [dict(letter.headers)["reason"] for letter in flush.outputs] == [b"undecodable", b"unknown_schema"]
    assert flush.changes


def test_a_flood_of_bad_records_is_one_line_a_batch(process, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the first bad record of a batch and how many there were."""
    with caplog.at_level(logging.WARNING):
        flush = process(TOPICS.events, *(record(offset, b"k", b"bad") for offset in range(1000)))
    assert len(flush.outputs) == 1000
    (line,) = caplog.messages
    assert line.startswith(f"refused 1000 of 1000 records, the first at {TOPICS.events}/0/0: ")


def test_the_lag_of_a_partition_that_went_away_is_no_longer_told() -> None:
    """After a rebalance only the partitions that are here have a lag."""
    registry = CollectorRegistry()
    instruments = Instruments(registry)
    instruments.set_lag({(TOPICS.events, "0"): 5, (TOPICS.events, "1"): 7})
    instruments.set_lag({(TOPICS.events, "1"): 3})
    lags = {
        sample.labels["partition"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "costledger_stream_lag_events"
    }
    assert lags == {"1": 3}


def test_a_refused_record_is_let_go_at_once(process) -> None:
    """No cycle of references keeps it until the collector comes, which many large records would not call."""
    bad = record(0, b"ann", bytes(20_000))
    told = weakref.ref(bad)
    gc.disable()
    try:
        process(TOPICS.events, bad)
        process(TOPICS.budgets, bad)
        del bad
        assert told() is None
    finally:
        gc.enable()


def test_dead_letters_that_wait_count_by_their_size(handler: CostHandler) -> None:
    """A backlog of large rubbish is flushed before it fills the memory; once handed over they wait no more."""
    assert handler.pending() == 0
    handler.process(Batch(TOPICS.events, 0, [record(n, b"k", bytes(40_960)) for n in range(10)]))
    assert handler.pending() == 110
    handler.flush(0)
    assert handler.pending() == 0
