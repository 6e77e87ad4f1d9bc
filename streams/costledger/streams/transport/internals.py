"""Every name inside Faust, mode and aiokafka that the transport leans on beyond their documented API.

`missing` says which of them a release no longer has; a test calls it, so that an upgrade fails by name
and not by a stalled worker. Instance attributes set in `__init__` are looked for in its code.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import conn as client_connections
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.consumer import fetcher as client_fetcher
from aiokafka.consumer.fetcher import Fetcher as ClientFetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record import util as client_records
from aiokafka.record.default_records import DefaultRecordBatch
from faust import App, Table
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport import consumer as faust_consumer
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from mode import Service
from mode.threads import QueueServiceThread, ServiceThread, WorkerThread

METHODS: dict[type[Any], tuple[str, ...]] = {
    # Overridden: called by Faust at the moment given.
    faust_consumer.Consumer: (
        "_drain_messages",  # once, as the fetcher's task
        "perform_seek",  # at the end of recovery, before the flow resumes
        "stop_flow",  # at a revocation and at a stop, before queues are cleared
        "on_partitions_revoked",  # before the group is joined again
        "on_partitions_assigned",  # after it was joined
        "wait_empty",  # at a revocation and at a stop
        "commit",
        "close",
        "verify_event_path",
        "verify_recovery_event_path",
    ),
    faust_consumer.ThreadDelegateConsumer: (
        "_getmany",
        "_new_consumer_thread",
        "earliest_offsets",
        "highwaters",
        "seek_wait",
    ),
    driver.AIOKafkaConsumerThread: (
        "__post_init__",
        "_commit",
        "_create_worker_consumer",
        "_ensure_consumer",
        "_fetch_records",
        "on_partitions_assigned",
        "on_start",
        "position",
    ),
    driver.Producer: ("_ensure_producer", "_settings_extra"),
    Conductor: ("_build_handler",),
    Recovery: (
        "_build_offsets",
        "_seek_offsets",
        "_set_recovery_ended",
        "_set_recovery_started",
        "_slurp_changelogs",
        "active_remaining",
        "need_recovery",
    ),
    TableManager: ("recovery",),
    Table: ("_changelog_topic_name",),
    App: ("_on_partitions_assigned", "_on_partitions_revoked", "_stop_consumer"),
    Service: ("crashed", "wait_first"),
    ServiceThread: ("Worker",),
    QueueServiceThread: ("call_thread",),
    WorkerThread: ("run",),
    AIOKafkaConsumer: (
        "assignment",
        "committed",
        "highwater",
        "partitions_for_topic",
        "pause",
        "paused",
        "resume",
        "seek",
    ),
    GroupCoordinator: ("_do_heartbeat", "request_rejoin", "reset_generation"),
    AIOKafkaClient: ("force_metadata_update",),
    ClientFetcher: ("fetched_records",),
    SubscriptionState: ("fetch_context", "fetcher_idle_time"),
    AIOKafkaProducer: ("create_batch", "send_batch"),
    BatchBuilder: ("append", "close"),
    # Overridden: both write to the transport.
    client_connections.AIOKafkaConnection: ("_send_sasl_token", "close", "send"),
    # Hands records on as they are decoded.
    client_fetcher.PartitionRecords: ("__iter__", "_consumer_record"),
    # Of batches that are read within bounds.
    DefaultRecordBatch: ("__iter__", "base_offset", "is_control_batch", "next_offset", "validate_crc"),
}

ATTRIBUTES: dict[type[Any], tuple[str, ...]] = {
    faust_consumer.Consumer: ("can_resume_flow", "callback"),
    Recovery: ("active_highwaters", "active_offsets", "tp_to_table"),
    Service: ("crash_reason",),
    AIOKafkaConsumer: ("_client", "_coordinator", "_fetch_max_wait_ms", "_fetcher"),
    ClientFetcher: ("_records", "_subscriptions"),
    GroupCoordinator: ("generation",),
    client_fetcher.PartitionRecords: ("_records_iterator",),
}

#: Names of modules. `MemoryRecords` is bound anew (see `batches`), and so are `PartitionRecords` and `AIOKafkaConnection` (see
#: `connections`): they must be what is called.
NAMES: dict[ModuleType, tuple[str, ...]] = {
    driver: ("DEFAULT_GENERATION_ID",),
    client_connections: ("AIOKafkaConnection", "CloseReason"),
    client_fetcher: ("FetchResult", "MemoryRecords", "PartitionRecords"),
    client_records: ("decode_varint_py",),
}


def missing() -> list[str]:
    """Return the dotted names that are no longer there; empty when all is well."""
    gone = [
        f"{owner.__module__}.{owner.__qualname__}.{name}"
        for owner, names in METHODS.items()
        for name in names
        if not hasattr(owner, name)
    ]
    for owner, names in ATTRIBUTES.items():
        source = inspect.getsource(owner)
        gone += [
            f"{owner.__module__}.{owner.__qualname__}.{name}"
            for name in names
            if not hasattr(owner, name) and f"self.{name}" not in source
        ]
    for module, names in NAMES.items():
        gone += [f"{module.__name__}.{name}" for name in names if not hasattr(module, name)]
    for caller, called in (
        (ClientFetcher, ("MemoryRecords", "PartitionRecords")),
        (create_conn, ("AIOKafkaConnection",)),
    ):
        source = inspect.getsource(caller)
        gone += [
            f"{caller.__module__}.{caller.__qualname__}: a call of {name}"
            for name in called
            if f"{name}(" not in source
        ]
    return gone
