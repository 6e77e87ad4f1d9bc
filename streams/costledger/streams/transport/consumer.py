"""The consumer: one message per partition and fetch, in place of one per record.

It holds source partitions back until the runtime has opened the assignment (state restored, positions
set), waits for a fetch to be processed before the next one, and leaves acknowledgements and commits to
the runtime. What a fetch returns after the assignment changed or was opened since the fetch began is not
used: the positions are set back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, IllegalStateError
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP, ConsumerMessage

from costledger.streams.transport.batches import UNREADABLE
from costledger.streams.transport.conductor import BatchConductor
from costledger.streams.transport.consumer_thread import BatchConsumerThread
from costledger.streams.transport.producer import BatchProducer
from costledger.streams.transport.records import ConsumerRecord
from costledger.streams.transport.recovery import BatchRecovery, BatchTableManager

if TYPE_CHECKING:
    from costledger.streams.transport.runtime import Runtime

FETCH_TIMEOUT_SECONDS = 0.2
"""How long one fetch waits for records: bounds how late a newly opened partition is noticed."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the agent receives: the records of one partition and fetch. `flow`: see `BatchConsumer.batch_done`."""

    tp: TP
    records: list[ConsumerRecord]
    epoch: int
    flow: int


class BatchConsumer(Consumer):
    """Faust's consumer, delivering batches."""

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.runtime = cast(BatchTransport, self.transport).runtime
        self._under_way = 0
        self._flow = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # --- reading

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and deliver until the fetcher stops. Faust calls it once, as the fetcher's task."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if self.flow_active:
                    await self._drain_once()
                else:
                    await self.wait_first(self.can_resume_flow.wait())
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise
        except Exception as exc:  # noqa: BLE001  (Faust would log it and read no more)
            self.runtime.fail("reading stopped", exc)

    async def _drain_once(self) -> None:
        recovery = cast(BatchTableManager, self.app.tables).recovery
        epoch = self.runtime.epoch
        wanted = recovery.unread() | self.runtime.open_partitions()
        fetched = await self._getmany(wanted, FETCH_TIMEOUT_SECONDS)
        stale: list[TP] = []
        self._idle.clear()
        for key, records in fetched.items():
            tp = TP(key.topic, key.partition)
            if epoch != self.runtime.epoch:
                stale.append(tp)
            elif tp.topic == self.runtime.changelog_topic:
                if any(record.value is UNREADABLE for record in records):
                    raise CorruptRecordException(f"{tp.topic}[{tp.partition}] has a record batch that cannot be read")
                recovery.apply(tp, records)
                self.runtime.touch()
            else:
                self._under_way += 1
                await self.callback(self._message(tp, records, epoch))
        if stale:
            await self._reposition(stale, recovery)
        if not fetched:
            await self._skip_empty_tails(recovery)
        if self._under_way:
            await self._idle.wait()

    async def _reposition(self, stale: list[TP], recovery: BatchRecovery) -> None:
        """Set positions back after a fetch whose records were not used, since the assignment changed
        meanwhile. It may have read on from positions that were set by then."""
        epoch = self.runtime.epoch
        starts = {tp: self.runtime.progress.position(tp) for tp in stale if tp in self.runtime.progress}
        starts |= {tp: recovery.next_to_read(tp) for tp in stale if tp in recovery.unread()}
        try:
            if starts:
                await self.seek_wait(starts)
        except (IllegalStateError, TimeoutError):
            if epoch == self.runtime.epoch:
                raise
            self.log.info("Partitions went away while their positions were set back.")

    def _message(self, tp: TP, records: list[ConsumerRecord], epoch: int) -> ConsumerMessage:
        last = records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            None,
            None,
            cast(Any, Fetched(tp, records, epoch, self._flow)),
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _skip_empty_tails(self, recovery: BatchRecovery) -> None:
        """A log may end in offsets that hold no record (compaction, transactions): after a fetch that
        brought nothing, with nothing under way, the client's position tells that they are passed."""
        epoch = self.runtime.epoch
        for tp in recovery.unread() | self.runtime.behind():
            try:
                position = await self._thread.position(tp)
            except IllegalStateError:
                return  # it is no longer assigned
            if position is None or epoch != self.runtime.epoch or not self.flow_active:
                return
            if tp.topic == self.runtime.changelog_topic:
                recovery.reached(tp, position)
            else:
                self.runtime.passed(tp, position)

    def batch_done(self, fetched: Fetched) -> None:
        """The agent has dealt with a batch. One from before the flow was stopped is none of those that are waited for."""
        if fetched.flow != self._flow:
            return
        self._under_way = max(0, self._under_way - 1)
        if not self._under_way:
            self._idle.set()

    def stop_flow(self) -> None:
        """Stop reading. What lies in the agent's queue is dropped and read again after the next opening."""
        super().stop_flow()
        self._under_way = 0
        self._flow += 1
        self._idle.set()

    # --- assignment

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Write and commit what was processed before another worker may take over."""
        self.stop_flow()
        await self.runtime.release()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Tell the runtime before Faust begins recovery."""
        self.runtime.assigned(assigned, generation_id)
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Faust calls this when recovery is complete, just before the flow resumes."""
        # Faust may give up waiting; the opening must be all or nothing, so it goes on to its end.
        await asyncio.shield(asyncio.ensure_future(self.runtime.open()))

    async def committed(self, tps: set[TP]) -> Mapping[TP, int | None]:
        """The group's committed offsets."""
        return cast(
            Mapping[TP, int | None],
            await self._thread.call_thread(self._thread.fetch_committed, tps),
        )

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; False when it did not succeed and has to be tried again."""
        return await self._thread.commit(offsets)

    def may_write(self) -> bool:
        """True while the group certainly knows this member, so that no other owns its partitions."""
        return self._thread.membership_certain()

    def known_highwater(self, tp: TP) -> int | None:
        """The end of a partition as of the last fetch; None when there was none, or it is not assigned."""
        return self._thread.known_highwater(tp)

    def partition_count(self, topic: str) -> int:
        """How many partitions a topic has; 0 when the client knows no such topic."""
        return self._thread.partition_count(topic)

    async def rejoin_when_known(self, topics: Collection[str], partitions: int) -> None:
        """Ask the brokers for topics; once all have their partitions, join the group again."""
        await self._thread.call_thread(self._thread.rejoin_when_known, topics, partitions)

    # --- what the runtime does in Faust's place

    async def commit(
        self,
        topics: Any = None,  # noqa: ARG002  (the base's signature)
        start_new_transaction: bool = True,  # noqa: ARG002
    ) -> bool:
        """Does nothing: the flusher commits, right after each flush."""
        return False

    async def wait_empty(self) -> None:
        """Write and commit what was processed."""
        await self.runtime.release()

    def close(self) -> None:
        """Does nothing. Faust calls this at a rebalance during a stop and would cut the connection that
        the last commit needs; the connection is closed when the consumer's thread stops."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Does nothing: the watchdog looks at lag and progress."""

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Does nothing, as `verify_event_path`."""


class BatchTransport(Transport):
    """The transport that wires the parts together."""

    Consumer = BatchConsumer
    Producer = BatchProducer
    Conductor = BatchConductor

    def __init__(self, url: Any, app: Any, runtime: Runtime) -> None:
        super().__init__(url, app)
        self.runtime = runtime
