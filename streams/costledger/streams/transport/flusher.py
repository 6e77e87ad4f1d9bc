"""The flusher: outputs, then state, then offsets; views as soon as the state is acknowledged.

One flush at a time. What is processed while a flush awaits its acknowledgements belongs to the next one:
the positions are noted in the same step in which the handler hands over its changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from faust.types import TP

from costledger.schemas.fail_points import reach
from costledger.streams.transport.parts import cut, too_large
from costledger.streams.transport.producer import BATCH_OVERHEAD_BYTES, Row, row_bytes
from costledger.streams.transport.records import Change, Flush
from costledger.streams.transport.table import encode_change

if TYPE_CHECKING:
    from costledger.streams.transport.runtime import Runtime

log = logging.getLogger("costledger.streams.transport")


class Flusher:
    """Writes and commits for all partitions of the current assignment."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.lock = asyncio.Lock()
        """Held by whoever writes, and by whoever must not be written meanwhile."""
        self._views_due: set[int] = set()
        self._views_wanted = asyncio.Event()
        self._views_lock = asyncio.Lock()

    async def flush(self) -> None:
        """Flush every partition, then commit. A failed write ends the worker; a failed commit is kept
        for the next flush. Nothing happens while the assignment is not open or the membership in doubt."""
        runtime = self._runtime
        async with self.lock:
            if not runtime.writable:
                return
            if not runtime.app.consumer.may_write():
                log.warning(
                    "The group has not answered for a session's length, and may not know this member: nothing is written."
                )
                return
            tasks = [self._flush_partition(partition) for partition in sorted(runtime.fences)]
            failures = [
                result
                for result in await asyncio.gather(*tasks, return_exceptions=True)
                if isinstance(result, BaseException)
            ]
            if failures:
                runtime.fail("a flush failed", failures[0])
                return
            await self._commit()

    async def _flush_partition(self, partition: int) -> None:
        runtime = self._runtime
        if not runtime.writable or not runtime.holds(partition):
            return  # released since this flush began
        epoch, snapshot = runtime.epoch, runtime.progress.snapshot(partition)
        # All that was read is in the handler's state, whether it changed anything or not.
        runtime.fences[partition].pass_by(snapshot[TP(runtime.config.main_topic, partition)] - 1)
        if overtaken := runtime.changelog.due(partition, runtime.fences[partition].applied):
            runtime.handler.renew(partition, overtaken)
        flush = runtime.handler.flush(partition)
        if flush is not None:
            if not await self._write(partition, flush, epoch):
                # It is another's, or about to be. Nothing of this is committed, and the memory is given up with it.
                log.warning("Partition %d went away during a flush.", partition)
                return
            if runtime.holds(partition):
                runtime.handler.acknowledged(partition)
                self._views_due.add(partition)
                self._views_wanted.set()
        runtime.progress.flushed(snapshot, epoch)

    async def _write(self, partition: int, flush: Flush, epoch: int) -> bool:
        """Write all of a flush; False where the partition went away before its last part was begun."""
        runtime = self._runtime
        runtime.fences[partition].pass_by(flush.source_offset)
        stages = self._laid_out(partition, flush.changes)
        if flush.outputs:
            reach("stream.before_outputs")
            await runtime.app.producer.send_outputs(flush.outputs)
            reach("stream.after_outputs")
        reach("stream.before_state")
        # One after another: a record must not be there before its parts, nor lose them before it is replaced.
        for groups in filter(None, stages):
            # What was awaited may have taken longer than this member is known to the group.
            if not await runtime.changelog.may_go_on(partition, epoch):
                return False
            await runtime.changelog.write(partition, groups)
        reach("stream.after_state")
        return True

    def _laid_out(self, partition: int, changes: Iterable[Sequence[Change]]) -> tuple[list[list[Row]], ...]:
        """The parts of values that do not fit into a batch, the groups, and deletions of parts now useless."""
        fences, held = self._runtime.fences[partition], self._runtime.parts[partition]
        limit = self._runtime.config.batch_bytes_max
        room = limit - BATCH_OVERHEAD_BYTES
        parts: list[list[Row]] = []
        groups: list[list[Row]] = []
        useless: list[list[Row]] = [[(part, None, [])] for part in self._runtime.changelog.useless_parts(partition)]
        for group in filter(None, changes):
            rows: list[Row] = [
                (change.key, *encode_change(fences.stored_offset(change.key), change.value)) for change in group
            ]
            useless += [[(part, None, [])] for row in rows if row[0] in held for part in held.pop(row[0]).part_keys()]
            sizes = [row_bytes(row) for row in rows]
            for index in too_large(sizes, [len(change.value or b"") for change in group], room):
                key = group[index].key
                held[key], pieces = cut(group[index].value or b"", limit // 2)
                parts += [[(name, piece, [])] for name, piece in pieces]
                rows[index] = (key, *encode_change(fences.stored_offset(key), held[key]))
            groups.append(rows)
        return parts, groups, useless

    async def _commit(self) -> None:
        runtime = self._runtime
        epoch, offsets = runtime.epoch, runtime.progress.committable()
        if not offsets:
            return
        reach("stream.before_commit")
        if await runtime.app.consumer.commit_offsets(offsets):
            reach("stream.after_commit")
            runtime.progress.commit_succeeded(offsets, epoch)
            runtime.touch()

    async def update_views(self) -> None:
        """Tell the handler of the partitions flushed since the last call."""
        async with self._views_lock:
            self._views_wanted.clear()
            while self._views_due:
                partition = self._views_due.pop()
                if self._runtime.holds(partition):
                    await self._runtime.handler.flushed(partition)

    async def tick(self) -> None:
        """Call the handler's timer, never at the same time as a view update."""
        async with self._views_lock:
            await self._runtime.handler.tick()

    async def views_wanted(self) -> None:
        """Wait until a view update is due."""
        await self._views_wanted.wait()
