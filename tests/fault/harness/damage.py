"""Damage that no part of the product would do, done by hand to see that the checks find it, and undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # documented place
from tests.fault.harness.topics import TopicReader
from tests.fixtures.wait import wait_until

from costledger.sinks.database import Connection

_ADMIN_SECONDS_MAX: Final = 30.0
_COLUMNS: Final = """
SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) FROM information_schema.columns
WHERE table_schema || '.' || table_name = %s AND is_generated = 'NEVER'
"""


@contextmanager
def damaged_table(connection: Connection, table: str, statement: str) -> Iterator[int]:
    """Do something to a table past all its triggers; gives how many rows it met. Afterwards all rows are as they were.

    `connection` is a superuser's, and `table` has its schema. The table must be small: it is copied.
    """
    connection.execute(f"CREATE TEMPORARY TABLE kept AS TABLE {table}".encode())
    # Replicas fire no triggers: neither those that refuse changes, nor foreign keys.
    connection.execute("SET session_replication_role = replica")
    try:
        yield connection.execute(statement.encode()).rowcount
    finally:
        row = connection.execute(_COLUMNS, (table,)).fetchone()
        assert row is not None
        columns = row[0]
        with connection.transaction():
            connection.execute(f"DELETE FROM {table}".encode())
            connection.execute(
                f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM kept".encode()
            )
        connection.execute("SET session_replication_role = origin")
        connection.execute("DROP TABLE kept")


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as it is produced again."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@contextmanager
def damaged_topic(
    bootstrap_servers: str, reader: TopicReader, topic: str, change: Callable[[list[Kept]], list[Kept]]
) -> Iterator[None]:
    """Replace a topic by one of the same name with other messages; afterwards it has those that it had."""
    before = [_kept(message) for message in reader.read(topic)]
    partitions = len(reader.ends(topic))
    _replace(bootstrap_servers, topic, partitions, change(list(before)))
    try:
        yield
    finally:
        _replace(bootstrap_servers, topic, partitions, before)


def _replace(bootstrap_servers: str, topic: str, partitions: int, messages: list[Kept]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.delete_topics([topic])[topic].result(_ADMIN_SECONDS_MAX)

    def gone() -> bool:
        return topic not in admin.list_topics(timeout=_ADMIN_SECONDS_MAX).topics

    wait_until(gone, _ADMIN_SECONDS_MAX, f"{topic} is deleted")
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(_ADMIN_SECONDS_MAX)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True})
    for one in messages:
        producer.produce(topic, one.value, one.key, one.partition, headers=one.headers)
        producer.poll(0)
    assert producer.flush(_ADMIN_SECONDS_MAX) == 0


def _kept(message: Message) -> Kept:
    headers = [(name, bytes(value)) for name, value in message.headers() or []]
    return Kept(message.partition() or 0, message.key(), message.value(), headers)
