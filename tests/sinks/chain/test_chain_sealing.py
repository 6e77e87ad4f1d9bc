"""Sealing: what is committed becomes whole blocks, once, whoever seals and whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from tests.fixtures.wait import wait_until
from tests.sinks.chain.writing import (
    TOPIC,
    encoded,
    kinds,
    open_ledger,
    sealed,
    some_events,
    tamper,
    verified,
    write,
)
from tests.sinks.conftest import Ledger, Running, Topic, make_event, random_events

from costledger.schemas.settings import Settings
from costledger.sinks.chain import seal, verify
from costledger.sinks.chain.sealing import Step
from costledger.sinks.database import BoundedConnection


def blocks(ledger: Ledger, partition: int = 0) -> list[tuple[int, int, int]]:
    """First offset, next offset and rows of each block that has any."""
    return ledger.all(
        "SELECT first_offset, next_offset, rows FROM ledger.chain_blocks "
        "WHERE partition = %s AND rows > 0 ORDER BY number",
        partition,
    )


def test_what_the_sink_writes_is_sealed_and_holds(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: Callable[..., Running], seed: int
) -> None:
    """Every entry that a real sink wrote is in a block once, while it writes on; repeats and rubbish disturb nothing."""
    events = random_events(seed, 1_000)
    sink = start_sink(settings)
    with closing(open_ledger(ledger)) as connection:
        for at in range(0, 1_000, 250):
            topic.send([*events[at : at + 250], *events[: at // 10]])
            topic.send_raw([(b"k", b"rubbish")])
            # At any moment of the sink's.
            seal(connection, topic.name, block_rows_max=50)
            assert verify(connection).ok
        wait_until(lambda: ledger.consumed() == topic.produced, 60, "all offsets are in the ledger")
        assert sink.stop() == 0
        seal(connection, topic.name, block_rows_max=50)
        report = verify(connection)
        assert seal(connection, topic.name) == 0
    assert report.ok, report.findings
    assert (report.total("rows"), report.total("unsealed")) == (1_000, 0)
    assert sum(chain.sealed_offset or 0 for chain in report.chains) <= topic.produced
    seen = ledger.all("SELECT sum(rows), count(*) FILTER (WHERE missing <> 0) FROM ledger.chain_blocks")
    assert seen == [(1_000, 0)]


def test_a_block_is_sealed_when_it_is_full(ledger: Ledger) -> None:
    """What fills no block waits, until its oldest entry is old enough."""
    write(ledger, 0, 0, some_events(47))
    assert sealed(ledger, after_seconds=3_600) == 40
    assert blocks(ledger) == [(0, 10, 10), (10, 20, 10), (20, 30, 10), (30, 40, 10)]
    assert sealed(ledger, after_seconds=3_600) == 0
    report = verified(ledger)
    assert report.ok
    (chain,) = report.chains
    assert (chain.rows, chain.unsealed, chain.sealed_offset) == (40, 7, 40)
    assert chain.oldest_unsealed_at is not None
    assert sealed(ledger) == 7
    assert blocks(ledger)[-1] == (40, 47, 7)
    assert verified(ledger).total("unsealed") == 0


def test_an_old_entry_does_not_wait(ledger: Ledger) -> None:
    """An entry of an hour ago is sealed after half an hour, and one of now is not."""
    write(ledger, 0, 0, some_events(3))
    write(ledger, 1, 0, some_events(3))
    tamper(
        ledger,
        "UPDATE ledger.sink_offsets SET since = since - interval '1 day'",
        "UPDATE ledger.entries SET recorded_at = recorded_at - interval '1 hour' WHERE kafka_partition = 0",
    )
    assert sealed(ledger, after_seconds=1_800) == 3
    assert [len(blocks(ledger, partition)) for partition in (0, 1)] == [1, 0]


def test_repeats_refusals_and_gaps_are_no_entries(ledger: Ledger) -> None:
    """Offsets without an entry are covered by the blocks around them, however many they are."""
    events = some_events(12)
    write(ledger, 0, 5_000_000_000, [*events, *events[:5], b"rubbish", *some_events(3)])
    assert sealed(ledger) == 15
    assert blocks(ledger)[0] == (0, 5_000_000_010, 10)
    assert blocks(ledger)[-1][1] == 5_000_000_021
    write(ledger, 0, 5_000_000_021, events)
    assert sealed(ledger) == 0
    assert verified(ledger).ok
    write(ledger, 0, 5_000_090_000, some_events(1))
    assert sealed(ledger) == 1
    report = verified(ledger)
    assert report.ok
    assert (report.chains[0].rows, report.chains[0].sealed_offset) == (16, 5_000_090_001)


def test_a_turn_is_bounded_and_the_next_one_goes_on(ledger: Ledger) -> None:
    """A backlog is sealed over several turns, two blocks of each partition in a round."""
    write(ledger, 0, 0, some_events(95))
    assert [sealed(ledger, rounds_max=2) for _ in range(4)] == [40, 40, 15, 0]
    assert verified(ledger).ok


def test_a_gap_of_any_length_is_passed_over(ledger: Ledger) -> None:
    """Window by window it would take a hundred thousand million rounds."""
    write(ledger, 0, 0, some_events(15))
    write(ledger, 0, 10**12, some_events(15))
    assert sealed(ledger, rounds_max=10) == 30
    report = verified(ledger)
    assert report.ok
    assert report.total("unsealed") == 0


def test_a_clock_that_was_set_back_hides_no_entry(ledger: Ledger) -> None:
    """Entries that say they are older than the last block, by days, are found by the sink's count and sealed."""
    write(ledger, 0, 0, some_events(10))
    tamper(ledger, "UPDATE ledger.sink_offsets SET since = since - interval '9 days'")
    assert sealed(ledger) == 10
    write(ledger, 0, 10, some_events(10))
    tamper(
        ledger,
        "UPDATE ledger.entries SET recorded_at = recorded_at - interval '7 days' WHERE kafka_offset >= 10",
    )
    write(ledger, 0, 20, some_events(10))
    assert sealed(ledger) == 20
    assert verified(ledger).ok


