"""The processor: what was fetched goes to the handler, as long as the assignment lasts."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from costledger.schemas.errors import Unavailable
from costledger.schemas.fail_points import reach
from costledger.streams.transport.records import Batch

if TYPE_CHECKING:
    from costledger.streams.transport.consumer import Fetched
    from costledger.streams.transport.runtime import Runtime

log = logging.getLogger("costledger.streams.transport")

UNAVAILABLE_RETRY_SECONDS = 1.0
"""Between attempts to process what the handler could not, since something it needs was away."""

ROOM_RETRY_SECONDS = 0.25
"""Between flushes that wrote nothing, since the membership is in doubt."""


class Processor:
    """Applies fetches, one after another, for all partitions of the current assignment."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def process(self, fetched: Fetched) -> None:
        """Apply one fetch, unless the assignment it came from is over.

        What the handler needs and cannot have now is waited for, and so are flushes where too much has changed: nothing
        is read meanwhile, and the group goes on.
        """
        runtime = self._runtime
        while not self._processed(fetched):
            # To wait for another is no stall.
            runtime.touch()
            await asyncio.sleep(UNAVAILABLE_RETRY_SECONDS)
        try:
            await self._make_room(fetched.epoch)
        except Exception as exc:  # noqa: BLE001  (Faust would begin the agent anew, and nothing would be read)
            runtime.fail("flushing failed", exc)

    async def _make_room(self, epoch: int) -> None:
        """While too much has changed: flush. Where nothing may be written now, wait, as long as the assignment lasts."""
        runtime, keys_max = self._runtime, self._runtime.config.flush_keys_max
        while runtime.handler.pending() > keys_max and runtime.epoch == epoch and runtime.reason is None:
            await runtime.flusher.flush()
            if runtime.handler.pending() > keys_max:
                await asyncio.sleep(ROOM_RETRY_SECONDS)

    def _processed(self, fetched: Fetched) -> bool:
        """Apply one fetch; False where it has to be tried again."""
        runtime, tp = self._runtime, fetched.tp
        if fetched.epoch != runtime.epoch or runtime.reason is not None:
            return True
        records = runtime.progress.fresh(tp, fetched.records)
        if not records:
            return True
        try:
            reach("stream.before_process")
            runtime.handler.process(Batch(tp.topic, tp.partition, records))
            reach("stream.after_process")
        except Unavailable as away:
            log.error("%s[%s] waits: %s", tp.topic, tp.partition, away)  # noqa: TRY400 - passes
            runtime.waits_for = str(away)
            return False
        except Exception as exc:  # noqa: BLE001  (any failure of the domain ends the worker)
            runtime.fail(f"the handler failed in process, {tp.topic}[{tp.partition}]", exc)
            return True
        runtime.waits_for = None
        runtime.passed(tp, records[-1].offset + 1)
        return True
