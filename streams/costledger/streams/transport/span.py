"""A few records of the changelog, read by a client of their own beside the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, KafkaConnectionError
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth, server_list

from costledger.streams.transport import batches
from costledger.streams.transport.batches import UNREADABLE

if TYPE_CHECKING:
    from costledger.streams.transport.runtime import Runtime

_ANSWER_MILLISECONDS = 500
_RECORDS_AT_ONCE = 10_000


async def read_span(runtime: Runtime, partition: int, first: int, end: int) -> list[Any]:
    """The records of the changelog from offset `first` up to, without, `end`; those that are there no more are left out.

    Raises ConnectionError where no broker is there, and waits for one that does not answer; `CorruptRecordException` where a
    batch cannot be read.
    """
    batches.install()
    app, place = runtime.app, TopicPartition(runtime.changelog_topic, partition)
    client = AIOKafkaConsumer(
        bootstrap_servers=server_list(app.transport.url, app.transport.default_port),
        client_id=f"{app.conf.id}-late",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **credentials_to_aiokafka_auth(app.conf.broker_credentials, app.conf.ssl_context),
    )
    records: list[Any] = []
    try:
        await client.start()
        client.assign([place])
        client.seek(place, first)
        while await client.position(place) < end:
            fetched = await client.getmany(place, timeout_ms=_ANSWER_MILLISECONDS, max_records=_RECORDS_AT_ONCE)
            records += [record for record in fetched.get(place, ()) if record.offset < end]
    except KafkaConnectionError as error:
        raise ConnectionError(str(error)) from error
    finally:
        await client.stop()
    if any(record.value is UNREADABLE for record in records):
        raise CorruptRecordException(f"{place.topic}[{partition}] has a record batch that cannot be read")
    return records
