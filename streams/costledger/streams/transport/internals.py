"""Every name inside Faust, mode and aiokafka that the transport leans on beyond their documented API.

`missing` says which of them a release no longer has; a test calls it, so that an upgrade fails by name
and not by a stalled worker. Instance attributes set in `__init__` are looked for in its code. `unknown_settings` does
the same for settings, which Faust ignores where it does not know them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import conn as client_connections
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.consumer import fetcher as client_fetcher
from aiokafka.consumer import group_coordinator
from aiokafka.consumer.fetcher import Fetcher as ClientFetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol import group as client_groups
from aiokafka.record import util as client_records
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from faust import App, Channel, Event, Table
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport import consumer as faust_consumer
from faust.transport.base import Producer as FaustProducer
from faust.transport.base import Transport as FaustTransport
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types.settings import Settings as FaustSettings
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
    driver.Transport: ("Conductor", "Consumer", "Producer", "default_port"),
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
        "_create_directories",  # once, before anything is started
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
    # All that the fetcher calls of it: `Batches` stands in for it.
    MemoryRecords: ("has_next", "next_batch", "size_in_bytes"),
    # Of batches that are read within bounds.
    DefaultRecordBatch: ("__iter__", "base_offset", "is_control_batch", "next_offset", "validate_crc"),
}

ATTRIBUTES: dict[type[Any], tuple[str, ...]] = {
    faust_consumer.Consumer: ("can_resume_flow", "callback", "flow_active"),
    faust_consumer.ThreadDelegateConsumer: ("_thread",),
    FaustProducer: ("max_batch_size",),
    FaustTransport: ("url",),
    FaustSettings: ("broker_consumer", "broker_credentials", "broker_session_timeout", "id", "ssl_context"),
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
    client_groups: ("SyncGroupRequest",),
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
    (client_connections.AIOKafkaConnection, "send"): "self request expect_response",
    (client_connections.AIOKafkaConnection, "_send_sasl_token"): "self payload expect_response",
    (client_fetcher.PartitionRecords, "_consumer_record"): "self tp record",
    (Event, "__init__"): "self app key value headers message",
    (ConsumerMessage, "__init__"): "self topic partition offset timestamp timestamp_type headers key value checksum",
}

#: Coroutines that are replaced in an instance: their parameters, all of them, for whoever calls them knows nothing of that.
REPLACED: dict[tuple[Any, str], str] = {
    (GroupCoordinator, "_do_heartbeat"): "self",
    (GroupCoordinator, "_send_req"): "self request",
}


def unknown_settings(names: Iterable[str]) -> list[str]:
    """Return the settings that Faust would ignore, or says are to go."""
    return sorted(set(names) - FaustSettings.setting_names())


def missing() -> list[str]:
    """Return the dotted names that are no longer there, or no longer what they were; empty when all is well."""
    return [*_gone(), *_no_longer_called(), *_with_other_parameters()]


def _gone() -> Iterator[str]:
    for owner, names in METHODS.items():
        yield from (_dotted(owner, name) for name in names if not hasattr(owner, name))
    for owner, names in ATTRIBUTES.items():
        source = inspect.getsource(owner)
        for name in names:
            if not hasattr(owner, name) and re.search(rf"\bself\.{name}\b", source) is None:
                yield _dotted(owner, name)
    for module, names in NAMES.items():
        yield from (f"{module.__name__}.{name}" for name in names if not hasattr(module, name))


def _no_longer_called() -> Iterator[str]:
    """What is bound anew, replaced or recognised does nothing where the client no longer calls it."""
    for caller, calls in (
        (ClientFetcher, ("MemoryRecords(", "PartitionRecords(")),
        (create_conn, ("AIOKafkaConnection(",)),
        (group_coordinator, ("self._do_heartbeat(", "._send_req(", "SyncGroupRequest(")),
    ):
        source = inspect.getsource(caller)
        for call in calls:
            if call not in source:
                name = call.removesuffix("(").rpartition(".")[2]
                yield f"{getattr(caller, '__qualname__', caller.__name__)}: a call of {name}"


def _with_other_parameters() -> Iterator[str]:
    for (owner, name), wanted in PARAMETERS.items():
        found = _parameters(owner, name)
        if not f"{found} ".startswith(f"{wanted} "):
            yield f"{_dotted(owner, name)}: parameters {found}, expected {wanted}"
    for (owner, name), wanted in REPLACED.items():
        found = _parameters(owner, name)
        if found != wanted:
            yield f"{_dotted(owner, name)}: parameters {found}, expected {wanted} and no other"
        if not inspect.iscoroutinefunction(getattr(owner, name, None)):
            yield f"{_dotted(owner, name)}: is no coroutine"


def _parameters(owner: Any, name: str) -> str:
    method = getattr(owner, name, None)
    return "none" if method is None else " ".join(inspect.signature(method).parameters)


def _dotted(owner: Any, name: str) -> str:
    return f"{owner.__module__}.{owner.__qualname__}.{name}"
