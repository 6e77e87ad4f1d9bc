"""A connection of the Kafka client that was reset, under the event loop of the stage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop
from aiokafka import conn
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from costledger.streams.transport import connections


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conn, "AIOKafkaConnection", conn.AIOKafkaConnection)  # put back at the end
    connections.install()


async def reset_and_go_on(bootstrap: str) -> bool:
    """Whether a client whose connection is reset says so, and has another one for the next request."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        (node, *_) = client.cluster.brokers()
        assert await client.ready(node.nodeId)
        connection = await client._get_conn(node.nodeId)
        told = asyncio.get_running_loop().create_future()

        def send() -> None:
            try:
                told.set_result(connection.send(MetadataRequest([])))
            except Exception as error:  # noqa: BLE001 - looked at below
                told.set_exception(error)

        # The transport is closed in the next turn of the loop; whoever reads from it is told in the one after.
        connection._writer.transport.abort()
        asyncio.get_running_loop().call_soon(send)
        with pytest.raises(KafkaConnectionError, match="was reset"):
            await told
        assert not connection.connected()
        answer = await client.send(node.nodeId, MetadataRequest([]))
        return bool(answer.brokers)
    finally:
        await client.close()


def test_a_connection_that_was_reset_is_made_anew(kafka: Any) -> None:
    """uvloop's RuntimeError would end the sender of the producer, and with it the worker."""
    assert uvloop.run(reset_and_go_on(kafka.bootstrap_servers))


def test_other_failures_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what says that the transport is closed is a broken connection."""

    def fails(*_: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(connections.Connection.__mro__[1], "send", fails)
    with pytest.raises(RuntimeError, match="something else"):
        connections.Connection.send(object.__new__(connections.Connection), MetadataRequest([]))
