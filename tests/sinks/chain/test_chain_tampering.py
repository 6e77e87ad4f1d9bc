"""What the owner of the database does to a sealed ledger is found, and the entry is named."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql
from tests.sinks.chain.writing import (
    TOPIC,
    event_at,
    kinds,
    open_ledger,
    sealed,
    some_events,
    tamper,
    verified,
    write,
)
from tests.sinks.conftest import Ledger

from costledger.schemas.errors import InvalidValue
from costledger.sinks.chain import Finding
from costledger.sinks.chain.hashing import Block, block_hash, pack_fingerprints
from costledger.sinks.chain.heads import Heads, read_heads
from costledger.sinks.chain.rows import Span, UnreadableRows, read_rows

PARTITIONS = 3
ROWS = 45
AT = "kafka_partition = 1 AND kafka_offset = 17"


@pytest.fixture
def honest(ledger: Ledger) -> Ledger:
    """A ledger of three partitions, sealed in blocks of ten and one of five, with some entries that are not sealed yet."""
    for partition in range(PARTITIONS):
        write(ledger, partition, 0, some_events(ROWS, f"user-{partition}"))
    assert sealed(ledger) == PARTITIONS * ROWS
    write(ledger, 1, ROWS, some_events(3))
    assert verified(ledger).ok
    return ledger


def only(ledger: Ledger, **counts: int) -> Finding:
    """The only finding of its kind, and of no other kinds than these."""
    report = verified(ledger)
    assert kinds(report) == counts
    (first, *_) = [one for one in report.findings if one.kind != "counter"]
    assert (first.topic, first.partition) == (TOPIC, 1)
    # What is wrong in one partition is not said of another one.
    assert verified(ledger, partitions=[0, 2]).ok
    assert not verified(ledger, partitions=[1]).ok
    return first


COLUMNS = {
    "reverses_event_id": "gen_random_uuid()",
    "occurred_at": "occurred_at + interval '1 microsecond'",
    "received_at": "now()",
    "recorded_at": "recorded_at - interval '1 microsecond'",
    "quantity": "quantity + 1e-9",
    "amount": "amount + 1e-12",
    "unit_price": "unit_price + 1e-12",
    "user_id": "user_id || 'x'",
    "service": "service || 'x'",
    "operation": "operation || 'x'",
    "category": "'TAX'",
    "unit": "unit || 'x'",
    "price_version": "NULL",
    "currency": "'EUR'",
    "source": "source || 'x'",
    "metadata": 'metadata || \'{"a": "b"}\'',
}


def test_every_column_is_tried(ledger: Ledger) -> None:
    """The columns below and those that are an entry's place and name are all that there are."""
    names = {
        name
        for (name,) in ledger.all(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'ledger.entries'::regclass AND attnum > 0"
        )
    }
    assert names == {*COLUMNS, "event_id", "kafka_topic", "kafka_partition", "kafka_offset"}


def test_a_change_of_any_column_is_found_and_named(honest: Ledger) -> None:
    """By the least that can be: 1e-12 USD, a microsecond, a letter."""
    event_id = event_at(honest, 1, 17)
    for column, value in COLUMNS.items():
        kept = honest.all(f"SELECT {column}::text FROM ledger.entries WHERE {AT}")
        tamper(honest, f"UPDATE ledger.entries SET {column} = {value} WHERE {AT}")
        report = verified(honest)
        assert kinds(report) == {"changed": 1}, column
        assert (report.findings[0].partition, report.findings[0].offset) == (1, 17)
        assert report.findings[0].event_id == event_id
        text = sql.Literal(kept[0][0]).as_string(honest.connection)
        tamper(honest, f"UPDATE ledger.entries SET {column} = {text} WHERE {AT}")
        assert verified(honest).ok, column


def test_a_recorded_time_of_another_day_is_found(honest: Ledger) -> None:
    """Also where the entry is not where its block looks for it."""
    event_id = event_at(honest, 1, 17)
    tamper(honest, f"UPDATE ledger.entries SET recorded_at = recorded_at + interval '3 days' WHERE {AT}")
    assert only(honest, changed=1).event_id == event_id


