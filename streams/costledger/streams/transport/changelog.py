"""The changelog of the partitions in memory: writing to it, noticing what others wrote late, repairing it.

Who owns a partition is its changelog's one writer. A worker that was cut off may have a write under way for as long as it is cut
off, and it may come after another has taken over: the owner's next write stands further than where the last one ended then, or
the log does. The owner's memory is right, and compaction would keep the other's. So what lies between is read, and once the
owner has passed the offset up to which that was applied, it writes the same keys again, as it has them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError
from faust.types import TP

from costledger.schemas.fail_points import reach
from costledger.streams.transport.acks import LogEnd
from costledger.streams.transport.parts import PART_PREFIX
from costledger.streams.transport.span import read_span
from costledger.streams.transport.table import RecoveredPartition, decode_change, encode_change

if TYPE_CHECKING:
    from costledger.streams.transport.runtime import Runtime

log = logging.getLogger("costledger.streams.transport")

RETRY_SECONDS = 0.1
"""Between looks at the membership."""
COMPARE_SECONDS_MAX = 2.0
"""How long the brokers are waited for; nothing is written meanwhile."""
COMPARE_SECONDS = 5.0
"""Without a write the end of a partition is compared so often. Well below `min.compaction.lag.ms` of the changelog."""
ORPHANS_KEPT_SECONDS = 3600.0
"""How long parts that nothing names are kept: the record that names them may be under way. TCP gives up after some 15 minutes."""
ORPHANS_MAX = 1_000
"""Of one partition. More than these are deleted at once, the oldest first: a worker that dies again and again adds to them."""


@dataclass(slots=True)
class _Held:
    """What is known of the log of a partition in memory."""

    end: LogEnd
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Offsets, from and up to without, that others have written and nobody has read yet."""
    overtaken: set[bytes] = field(default_factory=set)
    """The keys that others have written."""
    applied: int = -1
    """The main-topic offset up to which these were applied, at most."""
    compared_at: float = field(default_factory=time.monotonic)
    """When its end was last compared with where we took it to be."""
    held_at: float = field(default_factory=time.monotonic)
    orphans: Sequence[bytes] = ()
    """Parts that no record named when the partition was recovered."""


