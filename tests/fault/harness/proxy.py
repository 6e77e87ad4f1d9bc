"""A TCP proxy between one client and one service, which can cut, freeze, slow down and lose replies.

All proxies share one event loop in a thread of its own; every method may be called from any other thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

LOOPBACK: Final = "127.0.0.1"
CALL_SECONDS_MAX: Final = 10.0
CHUNK_BYTES: Final = 64 * 1024
#: What is remembered of the last piece: words may come in two.
TAIL_BYTES: Final = 64
#: Closing with this option sends RST: the other side sees a reset, not an orderly end.
RESET: Final = struct.pack("ii", 1, 0)


class Loop:
    """The thread in which all links work."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxies", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in the loop and wait for the result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS_MAX)

    def close(self) -> None:
        """End the thread, when all links are closed."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS_MAX)
        self._loop.close()


@dataclass(slots=True, eq=False)
class _Pair:
    """One client's connection and the one made for it."""

    client: asyncio.StreamWriter
    service: asyncio.StreamWriter | None = None
    loses_replies: bool = False
    #: Whether the client has sent the words that tell the connections apart on which markers count.
    chosen: bool = False
    #: Set while bytes may pass; cleared when this connection alone is half-open.
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def reset(self) -> None:
        for writer in (self.client, self.service):
            if writer is None or writer.is_closing():
                continue
            taken = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        for task in self.tasks:
            task.cancel()