@pytest.mark.parametrize("time", ["infinity", "-infinity", "20000-01-01", "4000-01-01 BC"])
def test_a_recorded_time_that_is_none_is_found(honest: Ledger, time: str) -> None:
    """PostgreSQL knows times that no calendar here has: they hide neither their entry nor what else was changed."""
    event_id = event_at(honest, 1, 17)
    tamper(
        honest,
        f"UPDATE ledger.entries SET recorded_at = '{time}' WHERE {AT}",
        "UPDATE ledger.entries SET amount = amount * 2 WHERE kafka_partition = 2 AND kafka_offset = 5",
    )
    report = verified(honest)
    named = {(one.partition, one.offset) for one in report.findings if one.kind != "counter"}
    assert {(1, 17), (2, 5)} <= named
    assert event_id in {one.event_id for one in report.findings} or "removed" in kinds(report)


@pytest.mark.parametrize(("time", "is_sealed"), [("infinity", False), ("-infinity", False), ("20000-01-01", True)])
def test_a_time_that_is_none_does_not_keep_the_others_from_being_sealed(
    ledger: Ledger, time: str, is_sealed: bool
) -> None:
    """Also where the entry that has it is not sealed yet: what has a time at all is sealed as it is, the rest is told."""
    for partition in range(2):
        write(ledger, partition, 0, some_events(20))
    tamper(ledger, f"UPDATE ledger.entries SET recorded_at = '{time}' WHERE kafka_partition = 1 AND kafka_offset = 7")
    sealed(ledger)
    assert ledger.one("SELECT sum(rows) FROM ledger.chain_blocks WHERE partition = 0") == 20
    assert verified(ledger, partitions=[1]).ok == is_sealed
    assert verified(ledger, partitions=[0]).ok


def test_a_removed_entry_is_named(honest: Ledger) -> None:
    """By its offset: its id went with it. The sink's own count tells too."""
    tamper(honest, f"DELETE FROM ledger.entries WHERE {AT}")
    assert only(honest, removed=1, counter=1).offset == 17


@pytest.mark.parametrize(
    ("offset", "recorded"),
    [("17", "recorded_at"), ("17", "recorded_at + interval '3 days'"), ("7", "recorded_at"), ("44", "recorded_at")],
)
def test_an_inserted_entry_is_named(honest: Ledger, offset: str, recorded: str) -> None:
    """In any sealed range, at whatever time it says that it was recorded; also with the sink's count made to fit."""
    columns = (
        "occurred_at, received_at, kafka_partition, quantity, amount, user_id, service, operation, category, unit, "
        "currency, source, kafka_topic, metadata"
    )
    tamper(
        honest,
        f"INSERT INTO ledger.entries (event_id, kafka_offset, recorded_at, {columns}) "
        f"SELECT 'ffffffff-0000-7000-8000-000000000001', {offset}, {recorded}, {columns} FROM ledger.entries WHERE {AT}",
        "UPDATE ledger.sink_offsets SET inserted = inserted + 1 WHERE partition = 1",
    )
    found = only(honest, inserted=1)
    assert (found.offset, found.event_id) == (int(offset), "ffffffff-0000-7000-8000-000000000001")


def test_an_entry_of_no_partition_is_found(honest: Ledger) -> None:
    """Entries of a topic or partition that no sink has been at are in no chain, and no business of the ledger's."""
    tamper(honest, "UPDATE ledger.entries SET kafka_topic = 'elsewhere' WHERE kafka_partition = 1 AND kafka_offset = 3")
    report = verified(honest)
    assert kinds(report) == {"removed": 1, "inserted": 1, "counter": 1}
    assert {(one.topic, one.partition) for one in report.findings} == {(TOPIC, 1), ("elsewhere", 1)}


def test_an_entry_at_another_place_is_found(honest: Ledger) -> None:
    """Moved to another partition: removed there, inserted here."""
    event_id = event_at(honest, 1, 17)
    tamper(honest, f"UPDATE ledger.entries SET kafka_partition = 0 WHERE {AT}")
    report = verified(honest)
    assert kinds(report) == {"removed": 1, "inserted": 1, "counter": 2}
    told = {(one.kind, one.partition, one.offset, one.event_id) for one in report.findings if one.kind != "counter"}
    assert told == {("removed", 1, 17, None), ("inserted", 0, 17, event_id)}


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_a_removed_block_is_found(honest: Ledger, number: int) -> None:
    """Any but the last: the next one follows on nothing."""
    tamper(honest, f"DELETE FROM ledger.chain_blocks WHERE partition = 1 AND number = {number}")
    report = verified(honest)
    assert set(kinds(report)) == {"block"}
    assert {one.partition for one in report.findings} == {1}


