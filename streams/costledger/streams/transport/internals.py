"""Every name inside Faust, mode and aiokafka that the transport leans on beyond their documented API.

`missing` says which of them a release no longer has; a test calls it, so that an upgrade fails by name
and not by a stalled worker. Instance attributes set in `__init__` are looked for in its code.
"""

from __future__ import annotations

import inspect
import re
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
from faust import App, Channel, Event, Table
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport import consumer as faust_consumer
from faust.transport.base import Producer as FaustProducer
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage
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
        "assignment",
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
        "close",
        "commit",
        "position",
    ),
    driver.Producer: ("_ensure_producer", "_settings_extra"),
    driver.Transport: ("Conductor", "Consumer", "Producer"),
    Conductor: ("_build_handler",),
    Channel: ("queue",),
    Recovery: (
        "_build_offsets",
        "_seek_offsets",
        "_set_recovery_ended",
        "_set_recovery_started",
        "_slurp_changelogs",
        "active_remaining",
        "in_recovery",
        "need_recovery",
        "signal_recovery_end",
    ),
    TableManager: ("recovery",),
    Table: ("_changelog_topic_name",),
    App: (
        "_on_partitions_assigned",
        "_on_partitions_revoked",
        "_stop_consumer",
        "consumer",
        "consumer_generation_id",
        "producer_transport",
        "tables",
        "transport",
    ),
    Service: ("crashed", "wait_first"),
    ServiceThread: ("Worker",),
    QueueServiceThread: ("call_thread",),
    WorkerThread: ("run",),
    AIOKafkaConsumer: (
        "assignment",
        "committed",
        "last_stable_offset",
        "partitions_for_topic",
        "pause",
        "paused",
        "resume",
        "seek",
    ),
    GroupCoordinator: ("_do_heartbeat", "_send_req", "request_rejoin", "reset_generation"),
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
    faust_consumer.Consumer: ("can_resume_flow", "callback", "flow_active"),
    faust_consumer.ThreadDelegateConsumer: ("_thread",),
    FaustProducer: ("max_batch_size",),
    TableManager: ("_recovery",),
    Recovery: ("active_highwaters", "active_offsets", "tp_to_table"),
    Service: ("crash_reason",),
    AIOKafkaConsumer: ("_client", "_coordinator", "_fetch_max_wait_ms", "_fetcher", "_isolation_level"),
    ClientFetcher: ("_records", "_subscriptions"),
    GroupCoordinator: ("generation",),
    client_fetcher.PartitionRecords: ("_records_iterator",),
}

#: Names of modules. `MemoryRecords` is bound anew (see `batches`), and so are `PartitionRecords` and `AIOKafkaConnection` (see
#: `connections`): they must be what is called.
NAMES: dict[ModuleType, tuple[str, ...]] = {
    driver: ("DEFAULT_GENERATION_ID", "credentials_to_aiokafka_auth", "server_list"),
    client_connections: ("AIOKafkaConnection", "CloseReason"),
    client_fetcher: ("FetchResult", "MemoryRecords", "PartitionRecords"),
    client_records: ("decode_varint_py",),
}

#: Parameters of what is overridden, and of what is called by position.
PARAMETERS: dict[tuple[Any, str], str] = {
    (faust_consumer.Consumer, "_drain_messages"): "self fetcher",
    (faust_consumer.Consumer, "on_partitions_revoked"): "self revoked",
    (faust_consumer.Consumer, "on_partitions_assigned"): "self assigned generation_id",
    (faust_consumer.Consumer, "commit"): "self topics start_new_transaction",
    (driver.Consumer, "verify_event_path"): "self now tp",
    (faust_consumer.ThreadDelegateConsumer, "verify_recovery_event_path"): "self now tp",
    (faust_consumer.ConsumerThread, "on_partitions_assigned"): "self assigned generation_id",
    (driver.AIOKafkaConsumerThread, "_create_worker_consumer"): "self transport",
    (driver.AIOKafkaConsumerThread, "_fetch_records"): "self consumer active_partitions timeout max_records",
    (driver.AIOKafkaConsumerThread, "_commit"): "self offsets",
    (Conductor, "_build_handler"): "self tp channels",
    (Recovery, "__init__"): "self app tables kwargs",
    (Recovery, "_build_offsets"): "self consumer tps destination title",
    (Recovery, "_seek_offsets"): "self consumer tps offsets title",
    (GroupCoordinator, "_send_req"): "self request",
    (client_connections.AIOKafkaConnection, "send"): "self request expect_response",
    (client_connections.AIOKafkaConnection, "_send_sasl_token"): "self payload expect_response",
    (client_fetcher.PartitionRecords, "_consumer_record"): "self tp record",
    (Event, "__init__"): "self app key value headers message",
    (ConsumerMessage, "__init__"): "self topic partition offset timestamp timestamp_type headers key value checksum",
}


def missing() -> list[str]:
    """Return the dotted names that are no longer there, or no longer what they were; empty when all is well."""
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
            if not hasattr(owner, name) and re.search(rf"\bself\.{name}\b", source) is None
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
    for (owner, name), wanted in PARAMETERS.items():
        method = getattr(owner, name, None)
        found = "none" if method is None else " ".join(inspect.signature(method).parameters)
        if not f"{found} ".startswith(f"{wanted} "):
            gone.append(f"{owner.__module__}.{owner.__qualname__}.{name}: parameters {found}, expected {wanted}")
    return gone
