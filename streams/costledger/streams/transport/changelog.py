"""The changelog of the partitions in memory: writing to it, noticing what others wrote, repairing it.

Who owns a partition is its changelog's one writer. A worker that was cut off may have a write under way for as long as it is cut
off, and it may come after another has taken over. The owner's memory is right then, and compaction would keep the other's: the
partition is recovered once more, which finds what was overtaken and writes it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from costledger.streams.transport.acks import LogEnd
from costledger.streams.transport.table import RecoveredPartition, encode_change

if TYPE_CHECKING:
    from costledger.streams.transport.runtime import Runtime

log = logging.getLogger("costledger.streams.transport")

RETRY_SECONDS = 0.1
"""Between looks at the membership; the drain timeout bounds their number."""


class Changelog:
    """What this worker knows of the changelog, and writes to it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._ends: dict[int, LogEnd] = {}
        """By partition held in memory."""
        self._unrepaired: set[int] = set()

    @property
    def unrepaired(self) -> set[int]:
        """The partitions in memory whose log may end with what another worker wrote, and has to be repaired."""
        return set(self._unrepaired)

    def hold(self, partition: int, end: int, has_repairs: bool) -> None:
        """A partition is in memory from now on; its log was read up to `end`."""
        self._ends[partition] = LogEnd(end)
        if has_repairs:
            self._unrepaired.add(partition)

    def forget(self, partition: int) -> None:
        """A partition is in memory no longer."""
        self._ends.pop(partition, None)
        self._unrepaired.discard(partition)

    async def write(self, partition: int, groups: Iterable[Any]) -> bool:
        """Write groups of changes and await all acknowledgements; False where another worker wrote before them."""
        runtime = self._runtime
        end = self._ends.get(partition)
        written = await runtime.app.producer.write_groups(runtime.changelog_topic, partition, groups)
        foreign = 0 if end is None else sum(end.wrote(*batch) for batch in written)
        if foreign and self._ends.get(partition) is end:
            log.warning("Partition %d: another worker wrote %d records late: it is read anew.", partition, foreign)
            self._unrepaired.add(partition)
        return not foreign

    async def repair(self, repairs: Mapping[int, list[list[Any]]]) -> None:
        """Write repairs while the partitions are certainly this worker's; TimeoutError when that stays in doubt."""
        runtime = self._runtime
        epoch = runtime.epoch
        for partition, groups in repairs.items():
            async with asyncio.timeout(runtime.config.drain_timeout_seconds):
                while epoch == runtime.epoch and not runtime.app.consumer.may_write():  # noqa: ASYNC110  (time alone tells)
                    await asyncio.sleep(RETRY_SECONDS)
            if epoch != runtime.epoch:
                return
            log.warning("Partition %d: writing %d overtaken or superfluous keys.", partition, len(groups))
            if await self.write(partition, groups) and epoch == runtime.epoch:
                self._unrepaired.discard(partition)


def repair_groups(recovered: RecoveredPartition) -> list[list[Any]]:
    """The overtaken keys, and parts that nothing needs, as changelog groups of one row."""
    overtaken = [[(key, *encode_change(offset, value))] for key, offset, value in recovered.repairs()]
    return overtaken + [[(key, None, [])] for key in recovered.orphans()]