def test_two_sealers_at_once_make_one_chain(ledger: Ledger) -> None:
    """Of two the second waits and finds nothing left, or does not wait and goes away."""
    write(ledger, 0, 0, some_events(40))
    inside, go_on = threading.Event(), threading.Event()

    def hold(step: Step) -> None:
        if step == "before_commit":
            inside.set()
            assert go_on.wait(30)

    rows: list[int] = []
    first = threading.Thread(target=lambda: rows.append(sealed(ledger, on_step=hold)))
    first.start()
    assert inside.wait(30)
    assert sealed(ledger, wait=False) == 0
    second = threading.Thread(target=lambda: rows.append(sealed(ledger)))
    second.start()
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    wait_until(lambda: ledger.one(waiting) == 1, 30, "the second sealer waits")
    go_on.set()
    first.join(30)
    second.join(30)
    assert sorted(rows) == [0, 40]
    assert verified(ledger).ok


def test_the_key_refuses_a_second_block_of_a_number(ledger: Ledger) -> None:
    """Where the lock fails, as behind a proxy that shares sessions, the primary key stands."""
    write(ledger, 0, 0, some_events(10))
    columns = (
        "topic, partition, number, format, since, first_offset, next_offset, rows, rows_total, missing, sealed_at, "
        "previous_hash, hash, fingerprints"
    )

    def forestall(step: Step) -> None:
        if step == "before_blocks":
            ledger.connection.execute(
                f"INSERT INTO ledger.chain_blocks ({columns}) SELECT topic, partition, number + 1, format, since, 0, 0, 0, "
                "0, 0, sealed_at, hash, hash, '' FROM ledger.chain_blocks".encode()
            )

    with pytest.raises(errors.UniqueViolation):
        sealed(ledger, on_step=forestall)