class Link:
    """A port that leads to a service. It passes everything on until it is told to do harm."""

    def __init__(self, loop: Loop, name: str, target_port: int) -> None:
        self.name = name
        self.target_port = target_port
        self._loop = loop
        self._pairs: set[_Pair] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._delay_seconds = 0.0
        self._bytes_per_second: float | None = None
        self._marker: bytes | None = None
        self._markers_left = 0
        self._freezes_at_marker = False
        self._holds_marker = False
        self._words: bytes | None = None
        self._cut_replies = threading.Event()
        self._passed_late = threading.Event()
        self._server: asyncio.Server = loop.call(asyncio.start_server(self._serve, LOOPBACK, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def heal(self) -> None:
        """Pass everything on again. What was held back while frozen is delivered late, as a network does."""
        self._loop.call(self._heal())

    def cut(self) -> None:
        """Reset all connections, and every new one, until healed."""
        self._loop.call(self._cut())

    def reset_connections(self) -> None:
        """Reset the connections that are there; new ones work."""
        self._loop.call(self._reset())

    def freeze(self) -> None:
        """Half-open: connections stay, new ones are taken, and not a byte passes in either direction."""
        self._loop.call(self._freeze())

    def freeze_connections(self) -> None:
        """Half-open for good: not a byte passes over the connections that are there, until healed; new ones work."""
        self._loop.call(self._freeze_connections())

    def slow(self, delay_seconds: float, bytes_per_second: float | None = None) -> None:
        """Hold every piece back for so long, and limit the rate."""
        self._delay_seconds, self._bytes_per_second = delay_seconds, bytes_per_second

    def lose_reply_to(self, marker: bytes, times: int = 1) -> None:
        """When the client sends something that has `marker` in it: pass it on, lose all replies, then reset."""
        self._cut_replies.clear()
        self._marker, self._markers_left, self._freezes_at_marker, self._holds_marker = marker, times, False, False

    def only_connections_with(self, words: bytes) -> None:
        """Until healed markers count on connections alone that have sent these words since: a client may have several."""
        self._words = words
        for pair in list(self._pairs):
            pair.chosen = False

    def freeze_after(self, marker: bytes) -> None:
        """When the client sends something that has `marker` in it: pass it on, and leave the connection half-open."""
        self._cut_replies.clear()
        self._marker, self._markers_left, self._freezes_at_marker, self._holds_marker = marker, 1, True, False

    def hold(self, marker: bytes) -> None:
        """When the client sends something that has `marker` in it: keep it, the connection half-open, until healed."""
        self._cut_replies.clear()
        self._passed_late.clear()
        self._marker, self._markers_left, self._freezes_at_marker, self._holds_marker = marker, 1, True, True

    def held(self) -> bool:
        """Whether what was to be held was sent, and is on its way."""
        return self._cut_replies.is_set()

    def passed_late(self) -> bool:
        """Whether what was held has been passed on, after healing."""
        return self._passed_late.is_set()

    def reply_lost(self) -> bool:
        """Whether replies to the last marker have been lost as often as was asked for."""
        return self._cut_replies.is_set()

    def close(self) -> None:
        """Reset everything and take no more."""
        self._loop.call(self._close())

    async def _heal(self) -> None:
        self._refuses = False
        self._delay_seconds, self._bytes_per_second = 0.0, None
        self._marker, self._markers_left, self._words = None, 0, None
        self._flows.set()
        for pair in self._pairs:
            pair.flows.set()

    async def _cut(self) -> None:
        self._refuses = True
        await self._reset()

    async def _reset(self) -> None:
        for pair in list(self._pairs):
            pair.reset()

    async def _freeze(self) -> None:
        self._flows.clear()

    async def _freeze_connections(self) -> None:
        for pair in self._pairs:
            pair.flows.clear()

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for pair in self._pairs for task in pair.tasks]
        await self._cut()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        pair.flows.set()
        self._pairs.add(pair)
        # In a task of its own: this one belongs to the server and must not be cancelled.
        joined = asyncio.create_task(self._join(pair, reader))
        pair.tasks.append(joined)
        await asyncio.wait([joined])
        pair.reset()
        self._pairs.discard(pair)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            joined.result()  # either side has gone, or harm was done; anything else is a fault of ours

    async def _join(self, pair: _Pair, from_client: asyncio.StreamReader) -> None:
        if self._refuses:
            return
        await self._flows.wait()
        from_service, pair.service = await asyncio.open_connection(LOOPBACK, self.target_port)
        replies = asyncio.create_task(self._pump_replies(pair, from_service))
        pair.tasks.append(replies)
        await self._pump_requests(pair, from_client, pair.service)
        await replies

    async def _pump_requests(self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        tail = b""
        while data := await self._read(pair, source):
            await self._hold_back(pair, len(data))
            late = False
            if self._words is None or self._words in tail + data:
                pair.chosen = True
            if pair.chosen and self._marker is not None and self._markers_left and _ends_in(tail, data, self._marker):
                self._markers_left -= 1
                self._do_harm(pair)
                late = self._holds_marker
            if late:
                await self._await_flow(pair)
            tail = (tail + data)[-TAIL_BYTES:]
            sink.write(data)
            if late:
                self._passed_late.set()
            await sink.drain()
        sink.write_eof()

    def _do_harm(self, pair: _Pair) -> None:
        """To the replies of what is about to be passed on."""
        if self._freezes_at_marker:
            pair.flows.clear()
            self._cut_replies.set()
        else:
            pair.loses_replies = True

    async def _pump_replies(self, pair: _Pair, source: asyncio.StreamReader) -> None:
        try:
            while data := await self._read(pair, source):
                await self._hold_back(pair, len(data))
                if pair.loses_replies:
                    # The service has done what was asked; the client will not hear of it.
                    if not self._markers_left:
                        self._cut_replies.set()
                    break
                pair.client.write(data)
                await pair.client.drain()
            else:
                pair.client.close()
        except OSError:
            pass  # the pair ends
        pair.reset()

    async def _read(self, pair: _Pair, source: asyncio.StreamReader) -> bytes:
        """The next piece; over a half-open connection nobody hears that the other side has gone."""
        try:
            data = await source.read(CHUNK_BYTES)
        except OSError:
            await self._await_flow(pair)
            raise
        if not data:
            await self._await_flow(pair)
        return data

    async def _hold_back(self, pair: _Pair, size: int) -> None:
        if self._delay_seconds or self._bytes_per_second:
            await asyncio.sleep(self._delay_seconds + (size / self._bytes_per_second if self._bytes_per_second else 0))
        await self._await_flow(pair)

    async def _await_flow(self, pair: _Pair) -> None:
        await self._flows.wait()
        await pair.flows.wait()


def _ends_in(tail: bytes, data: bytes, marker: bytes) -> bool:
    """Whether the marker ends within the data; it may begin in the piece before."""
    return marker in (tail + data)[max(0, len(tail) - len(marker) + 1) :]
