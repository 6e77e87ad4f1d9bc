"""A few records of the changelog, read by a client of their own beside the flow."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, KafkaConnectionError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth, server_list

from costledger.streams.transport import batches
from costledger.streams.transport.batches import UNREADABLE

if TYPE_CHECKING:
    from costledger.streams.transport.runtime import Runtime

_ANSWER_MILLISECONDS = 500
_REQUEST_MILLISECONDS = 3_000
_SILENCE_SECONDS_MAX = 3.0
_RECORDS_AT_ONCE = 5_000


async def read_span(runtime: Runtime, partition: int, first: int, end: int) -> AsyncIterator[tuple[list[Any], int]]:
    """The records of the changelog from offset `first` up to, without, `end`, some at a time, each with the offset to go on from.

    Records that are there no more are left out. Raises ConnectionError or TimeoutError where no broker answers,
    `CorruptRecordException` where a batch cannot be read.
    """
    batches.install()
    app, place = runtime.app, TopicPartition(runtime.changelog_topic, partition)
    client = AIOKafkaConsumer(
        bootstrap_servers=server_list(app.transport.url, app.transport.default_port),
        client_id=f"{app.conf.id}-late",
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=_REQUEST_MILLISECONDS,
        **credentials_to_aiokafka_auth(app.conf.broker_credentials, app.conf.ssl_context),
    )
    # Not by a cancellation: the client would leave its connections open.
    deadline = time.monotonic() + _SILENCE_SECONDS_MAX
    try:
        await client.start()
        client.assign([place])
        client.seek(place, first)
        while (position := await client.position(place)) < end:
            fetched = await client.getmany(place, timeout_ms=_ANSWER_MILLISECONDS, max_records=_RECORDS_AT_ONCE)
            records = [record for record in fetched.get(place, ()) if first <= record.offset < end]
            if any(record.value is UNREADABLE for record in records):
                raise CorruptRecordException(f"{place.topic}[{partition}] has a record batch that cannot be read")
            following = await client.position(place)
            if following > position:
                deadline = time.monotonic() + _SILENCE_SECONDS_MAX
                yield records, min(following, end)
            elif time.monotonic() > deadline:
                raise TimeoutError(f"no answer for {_SILENCE_SECONDS_MAX:g} s")
    except KafkaConnectionError as error:
        raise ConnectionError(str(error)) from error
    except OffsetOutOfRangeError:
        # Deleted since, as old records are: then nobody recovers from them either.
        return
    finally:
        await client.stop()