def test_a_removed_last_block_is_found_with_saved_heads(honest: Ledger) -> None:
    """Without them it looks like a block that was never sealed."""
    heads = saved_heads(honest)
    assert verified(honest, heads=heads).ok
    tamper(honest, "DELETE FROM ledger.chain_blocks WHERE partition = 1 AND number = 6")
    assert verified(honest).ok
    assert kinds(verified(honest, heads=heads)) == {"head": 1}


@pytest.mark.parametrize(
    "change",
    [
        "hash = sha256('x')",
        "previous_hash = sha256('x')",
        "fingerprints = overlay(fingerprints PLACING '\\x00' FROM 5)",
        "fingerprints = substring(fingerprints FOR 20)",
        "fingerprints = ''",
        "rows = rows - 1",
        "rows_total = rows_total + 1",
        "missing = 1",
        "next_offset = next_offset + 1",
        "first_offset = first_offset + 1",
        "sealed_at = sealed_at - interval '1 day'",
        "recorded_from = recorded_from - interval '1 second'",
        "recorded_until = recorded_until - interval '1 day'",
        "recorded_from = NULL, recorded_until = NULL",
        "format = 2",
        "number = 99",
        "partition = 7",
        "topic = 'elsewhere'",
    ],
)
def test_a_changed_block_is_found(honest: Ledger, change: str) -> None:
    """Whatever of it is changed, and whatever else that makes look wrong: a finding names the block."""
    tamper(honest, f"UPDATE ledger.chain_blocks SET {change} WHERE partition = 1 AND number = 3")
    report = verified(honest)
    assert "block" in kinds(report)
    assert any(one.kind == "block" and one.partition in {1, 7} for one in report.findings)


def test_a_block_that_was_widened_over_an_entry_is_found(honest: Ledger) -> None:
    """The last one, over the first entry that is not sealed yet: what is told is the block as well."""
    tamper(honest, "UPDATE ledger.chain_blocks SET next_offset = next_offset + 1 WHERE partition = 1 AND number = 5")
    report = verified(honest)
    assert {"block", "inserted"} <= kinds(report).keys()
    assert any("its hash is not that" in one.text for one in report.findings)


def test_an_entry_changed_with_its_fingerprint_is_found(honest: Ledger) -> None:
    """Whoever changes both changes a block."""
    forged = sealed_again(honest)
    tamper(honest, f"UPDATE ledger.entries SET amount = amount * 2 WHERE {AT}")
    of_change = sealed_again(honest)[1, 3]
    tamper(
        honest,
        f"UPDATE ledger.chain_blocks SET fingerprints = '\\x{of_change}' WHERE partition = 1 AND number = 3",
    )
    assert forged[1, 3] != of_change
    report = verified(honest)
    assert kinds(report) == {"block": 1}
    assert "its hash is not that" in report.findings[0].text


def rewritten(ledger: Ledger, number: int, **changed: int) -> None:
    """Write one block of partition 1 anew, by all the rules, over the entries as they are now."""
    columns = ", ".join(Block.__slots__)
    where = f"partition = 1 AND number = {number}"
    with closing(open_ledger(ledger)) as connection:
        (row,) = ledger.all(f"SELECT {columns} FROM ledger.chain_blocks WHERE {where}")
        block = replace(Block(*row), **changed)
        rows = list(read_rows(connection, TOPIC, [Span(1, block.first_offset, block.next_offset, None, None)]))
    hash_ = block_hash(block, (row.digest for row in rows)).hex()
    packed = pack_fingerprints(block.first_offset, rows).hex()
    values = "".join(f", {name} = {value}" for name, value in changed.items())
    change = f"hash = '\\x{hash_}', fingerprints = '\\x{packed}'{values}"
    tamper(ledger, f"UPDATE ledger.chain_blocks SET {change} WHERE {where}")


