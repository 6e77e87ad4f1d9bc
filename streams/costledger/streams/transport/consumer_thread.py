"""The thread in which the Kafka client runs, so that heartbeats go on while a batch is processed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.protocol.group import SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers.aiokafka import DEFAULT_GENERATION_ID, AIOKafkaConsumerThread
from faust.types import TP
from mode.threads import WorkerThread

from costledger.streams.transport import batches

COMMIT_TIMEOUT_SECONDS = 5.0
"""How long a commit is waited for before it counts as failed."""
METADATA_TIMEOUT_SECONDS = 5.0
"""How long the brokers are waited for when they are asked for their topics."""
IDLE_SECONDS = 0.05
"""How long a fetch of no partitions takes."""


class _DaemonThread(WorkerThread):
    """A worker thread that cannot keep the process alive after the stage has given up on it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.daemon = True


class BatchConsumerThread(AIOKafkaConsumerThread):
    """Faust's consumer thread with a chosen fetch wait, and commits whose failure is reported."""

    Worker = _DaemonThread

    def __post_init__(self) -> None:
        super().__post_init__()
        # When what the group last acknowledged was sent: it may have forgotten this member a session's length later.
        self._heard_at = self._joined_at = -math.inf
        self._session_seconds = float(self.app.conf.broker_session_timeout)

    async def on_start(self) -> None:
        """Start the client; note each heartbeat that the group acknowledges, and when this member asked for its partitions."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        send_heartbeat, send_request = coordinator._do_heartbeat, coordinator._send_req

        async def heartbeat() -> bool:
            sent_at = time.monotonic()
            acknowledged = bool(await send_heartbeat())
            if acknowledged:
                self._heard_at = sent_at
            return acknowledged

        async def request(made: Any) -> Any:
            sent_at = time.monotonic()
            response = await send_request(made)
            if isinstance(made, SyncGroupRequest):
                self._joined_at = sent_at
            return response

        coordinator._do_heartbeat, coordinator._send_req = heartbeat, request

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """The group has answered, perhaps a while ago: the process may have been suspended since."""
        self._heard_at = self._joined_at
        await super().on_partitions_assigned(assigned, generation_id)

    def _create_worker_consumer(self, transport: Any) -> Any:
        batches.install()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = transport.runtime.config.fetch_wait_ms  # fixed at 1500 by Faust
        # What a transaction took back never was; the sink reads so, too. Faust sets this for its own transactions alone.
        consumer._isolation_level = "read_committed"
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109  (the base's signature)
        max_records: int | None = None,
    ) -> Any:
        """Fetch from the given partitions. For none, wait a little inside the client's fetch context:
        the client takes no partitions to mean all, and a member that never fetches leaves the group."""
        self._fetch_only(consumer, active_partitions)
        if active_partitions:
            return await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        with consumer._fetcher._subscriptions.fetch_context():
            await asyncio.sleep(IDLE_SECONDS)
        return {}

    def _fetch_only(self, consumer: Any, wanted: set[TP]) -> None:
        """Have the client ask the brokers for nothing else, and drop what it has of anything else.

        It reads ahead in every assigned partition, up to `fetch_bytes_max`, and holds that until it is asked for: of a
        changelog, whose recovery is over, for ever.
        """
        paused, fetched = consumer.paused(), consumer._fetcher._records
        for tp in consumer.assignment():
            if tp in wanted:
                if tp in paused:
                    consumer.resume(tp)
                continue
            if tp not in paused:
                consumer.pause(tp)
            # Also what was on its way when the partition was paused; but no error, which is to be told.
            if isinstance(fetched.get(tp), FetchResult):
                del fetched[tp]

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit in the thread. False when the group is rebalancing or the broker cannot be reached now;
        raises KafkaError when trying again is no use (authorisation, say)."""
        structs = {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
                await self._ensure_consumer().commit(structs)
        except (CommitFailedError, IllegalStateError, TimeoutError) as exc:
            self.log.warning("Commit did not succeed, it will be tried again: %r", exc)
            return False
        except KafkaError as exc:
            if not exc.retriable:
                raise
            self.log.warning("Commit did not succeed, it will be tried again: %r", exc)
            return False
        return True

    async def fetch_committed(self, tps: set[TP]) -> dict[TP, int | None]:
        """Ask the group's coordinator. Runs in the thread."""
        consumer = self._ensure_consumer()
        return {tp: await consumer.committed(TopicPartition(*tp)) for tp in tps}

    def membership_certain(self) -> bool:
        """False when the group no longer knows this member, or when it has not answered for a session's
        length (a suspended process, a cut network): the partitions may be another's already."""
        if self._ensure_consumer()._coordinator.generation == DEFAULT_GENERATION_ID:
            return False
        return time.monotonic() - self._heard_at < self._session_seconds

    def known_highwater(self, tp: TP) -> int | None:
        """See `BatchConsumer.known_highwater`."""
        try:
            # Nothing behind it can be read: transactions that are open are no lag.
            stable: int | None = self._ensure_consumer().last_stable_offset(TopicPartition(*tp))
        except (AssertionError, IllegalStateError):
            return None  # the assignment changed in the other thread
        return None if stable is None or stable < 0 else stable

    def partition_count(self, topic: str) -> int:
        """See `BatchConsumer.partition_count`."""
        return len(self._ensure_consumer().partitions_for_topic(topic) or ())

    async def rejoin_when_known(self, topics: Collection[str], partitions: int) -> None:
        """See `BatchConsumer.rejoin_when_known`. Runs in the thread."""
        consumer = self._ensure_consumer()
        try:
            async with asyncio.timeout(METADATA_TIMEOUT_SECONDS):
                await consumer._client.force_metadata_update()
        except TimeoutError:
            return  # no broker answers: asked again later
        if all(self.partition_count(topic) == partitions for topic in topics):
            self.log.info("The topics are there: joining the group again.")
            consumer._coordinator.request_rejoin()

    def close(self) -> None:
        """Does nothing, see `BatchConsumer.close`."""
