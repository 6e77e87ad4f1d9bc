"""The transport's books, its changelog format and its settings, without a broker."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from costledger.streams.transport import StageConfig, changelog_topic
from costledger.streams.transport.acks import Fences, LogEnd, Progress
from costledger.streams.transport.app import build_app
from costledger.streams.transport.producer import BATCH_OVERHEAD_BYTES, GroupTooLargeError, pack, row_bytes
from costledger.streams.transport.recovery import BatchRecovery
from costledger.streams.transport.runtime import Runtime
from costledger.streams.transport.table import OFFSET_HEADER, RecoveredPartition, by_source_offset, encode_change
from costledger.streams.transport.watchdog import caught_up, partition_stats, stalled

A, B = TP("main", 0), TP("limits", 0)
OTHER = TP("main", 1)


def records(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=offset) for offset in offsets]


def config(**given: Any) -> StageConfig:
    return StageConfig(
        **{
            "app_id": "app",
            "bootstrap_servers": "127.0.0.1:9",
            "main_topic": "main",
            "table_name": "totals",
            "partitions": 4,
            **given,
        }
    )


def assigned() -> Progress:
    progress = Progress()
    progress.assign({A: 10, B: 0, OTHER: 5}, {A: 10, B: None, OTHER: 5})
    return progress


def test_what_others_write_to_a_log_is_counted() -> None:
    """Before each batch of ours; where the broker does not tell, the next one is believed."""
    end = LogEnd(7)
    assert [end.wrote(7, 3), end.wrote(10, 1), end.wrote(14, 2), end.wrote(16, 1)] == [0, 0, 3, 0]
    assert [end.wrote(-1, 5), end.wrote(30, 1), end.wrote(32, 1)] == [0, 0, 1]
    # A log that has lost its end.
    assert end.wrote(20, 1) == -13
    # Asked for, not written to: less than is known is believed of no broker.
    assert [end.reaches(21), end.reaches(19), end.reaches(24), end.reaches(24), end.wrote(24, 1)] == [0, 0, 3, 0, 0]


def test_position_moved_back_delivers_nothing_twice() -> None:
    """Records below the position are not delivered again."""
    progress = assigned()
    assert [r.offset for r in progress.fresh(A, records(8, 9, 10, 12))] == [10, 12]
    progress.processed(A, 12)
    assert progress.fresh(A, records(10, 12)) == []
    assert [r.offset for r in progress.fresh(A, records(12, 13))] == [13]
    with pytest.raises(ValueError, match="processed before"):
        progress.processed(A, 12)


def test_only_flushed_offsets_are_committable() -> None:
    """What was processed after the snapshot waits for the next flush; all topics of a partition go together."""
    progress = assigned()
    progress.processed(A, 19)
    progress.processed(B, 3)
    progress.processed(OTHER, 7)
    snapshot = progress.snapshot(0)
    progress.processed(A, 29)
    assert progress.committable() == {}
    progress.flushed(snapshot, progress.epoch)
    assert progress.committable() == {A: 20, B: 4}
    progress.commit_succeeded({A: 20, B: 4}, progress.epoch)
    assert progress.committable() == {}
    assert progress.committed_offset(A) == 20
    assert not progress.settled()


def test_failed_commit_is_not_forgotten() -> None:
    """Offsets stay committable until a commit succeeds."""
    progress = assigned()
    progress.processed(OTHER, 5)
    progress.flushed(progress.snapshot(1), progress.epoch)
    assert progress.committable() == progress.committable() == {OTHER: 6}
    progress.commit_succeeded({OTHER: 6}, progress.epoch)
    assert progress.settled()


def test_acknowledgement_of_an_older_assignment_is_ignored() -> None:
    """A flush or commit that ends after a rebalance changes nothing."""
    progress = assigned()
    progress.processed(A, 19)
    snapshot, epoch = progress.snapshot(0), progress.epoch
    progress.assign({A: 10}, {A: 10})
    progress.flushed(snapshot, epoch)
    progress.commit_succeeded({A: 20}, epoch)
    assert progress.committable() == {}
    assert progress.committed_offset(A) == 10


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=40))
def test_each_offset_is_delivered_once(fetches: list[tuple[int, int]]) -> None:
    """However positions jump back, offsets are delivered in order and once each."""
    progress = Progress()
    progress.assign({A: 0}, {A: None})
    delivered: list[int] = []
    for count, back in fetches:
        first = max(0, progress.position(A) - back)
        batch = progress.fresh(A, records(*range(first, first + count))) if count else []
        if batch:
            delivered += [record.offset for record in batch]
            progress.processed(A, batch[-1].offset)
    assert delivered == list(range(len(delivered)))


def test_stored_offset_of_a_key_never_goes_back() -> None:
    """During a replay a key that is ahead keeps its offset, all others have what is below the start."""
    fences = Fences(100, {b"ahead": 150, b"old": 20})
    assert (fences.stored_offset(b"ahead"), fences.stored_offset(b"old"), fences.stored_offset(b"new")) == (
        150,
        99,
        99,
    )
    fences.pass_by(120)
    assert (fences.stored_offset(b"ahead"), fences.stored_offset(b"old")) == (150, 120)
    fences.pass_by(-1)
    assert fences.stored_offset(b"old") == 120
    fences.pass_by(160)
    assert fences.stored_offset(b"ahead") == 160


def change(key: bytes, offset: int, value: bytes | None) -> Any:
    content, headers = encode_change(offset, value)
    return SimpleNamespace(topic="log", partition=0, offset=offset, key=key, value=content, headers=tuple(headers))


def test_higher_source_offset_wins_over_the_later_record() -> None:
    """A late write of a worker that lost its partition does not replace newer state, and is repaired."""
    recovered = RecoveredPartition()
    recovered.apply([change(b"a", 5, b"new"), change(b"b", 5, b"x"), change(b"a", 3, b"late")])
    assert sorted(recovered.state()) == [(b"a", 5, b"new"), (b"b", 5, b"x")]
    assert recovered.repairs() == [(b"a", 5, b"new")]
    recovered.apply([change(b"a", 5, b"same offset, later")])
    assert recovered.repairs() == []
    assert recovered.offsets() == {b"a": 5, b"b": 5}


def test_a_key_with_an_order_of_its_own_goes_by_that() -> None:
    """Such as a budget: who had read more events, and writes late, may have read fewer budgets."""
    recovered = RecoveredPartition(lambda key, value: value[0] if key == b"u" else None)
    recovered.apply(
        [change(b"u", 5, b"2 new"), change(b"d", 5, b"2"), change(b"u", 9, b"1 late"), change(b"d", 9, b"1")]
    )
    assert sorted(recovered.state()) == [(b"d", 9, b"1"), (b"u", 9, b"2 new")]
    assert recovered.repairs() == [(b"u", 9, b"2 new")]
    recovered.apply([change(b"u", 7, b"3 newer")])
    assert sorted(recovered.state()) == [(b"d", 9, b"1"), (b"u", 9, b"3 newer")]
    assert recovered.repairs() == []
    recovered.apply([change(b"u", 4, b"3 of the same place, and of fewer events")])
    assert recovered.repairs() == [(b"u", 9, b"3 newer")]
    recovered.apply([change(b"u", 9, None)])
    assert [row.key for row in recovered.state()] == [b"d"]


def test_deletion_carries_an_offset_too() -> None:
    """A deletion is compared by its offset; one without an offset wins over what precedes it."""
    recovered = RecoveredPartition()
    recovered.apply([change(b"a", 5, b"x"), change(b"a", 4, None)])
    assert [row.key for row in recovered.state()] == [b"a"]
    recovered.apply([change(b"a", 6, None), change(b"a", 5, b"late")])
    assert list(recovered.state()) == []
    foreign = SimpleNamespace(topic="log", partition=0, offset=9, key=b"b", value=None, headers=())
    recovered.apply([change(b"b", 7, b"y"), foreign])
    assert list(recovered.state()) == []
    assert encode_change(6, None)[1] == [(OFFSET_HEADER, struct.pack(">q", 6))]


def test_foreign_changelog_value_is_refused() -> None:
    """A value too short to hold an offset is an error that names the place."""
    bad = SimpleNamespace(offset=9, key=b"b", value=b"1234", headers=())
    recovered = SimpleNamespace(apply_records=lambda _partition, records: RecoveredPartition().apply(records))
    recovery: Any = SimpleNamespace(_table=lambda _tp: recovered, end=lambda _tp: 10)
    with pytest.raises(ValueError, match=r"log\[3\] offset 9: a changelog value has 4 bytes"):
        BatchRecovery.apply(recovery, TP("log", 3), [bad])


def test_what_comes_during_a_recovery_is_none_of_it() -> None:
    """A fetch may end within a record batch, and half a group is worse than none; the end of the log is that of the beginning."""
    taken: list[int] = []
    reached: list[int] = []
    table = SimpleNamespace(apply_records=lambda _partition, records: taken.extend(one.offset for one in records))
    recovery: Any = SimpleNamespace(
        _table=lambda _tp: table, end=lambda _tp: 12, reached=lambda _tp, position: reached.append(position)
    )
    for offsets in ((9, 10), (11, 12, 13), (14,)):
        BatchRecovery.apply(recovery, TP("log", 3), records(*offsets))
    assert taken == [9, 10, 11]
    assert reached == [11, 14, 15]


@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=5), max_size=30))
def test_groups_are_never_split(sizes: list[list[int]]) -> None:
    """Groups keep their order, each lies in one batch, and no batch is above the limit."""
    limit = 2000
    groups = [
        [(b"%d/%d" % (number, place), b"x" * size, []) for place, size in enumerate(group)]
        for number, group in enumerate(sizes)
    ]
    batches = pack(groups, limit, "log[0]")
    assert [row for batch in batches for row in batch] == [row for group in groups for row in group]
    assert all(BATCH_OVERHEAD_BYTES + sum(map(row_bytes, batch)) <= limit for batch in batches)
    home = {row[0]: number for number, batch in enumerate(batches) for row in batch}
    assert all(len({home[row[0]] for row in group}) == 1 for group in groups)


def test_group_above_the_limit_is_refused() -> None:
    """A group that fits into no batch is an error with its size and the limit."""
    with pytest.raises(GroupTooLargeError, match=r"log\[1\]: a group of 2 changes has 2068 bytes.* 2000"):
        pack([[(b"a", b"x" * 1000, []), (b"b", b"x" * 1002, [])]], 2000, "log[1]")


def test_stall_needs_lag_and_time() -> None:
    """Neither lag alone nor silence alone is a stall."""
    behind = partition_stats("main", 0, 7, 5, 9)
    assert behind.lag == 4
    assert partition_stats("main", 0, 7, None, None).lag == 0
    assert partition_stats("main", 0, 7, None, 9).lag == 2
    assert not caught_up(ready=True, stats=[behind])
    assert not caught_up(ready=False, stats=[])
    assert stalled(False, 61, 60)
    assert not stalled(False, 59, 60)
    assert not stalled(True, 61, 60)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"partitions": 0}, "partitions is 0, it must be above 0"),
        ({"app_id": ""}, "app_id is empty"),
        ({"stall_timeout_seconds": 5}, "stall_timeout_seconds is 5, it must be above"),
        ({"prerequisite_topics": ("main",)}, "name a topic twice"),
        ({"security": {"user": "x"}}, r"unknown keys \['user'\]"),
        ({"security": {"security_protocol": "TLS"}}, "security_protocol is 'TLS'"),
        ({"security": {"security_protocol": "SASL_SSL"}}, "security sasl_mechanism is missing"),
    ],
)
def test_bad_settings_are_named(given: dict[str, Any], message: str) -> None:
    """A bad setting is an error that names the field, the value and the limit."""
    with pytest.raises(ValueError, match=message):
        config(**given)


def test_password_is_not_shown() -> None:
    """The settings' text does not hold the password."""
    security = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "username": "u",
        "password": "hidden-word",
    }
    assert "hidden-word" not in repr(config(security=security))


async def _built(given: StageConfig) -> Any:
    handler: Any = SimpleNamespace(order=by_source_offset)
    return build_app(given, Runtime(given, handler))


def test_changelog_has_fausts_own_name() -> None:
    """The changelog's name is the one by which Faust knows the table's topic, SASL settings and all."""
    import asyncio

    security = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "username": "u",
        "password": "p",
    }
    app = asyncio.run(_built(config(security=security)))
    assert app.tables["totals"].changelog_topic.get_topic_name() == changelog_topic("app", "totals")
    assert app.conf.broker_credentials.mechanism.value == "SCRAM-SHA-512"
