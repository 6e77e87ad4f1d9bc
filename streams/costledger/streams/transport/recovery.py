"""Recovery of the table, batch by batch.

Faust's recovery passes each changelog record through a queue with a timer, and logs what fails there
without stopping. Here the consumer applies a whole fetch at once, and a failure ends the worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from costledger.schemas.fail_points import reach
from costledger.streams.transport.records import ConsumerRecord
from costledger.streams.transport.table import ChangelogTable


class BatchRecovery(Recovery):
    """Reads the changelog of each partition whose memory is not at hand, once, however often there is a rebalance."""

    def apply(self, tp: TP, records: Sequence[ConsumerRecord]) -> None:
        """Apply one fetch of a changelog partition. Raises ValueError for a record that is not ours.

        What came after the recovery had begun is left out: a fetch may end in the midst of a record batch, and a group of changes
        counts whole or not at all. Whoever wrote it was no longer to: see `changelog`.
        """
        within = [record for record in records if record.offset < self.end(tp)]
        try:
            if within:
                self._table(tp).apply_records(tp.partition, within)
        except ValueError as error:
            raise ValueError(f"{tp.topic}[{tp.partition}] {error}") from error
        reach("stream.recovering")
        self.reached(tp, records[-1].offset + 1)

    def _table(self, tp: TP) -> ChangelogTable:
        return cast(ChangelogTable, self.tp_to_table[tp])

    def reached(self, tp: TP, position: int) -> None:
        """The changelog partition is read up to `position` (next to read)."""
        self.active_offsets[tp] = max(self.active_offsets[tp], position - 1)
        if self.in_recovery and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.set()

    def end(self, tp: TP) -> int:
        """Where the changelog partition ended when this recovery began; what came later it may not have read."""
        return int(self.active_highwaters[tp]) + 1

    def unread(self) -> set[TP]:
        """The changelog partitions still to be read."""
        if not self.in_recovery:
            return set()
        return {tp for tp, remaining in self.active_remaining().items() if remaining > 0}

    def next_to_read(self, tp: TP) -> int:
        """The position from which an unread changelog partition is to be read on."""
        return int(self.active_offsets[tp]) + 1

    def _set_recovery_started(self) -> None:
        self.signal_recovery_end.clear()
        super()._set_recovery_started()

    async def _build_offsets(
        self,
        consumer: Any,
        tps: set[TP],
        destination: Any,
        title: str,  # noqa: ARG002  (the base's signature)
    ) -> None:
        """Where reading starts, as *last read*: the end for a partition in memory, else where recovery begins or goes on."""
        runtime = cast(Any, self.app.transport).runtime
        earliest = await consumer.earliest_offsets(*tps)
        for tp in tps:
            if runtime.holds(tp.partition):
                destination[tp] = self.active_highwaters[tp]
            else:
                destination[tp] = self._begin(tp, earliest.get(tp) or 0) - 1

    def _begin(self, tp: TP, earliest: int) -> int:
        """The next offset to read, where the changelog's first is `earliest`.

        A recovery that a rebalance has cut short goes on: whoever has had the partition meanwhile has only added to the
        log. Else one that takes longer than rebalances are apart would begin for ever.
        """
        position = self._table(tp).position(tp.partition)
        if position is not None and earliest <= position <= self.active_highwaters[tp] + 1:
            return position
        self._table(tp).take(tp.partition)
        return earliest

    async def _seek_offsets(
        self,
        consumer: Any,
        tps: set[TP],
        offsets: Any,
        title: str,  # noqa: ARG002  (the base's signature)
    ) -> None:
        if tps:
            await consumer.seek_wait({tp: offsets[tp] + 1 for tp in tps})

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Nothing comes through the queue: the consumer calls `apply`."""


class BatchTableManager(TableManager):
    """Faust's table manager with `BatchRecovery`."""

    @property
    def recovery(self) -> BatchRecovery:
        """The recovery service, made at first use."""
        if self._recovery is None:
            self._recovery = BatchRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery  # type: ignore[return-value]  # the base annotates its own class
