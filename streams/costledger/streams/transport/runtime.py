"""The runtime: which partitions are in memory, which may be read, which may be written.

A partition's way: assigned -> (changelog read, unless still in memory) -> opened: restored, positions
set, read and written -> released: last flush and commit -> kept in memory for the next assignment, or
forgotten. Everything runs on the event-loop thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from faust.types import TP

from costledger.schemas.fail_points import reach
from costledger.streams.transport.acks import Fences, Progress
from costledger.streams.transport.changelog import RETRY_SECONDS, Changelog, repair_groups
from costledger.streams.transport.config import StageConfig
from costledger.streams.transport.flusher import Flusher
from costledger.streams.transport.parts import Parts
from costledger.streams.transport.processor import Processor
from costledger.streams.transport.records import Handler
from costledger.streams.transport.table import changelog_topic

log = logging.getLogger("costledger.streams.transport")


class Runtime:
    """The state shared by consumer, flusher and stage. See the module's docstring."""

    def __init__(self, config: StageConfig, handler: Handler) -> None:
        self.config = config
        self.handler = handler
        self.changelog_topic = changelog_topic(config.app_id, config.table_name)
        self.changelog = Changelog(self)
        self.progress = Progress()
        self.fences: dict[int, Fences] = {}
        """By partition held in memory: `holds(p)` is `p in fences`."""
        self.parts: dict[int, dict[bytes, Parts]] = {}
        """By partition held in memory: the keys whose values the changelog has in parts."""
        self.partitions: frozenset[int] = frozenset()
        self.writable = False
        self.reason: str | None = "starting"
        """Why the flow does not run; None while it does."""
        self.waits_for: str | None = None
        """What the handler lacks at the moment to process what was read; None while it lacks nothing."""
        self.failure: str | None = None
        self.failed = asyncio.Event()
        self.progress_at = time.monotonic()
        self.flusher = Flusher(self)
        self.processor = Processor(self)
        self.app: Any = None
        self._awaited: dict[TP, int] = {}
        self._ends: dict[TP, int | None] = {}
        """By source partition its end when the assignment was opened."""
        self._generation: int | None = None
        self._expected: dict[TP, int | None] = {}
        self._release_lock = asyncio.Lock()
        self._unrepaired: set[int] = set()
        """The partitions whose state was restored, and whose repairs the changelog may not have yet."""
        self._complete = False
        """Whether the assignment has all topics of its partitions."""
        self._settled = True
        """Whether the last release ended with everything committed."""

    # --- state

    @property
    def epoch(self) -> int:
        """Changes with every assignment, opening and release."""
        return self.progress.epoch

    def touch(self) -> None:
        """Note that something moved on."""
        self.progress_at = time.monotonic()

    def fail(self, what: str, exc: BaseException | None = None) -> None:
        """Stop the worker: nothing is processed, written or committed from here on."""
        log.error("%s: %r", what, exc, exc_info=exc) if exc else log.error("%s", what)
        self.writable = False
        if self.failure is None:
            self.failure = self.reason = f"{what}: {exc!r}" if exc else what
            self.failed.set()

    def holds(self, partition: int) -> bool:
        """True when the handler's memory of the partition is right."""
        return partition in self.fences

    def owns(self, partition: int) -> bool:
        """True while certainly no other worker owns the partition."""
        return self.writable and self.holds(partition) and bool(self.app.consumer.may_write())

    def is_open(self, tp: TP) -> bool:
        """True when records of this source partition may be processed now."""
        if self.reason is not None or tp not in self.progress:
            return False
        return tp.topic != self.config.main_topic or not any(
            awaited.partition == tp.partition for awaited in self._awaited
        )

    def open_partitions(self) -> set[TP]:
        """The source partitions to read from."""
        return {tp for tp in self.progress.partitions() if self.is_open(tp)}

    def highwater(self, tp: TP) -> int | None:
        """The last known end of a source partition: the client's of its last fetch, or that of the opening; else None."""
        highwater: int | None = self.app.consumer.known_highwater(tp)
        return self._ends.get(tp) if highwater is None else highwater

    def behind(self) -> set[TP]:
        """The open partitions whose log goes on after the last record processed."""
        return {tp for tp in self.open_partitions() if (self.highwater(tp) or 0) > self.progress.position(tp)}

    def lag(self) -> int:
        """The records of the open partitions that wait to be read, as far as the client knows."""
        return sum(max(0, (self.highwater(tp) or 0) - self.progress.position(tp)) for tp in self.open_partitions())

    # --- reading

    def passed(self, tp: TP, position: int) -> None:
        """All records of `tp` below `position` are processed."""
        if position > self.progress.position(tp):
            self.progress.processed(tp, position - 1)
        if tp in self._awaited and self.progress.position(tp) >= self._awaited[tp]:
            del self._awaited[tp]

    # --- assignment

    def assigned(self, assigned: set[TP], generation: int) -> None:
        """A new assignment. Memory is kept only when no other generation lay in between: in that one
        another worker might have had the partition."""
        if generation != (self._generation or 0) + 1:
            self._forget(set(self.fences))
        # A rebalance in the midst of an opening: what it had still to write would be missing.
        self._forget(self._unrepaired & set(self.fences))
        self._unrepaired.clear()
        self._generation = generation
        self.partitions = frozenset(tp.partition for tp in assigned if tp.topic == self.config.main_topic)
        self._forget(set(self.fences) - self.partitions)
        self.app.tables[self.config.table_name].keep_only(self.partitions)
        self.progress.clear()
        self._ends = {}
        self.writable = False
        self.waits_for = None
        self.touch()
        if self.failure is None:
            self.reason = "recovering" if self.partitions else None
            self._complete = True
            self._check_topics(assigned)
        reach("stream.assigned")
        log.info("Assigned partitions %s, in memory %s.", sorted(self.partitions), sorted(self.fences))

    async def look_for_topics(self) -> None:
        """While an assignment lacks topics: ask the brokers for them, and have the group assign anew once they are there.

        A broker that has just come back may not know its topics for a moment. The client would ask again in minutes.
        """
        if self._generation is not None and not self._complete and self.failure is None:
            topics = (*self.config.source_topics, self.changelog_topic)
            await self.app.consumer.rejoin_when_known(topics, self.config.partitions)

    def _check_topics(self, assigned: set[TP]) -> None:
        """Each topic has as many partitions as configured, and each partition comes with all its topics."""
        for topic in (*self.config.source_topics, self.changelog_topic):
            count = self.app.consumer.partition_count(topic)
            lacking = sorted(p for p in self.partitions if TP(topic, p) not in assigned)
            if count and count != self.config.partitions:
                self.fail(f"topic {topic} has {count} partitions, {self.config.partitions} are configured")
            elif lacking or not (count or self.partitions):
                self.reason = f"topic {topic} is missing, it needs {self.config.partitions} partitions"
                log.error("Not reading: %s.", self.reason)
                self._complete = False

    async def open(self) -> None:
        """Recovery is complete: restore, set positions, let the flow begin."""
        epoch = self.epoch
        consumer = self.app.consumer
        tps = {tp for tp in consumer.assignment() if tp.topic in self.config.source_topics}
        if not tps or not self._complete or self.failure is not None:
            return
        try:
            committed = await consumer.committed(tps)
            earliest = await consumer.earliest_offsets(*tps)
            ends = await consumer.highwaters(*tps)
            if epoch != self.epoch:
                return
            reach("stream.before_restore")
            repairs = self._adopt(committed, earliest, ends)
            reach("stream.after_restore")
            epoch = self.epoch
            self._unrepaired = set(repairs)
            await self.changelog.repair(repairs)
            if epoch == self.epoch:
                self._unrepaired.clear()
            await consumer.seek_wait({tp: self.progress.position(tp) for tp in tps})
        except Exception as exc:  # noqa: BLE001  (Faust would go on without the positions)
            if epoch == self.epoch:
                self.fail("the assignment could not be opened", exc)
            return
        if epoch == self.epoch and self.failure is None:
            self.writable = self._settled = True
            self.reason = None
            self.touch()
            reach("stream.opened")
            log.info("Open: %s", {f"{tp.topic}[{tp.partition}]": self.progress.position(tp) for tp in sorted(tps)})

    def _adopt(self, committed: Any, earliest: Any, ends: Any) -> dict[int, list[list[Any]]]:
        """Restore what is not in memory and take the positions over; return the repairs to write."""
        starts = {}
        for tp, offset in committed.items():
            end = ends.get(tp) or 0
            if offset is not None and offset > end:
                raise ValueError(
                    f"{tp.topic}[{tp.partition}]: the committed offset is {offset}, the topic ends at {end}; "
                    "was the topic made anew?"
                )
            starts[tp] = offset if offset is not None else (earliest.get(tp) or 0)
            if tp.partition in self.fences and self._expected.get(tp) != offset:
                raise ValueError(
                    f"{tp.topic}[{tp.partition}]: the committed offset is {offset}, "
                    f"this worker left {self._expected.get(tp)}: another one was here"
                )
        repairs = {}
        for partition in sorted(self.partitions - set(self.fences)):
            recovered = self.app.tables[self.config.table_name].take(partition)
            self.handler.restore(partition, recovered.state(), partial(self.owns, partition))
            start = starts[TP(self.config.main_topic, partition)]
            self.fences[partition] = Fences(start, recovered.offsets())
            self.parts[partition] = recovered.in_parts()
            if groups := repair_groups(recovered):
                repairs[partition] = groups
            end = self.app.tables.recovery.end(TP(self.changelog_topic, partition))
            self.changelog.hold(partition, end, recovered.orphans())
        # What is restored is as of here, also where the opening ends before anything is read.
        self._expected = dict(committed)
        self._ends = dict(ends)
        self.progress.assign(starts, committed)
        self._awaited = {
            tp: ends[tp] for tp in starts if tp.topic != self.config.main_topic and starts[tp] < (ends.get(tp) or 0)
        }
        return repairs

    async def release(self) -> bool:
        """Write and commit what was processed, and stop reading and writing.

        Returns True when everything processed is committed; only then is the memory still right for the
        next assignment, else it is forgotten. When the group does not know this member any more nothing
        is written.
        """
        if self.reason is None:
            self.reason = "released"
        async with self._release_lock:
            if not self.writable:
                # An opening that is under way ends without effect: what it opens is being taken away.
                self.progress.clear()
                return self._settled and self.failure is None
            reach("stream.before_release")
            settled = self._settled = await self._settle()
            reach("stream.after_release")
            self.writable = False
            self._expected = self.progress.commits()
            self.progress.clear()
            if not settled:
                log.warning("Released without a last commit: the state will be recovered.")
                self._forget(set(self.fences))
            return settled

    async def _settle(self) -> bool:
        try:
            async with asyncio.timeout(self.config.drain_timeout_seconds):
                while self.writable and self.app.consumer.may_write():
                    await self.flusher.flush()
                    if self.progress.settled():
                        # Whoever has the partition next recovers from what stands in its log.
                        await self.changelog.look(everywhere=True)
                        if not self.changelog.is_overtaken():
                            return True
                        continue
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            self.fail(f"the last flush took longer than {self.config.drain_timeout_seconds} s")
        except Exception as exc:  # noqa: BLE001  (Faust would only log it)
            self.fail("the last commit failed", exc)
        return False

    def _forget(self, partitions: set[int]) -> None:
        for partition in sorted(partitions):
            del self.fences[partition], self.parts[partition]
            self.changelog.forget(partition)
            try:
                self.handler.revoke(partition)
            except Exception as exc:  # noqa: BLE001  (any failure of the domain ends the worker)
                self.fail(f"the handler failed in revoke, partition {partition}", exc)