class Changelog:
    """What this worker knows of the changelog, and writes to it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._held: dict[int, _Held] = {}
        self._looking = asyncio.Lock()

    def hold(self, partition: int, end: int, orphans: Sequence[bytes] = ()) -> None:
        """A partition is in memory from now on; its log was read up to `end`, and has parts that nothing names."""
        self._held[partition] = _Held(LogEnd(end), orphans=orphans)

    def forget(self, partition: int) -> None:
        """A partition is in memory no longer."""
        self._held.pop(partition, None)

    async def write(self, partition: int, groups: Iterable[Any]) -> None:
        """Write groups of changes and await all acknowledgements."""
        runtime, held = self._runtime, self._held.get(partition)
        written = await runtime.app.producer.write_groups(runtime.changelog_topic, partition, groups)
        if held is None:
            return
        held.compared_at = time.monotonic()
        for base_offset, count in written:
            self._passed(partition, held, held.end.wrote(base_offset, count), base_offset)

    async def may_go_on(self, partition: int, epoch: int) -> bool:
        """Wait until the partition is certainly this worker's; False where it is not any more, or the worker ends."""
        runtime = self._runtime
        # For as long as the group does not answer: it knows this member again, or revokes its partitions.
        while runtime.epoch == epoch and runtime.holds(partition) and runtime.failure is None:
            if runtime.app.consumer.may_write():
                return True
            await asyncio.sleep(RETRY_SECONDS)
        return False

    async def repair(self, repairs: Mapping[int, list[list[Any]]]) -> None:
        """Write what a recovery has found overtaken; TimeoutError when the membership stays in doubt."""
        epoch = self._runtime.epoch
        for partition, groups in repairs.items():
            async with asyncio.timeout(self._runtime.config.drain_timeout_seconds):
                if not await self.may_go_on(partition, epoch):
                    return
            log.warning("Partition %d: writing %d overtaken keys.", partition, len(groups))
            reach("stream.before_repair")
            await self.write(partition, groups)
            reach("stream.after_repair")

    async def look(self, *, everywhere: bool = False) -> None:
        """Read what others wrote since the last look, also where nothing was written of late; or everywhere.

        Where no broker answers it is read at the next look.
        """
        if not self._runtime.writable or not self._runtime.app.consumer.may_write():
            return
        await self._compare_ends(-math.inf if everywhere else COMPARE_SECONDS)
        async with self._looking:
            for partition, held in list(self._held.items()):
                while held.spans and self._held.get(partition) is held:
                    try:
                        await self._read(partition, held)
                    except (TimeoutError, ConnectionError) as error:
                        log.warning("Partition %d: what another worker wrote cannot be read now: %r", partition, error)
                        break

    def is_overtaken(self) -> bool:
        """Whether there are keys to be written again now."""
        fences = self._runtime.fences
        return any(
            held.overtaken and fences[partition].applied >= held.applied for partition, held in self._held.items()
        )

    async def _compare_ends(self, quiet_seconds: float) -> None:
        """Of partitions whose last write is so long ago: the next one would notice, and may be long in coming."""
        runtime, now = self._runtime, time.monotonic()
        quiet = [one for one, held in self._held.items() if now - held.compared_at >= quiet_seconds]
        if not quiet:
            return
        async with runtime.flusher.lock:
            places = {TP(runtime.changelog_topic, one): one for one in quiet if one in self._held}
            try:
                async with asyncio.timeout(COMPARE_SECONDS_MAX):
                    ends = await runtime.app.consumer.highwaters(*places)
            except (TimeoutError, KafkaError) as error:
                log.info("The ends of the changelog are not known now: %r", error)
                return
            for place, partition in places.items():
                held, end = self._held.get(partition), ends.get(place)
                if held is not None and end is not None:
                    held.compared_at = now
                    self._passed(partition, held, held.end.reaches(end), end)

    async def _read(self, partition: int, held: _Held) -> None:
        first, end = held.spans[0]
        async for records, following in read_span(self._runtime, partition, first, end):
            self._note(partition, held, records)
            held.spans[0] = following, end
            if self._held.get(partition) is not held:
                return
        del held.spans[0]

    def _passed(self, partition: int, held: _Held, between: int, end: int) -> None:
        if between > 0:
            log.warning("Partition %d: %d changes of another worker stand behind its owner's.", partition, between)
            held.spans.append((end - between, end))
        elif between < 0:
            log.error("Partition %d: the changelog has lost its last %d changes.", partition, -between)

    def due(self, partition: int, applied: int) -> Sequence[bytes]:
        """The keys to be written again now, where everything up to `applied` is in the owner's state."""
        held = self._held.get(partition)
        # Earlier ones would lose against what stands there already: the higher offset wins, at a tie the later record.
        if held is None or not held.overtaken or applied < held.applied:
            return ()
        keys, held.overtaken = sorted(held.overtaken), set()
        log.warning("Partition %d: writing %d keys again that another worker wrote.", partition, len(keys))
        return keys

    def useless_parts(self, partition: int) -> Sequence[bytes]:
        """Parts to be deleted with the next write, each told once."""
        held = self._held.get(partition)
        if held is None:
            return ()
        kept = 0 if time.monotonic() - held.held_at >= ORPHANS_KEPT_SECONDS else ORPHANS_MAX
        end = max(0, len(held.orphans) - kept)
        useless, held.orphans = held.orphans[:end], held.orphans[end:]
        return useless

    def _note(self, partition: int, held: _Held, records: Sequence[Any]) -> None:
        parts = self._runtime.parts.get(partition, {})
        named = {part: key for key, value in parts.items() for part in value.part_keys()}
        for record in records:
            if not record.key.startswith(PART_PREFIX):
                applied, _ = decode_change(record)
                held.applied = max(held.applied, -1 if applied is None else applied)
                held.overtaken.add(record.key)
            elif record.key in named:
                # It took away a part of a value that is the owner's.
                held.overtaken.add(named[record.key])


def repair_groups(recovered: RecoveredPartition) -> list[list[Any]]:
    """The overtaken keys as changelog groups of one row."""
    return [[(key, *encode_change(offset, value))] for key, offset, value in recovered.repairs()]
