"""The Faust app of a stage: its settings, its transport, its table and its one agent."""

from __future__ import annotations

import ssl
from typing import Any

import faust
from faust.auth import SASLCredentials, SSLCredentials
from yarl import URL

from costledger.streams.transport import connections
from costledger.streams.transport.config import StageConfig
from costledger.streams.transport.consumer import BatchTransport
from costledger.streams.transport.recovery import BatchTableManager
from costledger.streams.transport.runtime import Runtime
from costledger.streams.transport.table import ChangelogTable

POLL_INTERVAL_MAX_SECONDS = 600.0
"""The longest that one batch, or the restoring of all partitions, may take before the group gives up."""
REQUEST_BYTES_MARGIN = 64 * 1024
"""Room in a produce request beside one full batch."""


def credentials(config: StageConfig) -> SASLCredentials | SSLCredentials | None:
    """Faust's credentials for the stage's `security`; None for PLAINTEXT."""
    protocol = config.security_protocol
    if protocol == "PLAINTEXT":
        return None
    context = None
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=config.security.get("cafile"))
    if protocol == "SSL":
        return SSLCredentials(context)
    return SASLCredentials(
        username=config.security["username"],
        password=config.security["password"],
        mechanism=config.security["sasl_mechanism"],
        ssl_context=context,
    )


def settings(config: StageConfig) -> dict[str, Any]:
    """Faust's settings for a stage."""
    session = config.session_timeout_seconds
    return {
        "broker": [URL(f"kafka://{server.strip()}") for server in config.bootstrap_servers.split(",")],
        "broker_credentials": credentials(config),
        "broker_session_timeout": session,
        "broker_heartbeat_interval": session / 4,
        "broker_request_timeout": max(30.0, 2 * session),
        "broker_rebalance_timeout": max(30.0, 2 * config.drain_timeout_seconds),
        "broker_max_poll_interval": POLL_INTERVAL_MAX_SECONDS,
        "broker_max_poll_records": config.poll_records_max,
        "consumer_max_fetch_size": config.fetch_bytes_max,
        "consumer_auto_offset_reset": "earliest",
        "producer_acks": -1,
        "producer_compression_type": "zstd",
        "producer_linger": 0.0,
        "producer_max_batch_size": config.batch_bytes_max,
        "producer_max_request_size": config.batch_bytes_max + REQUEST_BYTES_MARGIN,
        # How long a write may wait for room in the client, and for each answer: what is under way is never given up.
        "producer_request_timeout": session,
        "processing_guarantee": "at_least_once",
        "store": "memory://",
        "cache": "memory://",
        "stream_recovery_delay": 0.0,
        "stream_wait_empty": True,
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "topic_partitions": config.partitions,
        "reply_create_topic": False,
        "web_enabled": False,
        "autodiscover": False,
        "TableManager": BatchTableManager,
        "Table": ChangelogTable,
    }


class StageApp(faust.App):
    """An app that keeps nothing in files: what is held is in memory, and on Kafka."""

    def _create_directories(self) -> None:
        """None: a worker that is killed would leave them behind."""


#: Else what Faust says of its own start and stop would be said under our name.
StageApp.logger = faust.App.logger


def build_app(config: StageConfig, runtime: Runtime) -> Any:
    """Build the app and attach it to the runtime. Call it inside the event loop that will run it."""
    connections.install()
    app: Any = StageApp(config.app_id, **settings(config))
    transport = BatchTransport(app.conf.broker_consumer, app, runtime)
    app.transport = transport
    app.producer_transport = transport
    runtime.app = app
    table = app.Table(config.table_name, partitions=config.partitions, key_type=bytes, value_type=bytes)
    table.order = runtime.handler.order

    # Acknowledgements are the runtime's own; with acks off Faust keeps no books per message.
    source = app.topic(*config.source_topics, value_type=bytes, acks=False)

    @app.agent(source, name=config.table_name)  # type: ignore[untyped-decorator]  # app is Any
    async def batches(stream: Any) -> None:
        async for fetched in stream:
            await runtime.processor.process(fetched)
            app.consumer.batch_done(fetched)

    return app
