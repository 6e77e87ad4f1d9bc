"""`costledger stream`, `sink`, `notifier`, `api`: one process each, to be run by a supervisor or as containers."""

from __future__ import annotations

from typing import Annotated

import typer

from costledger.deploy.worker_process import Build, BuildServer, run_server, run_worker

SupervisorOption = Annotated[
    int | None,
    typer.Option("--supervisor", hidden=True, help="Process id of the parent; the worker ends when it does."),
]
ListenerOption = Annotated[
    int | None,
    typer.Option("--listener", hidden=True, help="File descriptor of the socket for metrics, opened by the parent."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Processes")(stream)
    app.command(rich_help_panel="Processes")(sink)
    app.command(rich_help_panel="Processes")(notifier)
    app.command(rich_help_panel="Processes")(api)


def stream(supervisor: SupervisorOption = None, listener: ListenerOption = None) -> None:
    """Keep every user's totals in real time and raise alerts.

    Reads the events and budgets, writes alerts to Kafka and current totals to Redis. SIGTERM or Ctrl-C drain
    it within 10 seconds. Metrics and health: port 9101 (COSTLEDGER_STREAM_METRICS_PORT). Exit code 0 drained,
    1 anything unexpected (a supervisor starts it again; nothing is lost).
    """

    def build() -> Build:
        from costledger.streams.worker import StreamWorker

        return StreamWorker

    run_worker("stream", build, supervisor, listener, takes_signals=True)


def sink(supervisor: SupervisorOption = None, listener: ListenerOption = None) -> None:
    """Write every event once to the ledger in PostgreSQL.

    Bad events go to quarantine. Waits while PostgreSQL is away. SIGTERM or Ctrl-C drain it within 10 seconds.
    Metrics and health: port 9102 (COSTLEDGER_SINK_METRICS_PORT). Exit code 0 drained, 1 anything unexpected.
    """

    def build() -> Build:
        from costledger.sinks.sink import Sink

        return Sink

    run_worker("sink", build, supervisor, listener)


def notifier(supervisor: SupervisorOption = None, listener: ListenerOption = None) -> None:
    """Store the alerts in PostgreSQL, and bring budgets from there to Kafka.

    SIGTERM or Ctrl-C drain it within 10 seconds. Metrics and health: port 9103
    (COSTLEDGER_NOTIFIER_METRICS_PORT). Exit code 0 drained, 1 anything unexpected.
    """

    def build() -> Build:
        from costledger.sinks.notifier import Notifier

        return Notifier

    run_worker("notifier", build, supervisor, listener)


def api(supervisor: SupervisorOption = None, listener: ListenerOption = None) -> None:
    """Serve costs, budgets and alerts over HTTP.

    Needs a key for tokens (COSTLEDGER_API_TOKEN_KEY_FILE) or an OIDC issuer. Speaks plain HTTP, by default on loopback:
    put a proxy with TLS before it. SIGTERM or Ctrl-C drain it within 10 seconds. Port 8080 (COSTLEDGER_API_PORT) has
    metrics and health too. Exit code 0 drained, 1 anything unexpected.
    """

    def build() -> BuildServer:
        from costledger.api.server import ApiServer

        return ApiServer

    run_server(build, supervisor, listener)