@pytest.mark.parametrize("step", ["before_blocks", "before_commit", "after_commit"])
def test_a_sealer_that_is_killed_leaves_whole_blocks(ledger: Ledger, tmp_path: Path, step: Step) -> None:
    """Killed with -9 at any step, in its second round: what is there holds, and the next one goes on."""
    write(ledger, 0, 0, some_events(45))
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"COSTLEDGER_TEST_URL": ledger.url, "COSTLEDGER_TEST_KILL_AT": step}
    program = str(Path(__file__).with_name("sealer_process.py"))
    killed = subprocess.run([sys.executable, program], env=environment, cwd=tmp_path, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    report = verified(ledger)
    assert report.ok
    rows = 40 if step == "after_commit" else 20
    assert (report.total("rows"), report.total("unsealed")) == (rows, 45 - rows)
    assert sealed(ledger) == 45 - rows
    assert verified(ledger).ok


def test_nobody_changes_a_block(ledger: Ledger) -> None:
    """Writer, owner and superuser are refused to change, delete or truncate blocks; the writer may add them."""
    write(ledger, 0, 0, some_events(10))
    assert sealed(ledger) == 10
    for role, refused in (
        ("costledger_writer", errors.InsufficientPrivilege),
        ("costledger_owner", errors.ObjectNotInPrerequisiteState),
        ("NONE", errors.ObjectNotInPrerequisiteState),
    ):
        ledger.connection.execute(f"SET ROLE {role}".encode())
        for statement in (
            "UPDATE ledger.chain_blocks SET rows = 9",
            "DELETE FROM ledger.chain_blocks",
            "TRUNCATE ledger.chain_blocks",
        ):
            with pytest.raises(refused):
                ledger.connection.execute(statement.encode())
    ledger.connection.execute("RESET ROLE")
    assert verified(ledger).ok


def test_completeness_tells_how_far_the_chain_is(ledger: Ledger) -> None:
    """Analysts see the sealed offset and how many entries are not sealed; before the first block, none is."""
    seen = "SELECT sealed_offset, unsealed, sealed_at IS NOT NULL FROM analyst.completeness"
    write(ledger, 0, 0, [*some_events(12), b"rubbish"])
    assert ledger.all(seen) == [(None, 12, False)]
    assert sealed(ledger, after_seconds=3_600) == 10
    assert ledger.all(seen) == [(10, 2, True)]
    assert sealed(ledger) == 2
    assert ledger.all(seen) == [(13, 0, True)]


def test_a_ledger_that_was_there_before_is_sealed_too(ledger: Ledger) -> None:
    """Entries that are older than the position, also several at one offset, are in blocks of their own."""
    for start in (0, 5):
        write(ledger, 0, 0, some_events(25))
        tamper(ledger, "DELETE FROM ledger.sink_offsets")
        if start:
            write(ledger, 0, 0, encoded([make_event("later")]))
    assert sealed(ledger) == 51
    assert verified(ledger).ok
    former = ledger.all("SELECT sum(rows), max(next_offset) FROM ledger.chain_blocks WHERE since IS NULL")
    assert former == [(50, 25)]
    tamper(ledger, "DELETE FROM ledger.entries WHERE kafka_offset = 24 AND user_id = 'u'")
    report = verified(ledger)
    assert kinds(report) == {"removed": 2}
    assert [one.offset for one in report.findings] == [24, 24]


def test_what_is_gone_before_it_is_sealed_is_told(ledger: Ledger) -> None:
    """The sink has counted an entry that sealing does not find; said once, and sealing goes on."""
    write(ledger, 0, 0, some_events(20))
    assert sealed(ledger) == 20
    write(ledger, 0, 20, some_events(20))
    tamper(ledger, "DELETE FROM ledger.entries WHERE kafka_offset = 30")
    assert sealed(ledger) == 19
    assert sealed(ledger) == 0
    write(ledger, 0, 40, some_events(1))
    assert sealed(ledger) == 1
    report = verified(ledger)
    assert kinds(report) == {"missing": 1, "counter": 1}
    assert "1 fewer entries were there to be sealed" in report.findings[0].text
    assert ledger.all("SELECT DISTINCT missing FROM ledger.chain_blocks WHERE first_offset >= 40") == [(1,)]
    now = datetime.now(UTC)
    assert ledger.one("SELECT max(sealed_at) FROM ledger.chain_blocks") > now - timedelta(minutes=1)


@pytest.mark.parametrize("work", ["verify", "seal"])
def test_a_statement_may_take_longer_than_others(ledger: Ledger, work: str) -> None:
    """Counting a large ledger says nothing for minutes: that is not the silence of a server that is gone."""
    write(ledger, 0, 0, some_events(20))
    if work == "verify":
        sealed(ledger)
    silence_seconds = 0.5
    with closing(open_ledger(ledger)) as connection, psycopg.connect(ledger.url) as other:
        assert isinstance(connection, BoundedConnection)
        connection.silence_seconds_max = silence_seconds
        other.execute("LOCK TABLE ledger.entries IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(lambda: verify(connection).ok if work == "verify" else seal(connection, TOPIC) == 20)
            slow = (
                "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock' "
                "AND clock_timestamp() - query_start > make_interval(secs => %s)"
            )
            wait_until(
                lambda: done.done() or ledger.one(slow, connection.info.backend_pid, 3 * silence_seconds),
                20,
                "a statement has taken long",
            )
            other.rollback()
            assert done.result(20)
        assert connection.silence_seconds_max == silence_seconds
