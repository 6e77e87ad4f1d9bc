"""Connections of the Kafka client under uvloop.

Where a connection was reset a moment ago, asyncio's own loop drops what is written and lets the reader tell; uvloop
raises a RuntimeError, which the client does not know: its sender or fetcher would end for good, and with it the
worker. Here it is what it is, a connection that broke, and the client connects again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError

#: What uvloop says of a transport that is closed.
CLOSED: Final = "the handler is closed"


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """The client's own, with a write to a closed transport as an error that the client retries."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Raises KafkaConnectionError where the connection was reset; else what the client's own returns."""
        with self._reset_is_broken():
            return super().send(request, expect_response)

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Any:
        with self._reset_is_broken():
            return super()._send_sasl_token(payload, expect_response)

    @contextmanager
    def _reset_is_broken(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if CLOSED not in str(error):
                raise
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} was reset: {error}") from error


def install() -> None:
    """Have every client of this process use it."""
    conn.AIOKafkaConnection = Connection
