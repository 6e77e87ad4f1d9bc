"""Streams of OpenAI's client: listened to in place, so that the caller keeps the very object that the client made.

The client's `Stream` and `AsyncStream` read from an iterator of their own; that iterator is put behind one that
takes note of each chunk on its way. Type, context manager, `close` and `response` stay what they are.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

from costledger.producers.adapters.openai_usage import StreamSummary

logger = logging.getLogger(__name__)

#: Called once, when a stream has ended, was closed or failed.
Ended = Callable[[StreamSummary], None]


def listen(stream: Any, ended: Ended) -> bool:
    """Call `ended` once when the stream is over, however it ends; False where this is no stream of the client's."""
    iterator: Any = getattr(stream, "_iterator", None)
    listener = _Listener(ended)
    if hasattr(iterator, "__anext__") and hasattr(iterator, "aclose"):
        stream._iterator = _alisten(iterator, listener)
        stream.close = _aclosing(stream.close, listener)
    elif hasattr(iterator, "__next__"):
        stream._iterator = _listen(iterator, listener)
        stream.close = _closing(stream.close, listener)
    else:
        return False
    # For the stream that nobody reads, or that is left in the middle and forgotten.
    weakref.finalize(stream, listener.end)
    return True


class _Listener:
    """The summary of one stream, and that its end is told once; never raises into the stream."""

    def __init__(self, ended: Ended) -> None:
        self._ended: Ended | None = ended
        self._summary = StreamSummary()

    def add(self, chunk: object) -> None:
        try:
            self._summary.add(chunk)
        except Exception:
            logger.exception("a chunk of a stream could not be read; its stream goes on")

    def end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            try:
                ended(self._summary)
            except Exception:
                logger.exception("the cost of a stream could not be tracked")


def _listen(iterator: Iterator[Any], listener: _Listener) -> Iterator[Any]:
    try:
        for chunk in iterator:
            listener.add(chunk)
            yield chunk
    finally:
        listener.end()


async def _alisten(iterator: AsyncGenerator[Any, None], listener: _Listener) -> AsyncIterator[Any]:
    try:
        async for chunk in iterator:
            listener.add(chunk)
            yield chunk
    finally:
        listener.end()
        # A generator left in the middle is closed by whoever holds it: by us, as by the stream before.
        await iterator.aclose()


def _closing(close: Callable[[], Any], listener: _Listener) -> Callable[[], Any]:
    def closing() -> Any:
        listener.end()
        return close()

    return closing


def _aclosing(close: Callable[[], Any], listener: _Listener) -> Callable[[], Any]:
    async def closing() -> Any:
        listener.end()
        return await close()

    return closing