def test_a_block_written_anew_does_not_fit_the_next_one(honest: Ledger) -> None:
    """An entry is changed and its block made to fit: the block after it names another hash."""
    tamper(honest, f"UPDATE ledger.entries SET amount = amount * 2 WHERE {AT}")
    rewritten(honest, 3)
    report = verified(honest)
    assert kinds(report) == {"block": 1}
    assert report.findings[0].text.startswith("block 4: names another hash than block 3 has")


def test_the_last_block_written_anew_must_add_up(honest: Ledger) -> None:
    """Nothing follows on it, but its own count has to."""
    rewritten(honest, 6, rows_total=44)
    report = verified(honest)
    assert kinds(report) == {"block": 1}
    assert "counts 44 entries after 40" in report.findings[0].text


def sealed_again(ledger: Ledger) -> dict[tuple[int, int], str]:
    """The fingerprints that sealing gives now, by partition and number; the blocks stay as they were."""
    columns = (
        "topic, partition, number, format, since, first_offset, next_offset, rows, rows_total, missing, recorded_from"
    )
    columns += ", recorded_until, sealed_at, previous_hash, hash, fingerprints"
    ledger.connection.execute(b"CREATE TABLE public.kept AS TABLE ledger.chain_blocks")
    tamper(ledger, "DELETE FROM ledger.chain_blocks")
    sealed(ledger)
    found = {
        (partition, number): bytes(packed).hex()
        for partition, number, packed in ledger.all("SELECT partition, number, fingerprints FROM ledger.chain_blocks")
    }
    tamper(
        ledger,
        "DELETE FROM ledger.chain_blocks",
    )
    ledger.connection.execute(
        f"INSERT INTO ledger.chain_blocks ({columns}) SELECT {columns} FROM public.kept ORDER BY id".encode()
    )
    ledger.connection.execute(b"DROP TABLE public.kept")
    assert verified(ledger).total("blocks") == len(found)
    return found


def saved_heads(ledger: Ledger) -> Heads:
    """The heads as they are now."""
    report = verified(ledger)
    return Heads({(one.topic, one.partition, one.head_number): one.head for one in report.chains})


def test_a_chain_written_anew_is_found_with_saved_heads(honest: Ledger) -> None:
    """The owner changes an entry and seals everything again: it holds, and is another chain than the one that was saved."""
    heads = saved_heads(honest)
    tamper(
        honest,
        f"UPDATE ledger.entries SET amount = amount * 2 WHERE {AT}",
        "DELETE FROM ledger.chain_blocks",
    )
    sealed(honest)
    assert verified(honest).ok
    report = verified(honest, heads=heads)
    assert kinds(report) == {"head": PARTITIONS}
    assert kinds(verified(honest, partitions=[1], heads=heads)) == {"head": 1}


def test_heads_of_long_ago_still_hold(honest: Ledger) -> None:
    """A chain that went on has the saved head in its middle."""
    heads = saved_heads(honest)
    write(honest, 1, ROWS + 3, some_events(30))
    assert sealed(honest) == 33
    assert verified(honest, heads=heads).ok


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "costledger chain heads 9", "heads": []}', "\x00"])
def test_a_file_that_holds_no_heads_is_refused(tmp_path: Path, text: str) -> None:
    """With the name of the file, not with a traceback."""
    path = tmp_path / "heads.json"
    path.write_text(text)
    with pytest.raises(InvalidValue, match="--save-heads"):
        read_heads(path)


def test_all_entries_gone_is_told_in_numbers(honest: Ledger) -> None:
    """Examples are bounded, counts are not."""
    tamper(honest, "DELETE FROM ledger.entries")
    report = verified(honest)
    assert kinds(report) == {"removed": PARTITIONS * ROWS, "counter": PARTITIONS}
    assert len(report.findings) == 100


def test_rows_of_another_form_are_refused(honest: Ledger) -> None:
    """A column of another type would be another form of a row: an error that says so, and no wrong finding."""
    honest.connection.execute("DROP VIEW analyst.costs, analyst.focus")
    honest.connection.execute("ALTER TABLE ledger.entries ALTER kafka_partition TYPE bigint")
    with pytest.raises(UnreadableRows, match="a row has 20 fields of 8"):
        verified(honest)
