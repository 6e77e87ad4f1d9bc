"""The sink: every event of `cost.events` once into the Postgres ledger, whatever dies.

The main thread reads, decodes and packs the next batch while a second one writes the last; the truth about
what was read is `ledger.sink_offsets`, moved in the transaction that writes the batch. Kafka's committed
offsets are a mirror for lag monitors and are never read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final

from confluent_kafka import Consumer, TopicPartition
from prometheus_client import CollectorRegistry

from costledger.schemas.fail_points import reach
from costledger.schemas.memory import COLLECT_SECONDS, collect, collect_seldom, give_back
from costledger.schemas.settings import Settings
from costledger.schemas.stopping import StopRequest
from costledger.sinks.background import in_background
from costledger.sinks.bad_share import BadShare
from costledger.sinks.batch import Batch, Gatherer
from costledger.sinks.database import Connection, connect
from costledger.sinks.dead_letters import relay_dead_letters
from costledger.sinks.delivery import Deliverer
from costledger.sinks.intake import Intake
from costledger.sinks.observation import SinkMetrics
from costledger.sinks.patience import Abandoned
from costledger.sinks.positions import Fenced
from costledger.sinks.relay import Relay
from costledger.sinks.unassigned import UnassignedWatch
from costledger.sinks.writer import Outcome, Step, Writer, reach_step

logger = logging.getLogger(__name__)

#: Stopping: writing what was gathered, then the mirror commit, then leaving the group; 10 s in all.
DRAIN_SECONDS_MAX: Final = 6.0
MIRROR_SECONDS_MAX: Final = 1.0
CLOSE_SECONDS_MAX: Final = 2.0
#: Partitions that are taken away are written first, for so long at most.
REVOKE_SECONDS_MAX: Final = 8.0
#: With a full batch waiting so long for the writer, fetching is paused.
PAUSE_AFTER_SECONDS: Final = 1.0
#: The main loop turns at least as often as this, else the sink is not healthy.
TURN_SECONDS_MAX: Final = 30.0
#: While a batch is being written: so long after its end the next write may begin.
_SHORT_WAIT_SECONDS: Final = 0.02
_WAIT_SECONDS_MAX: Final = 0.5
_OBSERVE_SECONDS: Final = 1.0


class Sink:
    """One sink process. `run` blocks; `stop` and `health` may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry | None = None,
        *,
        on_step: Callable[[Step], None] = reach_step,
    ) -> None:
        self._settings = settings
        names = settings.topics
        self._topic = names.events
        self._metrics = SinkMetrics(registry or CollectorRegistry())
        self._gatherer = Gatherer(self._topic, settings.sink_batch_rows_max, settings.sink_batch_bytes_max)
        bad_share = BadShare(settings.sink_bad_window_events, settings.sink_bad_share_max)
        self._writer = Writer(self._connect, self._topic, bad_share, self._metrics.retried, on_step)
        deliverer = Deliverer(settings, "costledger-sink-dead-letters")
        self._relay = Relay(
            "dead-letter relay",
            self._connect,
            lambda connection: relay_dead_letters(connection, deliverer, names.dead_letters),
            deliverer.close,
        )
        self._writing: tuple[Batch, Future[Outcome], float] | None = None
        self._written: dict[int, int] = {}
        self._gathering_since = 0.0
        self._intake = Intake(settings, self._gatherer)
        self._unassigned = None if settings.sink_instance_id is None else UnassignedWatch(settings)
        self._stopping = StopRequest()
        self._turned_at: float | None = None
        self._observed_at = 0.0
        self._collected_at = 0.0
        self._failure: str | None = None

    def stop(self) -> None:
        """Ask `run` to write what was gathered and to return, within 10 s."""
        self._stopping.set()

    def health(self) -> tuple[bool, str]:
        """(whether the sink does its work, why not or what it does)."""
        if self._failure is not None:
            return False, self._failure
        if self._turned_at is None:
            return False, "not started"
        trouble = self._writer.trouble or self._intake.trouble
        if trouble is not None:
            return False, trouble
        idle_seconds = time.monotonic() - self._turned_at
        if idle_seconds > TURN_SECONDS_MAX:
            return False, f"no progress for {idle_seconds:.0f} s"
        return True, f"reading {len(self._gatherer.positions())} partitions of {self._topic}"

    def run(self) -> int:
        """Read and write until stopped. Returns 0 after an orderly end, 1 after anything else.

        Sets the garbage collector of the process to collect less often.
        """
        collect_seldom()
        try:
            self._intake.open(self._on_assign, self._on_revoke, self._on_lost)
            self._relay.start()
            while not self._stopping.is_set():
                self._turn()
            self._finish_orderly()
        except Abandoned as error:
            logger.warning("the sink stops without its last batch, which will be read again: %s", error)
            return 0
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            logger.exception("the sink stops: what is not written will be read again")
            return 1
        finally:
            self._close()
        return 0

    def _turn(self) -> None:
        self._turned_at = time.monotonic()
        if self._gatherer.full:
            self._await_writer()
        else:
            if self._gatherer.empty:
                # From before the client waits: it hands over at the end of its wait what came at its beginning.
                self._gathering_since = time.monotonic()
            self._intake.gather(self._gathering_seconds_left())
        if self._writing is not None and self._writing[1].done():
            self._finish_write()
        if self._writing is None and self._due():
            self._start_write(self._gatherer.seal())
        if self._turned_at - self._observed_at > _OBSERVE_SECONDS:
            self._observed_at = self._turned_at
            self._observe()

    def _gathering_seconds_left(self) -> float:
        if self._writing is not None:
            return _SHORT_WAIT_SECONDS
        # The client waits for the whole time, and stopping should not.
        wait_seconds = min(_WAIT_SECONDS_MAX, self._settings.sink_batch_wait_ms / 1000)
        if self._gatherer.empty:
            return wait_seconds
        left = self._gathering_since + self._settings.sink_batch_wait_ms / 1000 - time.monotonic()
        return max(0.0, min(wait_seconds, left))

    def _due(self) -> bool:
        if self._gatherer.empty:
            return False
        waited = time.monotonic() - self._gathering_since
        return self._gatherer.full or waited >= self._settings.sink_batch_wait_ms / 1000

    def _start_write(self, batch: Batch) -> None:
        self._writing = (batch, in_background("ledger writer", lambda: self._writer.write(batch)), time.monotonic())

    def _finish_write(self) -> None:
        if self._writing is None:
            return
        batch, future, _ = self._writing
        self._writing = None
        try:
            outcome = future.result()
        except Fenced as fenced:
            ours = [one for one in fenced.partitions if self._gatherer.owns(one, batch.spans[one].epoch)]
            if ours:
                raise
            # They were taken away while the batch was being written: who has them now reads them again.
            logger.warning("partitions %s went to another sink during a write; the rest is written", fenced.partitions)
            rest = batch.without(fenced.partitions)
            if rest.spans:
                self._start_write(rest)
            return
        self._metrics.written(outcome)
        # Of a partition that went to another sink meanwhile, that one tells.
        positions = {
            partition: span.next_offset
            for partition, span in batch.spans.items()
            if self._gatherer.owns(partition, span.epoch)
        }
        self._written.update(positions)
        reach("sink.before_mirror")
        self._intake.mirror(positions)
        reach("sink.after_mirror")

    def _await_writer(self) -> None:
        """With a full batch: let the writer finish, and go on serving the group meanwhile."""
        if self._writing is None:
            return
        _, future, started = self._writing
        wait([future], timeout=_SHORT_WAIT_SECONDS)
        if future.done():
            return
        if time.monotonic() - started > PAUSE_AFTER_SECONDS:
            self._intake.hold()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Claim partitions in the ledger and begin where it stands. Waits for PostgreSQL as long as it takes."""
        numbers = [one.partition for one in partitions]
        if numbers:
            claimed = in_background("ledger claim", lambda: self._claim(numbers))
            while not wait([claimed], timeout=_SHORT_WAIT_SECONDS).done:
                self._turned_at = time.monotonic()
                if self._stopping.is_set():
                    self._writer.stop()
            for one in partitions:
                one.offset, epoch = claimed.result()[one.partition]
                self._gatherer.claim(one.partition, one.offset, epoch)
            positions = {one.partition: one.offset for one in partitions}
            self._written.update(positions)
            self._intake.began(positions)
            logger.info("reading %s", positions)
        consumer.incremental_assign(partitions)

    def _claim(self, partitions: list[int]) -> dict[int, tuple[int, int]]:
        if self._writing is not None:
            # The writer's connection serves one thread at a time.
            wait([self._writing[1]])
        reach("sink.before_claim")
        claimed = self._writer.claim(partitions)
        reach("sink.after_claim")
        return claimed

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Write what was gathered, once, within a deadline; then the partitions are another sink's."""
        if not self._drain(time.monotonic() + REVOKE_SECONDS_MAX):
            logger.warning("partitions are given up before their last batch was written; they will be read again")
        reach("sink.before_release")
        self._let_go(partitions)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The partitions are another sink's already: what was gathered of them is discarded, never written."""
        logger.warning("lost the partitions %s", [one.partition for one in partitions])
        self._let_go(partitions)
        consumer.incremental_unassign(partitions)

    def _let_go(self, partitions: list[TopicPartition]) -> None:
        numbers = {one.partition for one in partitions}
        self._gatherer.drop(numbers)
        self._metrics.forget(numbers)

    def _drain(self, deadline: float) -> bool:
        """Write everything that was gathered; False where the deadline came first."""
        while True:
            if self._writing is not None:
                wait([self._writing[1]], timeout=max(0.0, deadline - time.monotonic()))
                if not self._writing[1].done():
                    return False
                self._finish_write()
            elif not self._gatherer.empty:
                self._start_write(self._gatherer.seal())
            else:
                return True

    def _observe(self) -> None:
        """Once a second: metrics, memory, partitions whose position is in doubt, and those that nobody has."""
        if self._observed_at - self._collected_at > COLLECT_SECONDS:
            self._collected_at = self._observed_at
            collect()
        give_back()
        self._metrics.paused(self._writer.trouble is not None)
        for partition, end in self._intake.high_watermarks().items():
            self._metrics.lag(partition, max(0, end - self._written.get(partition, end)))
        self._intake.mirror_again()
        self._intake.check_ranges()
        if self._unassigned is not None:
            self._unassigned.turn(self._observed_at)

    def _finish_orderly(self) -> None:
        drained = self._drain(time.monotonic() + DRAIN_SECONDS_MAX)
        if not drained:
            logger.warning("the last batch could not be written in %.0f s; it will be read again", DRAIN_SECONDS_MAX)
            return
        positions = self._gatherer.positions()
        wait(
            [in_background("mirror", lambda: self._intake.mirror(positions, asynchronous=False))],
            timeout=MIRROR_SECONDS_MAX,
        )
        logger.info("drained")

    def _close(self) -> None:
        self._writer.stop()
        self._relay.stop(MIRROR_SECONDS_MAX)
        self._gatherer.drop(list(self._gatherer.positions()))
        deadline = time.monotonic() + CLOSE_SECONDS_MAX
        leaving = in_background("leaving the group", self._intake.close)
        if self._unassigned is not None:
            self._unassigned.stop(CLOSE_SECONDS_MAX)
        wait([leaving], timeout=max(0.0, deadline - time.monotonic()))
        if self._writing is None or self._writing[1].done():
            self._writer.close()

    def _connect(self) -> Connection:
        settings = self._settings
        return connect(settings.database_url.get_secret_value(), "costledger sink", settings.database_timeout_seconds)
