"""The conductor: puts a fetched batch into the agent's queue as it is, without decoding."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from faust.events import Event
from faust.transport.conductor import Conductor
from faust.types import TP


class BatchConductor(Conductor):
    """Delivers one event per fetch; the consumer bounds how many are under way."""

    def _build_handler(self, tp: TP, channels: Any) -> Callable[[Any], Awaitable[None]]:  # noqa: ARG002  (the base's signature)
        app = self.app

        async def deliver(message: Any) -> None:
            for channel in channels:
                channel.queue.put_nowait(Event(app, message.key, message.value, {}, message))

        return deliver
