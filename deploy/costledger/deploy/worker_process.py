"""One worker as a process: settings, logging, metrics and health around it, and its exit code."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NoReturn, Protocol

import typer

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from costledger.schemas.settings import Settings

WorkerName = Literal["stream", "sink", "notifier", "scheduler", "api"]


class Worker(Protocol):
    """What stream worker, sink and notifier have in common."""

    def run(self) -> int:
        """Work until SIGTERM, SIGINT or a failure; 0 when drained."""

    def stop(self) -> None:
        """Ask `run` to drain and to return; from any thread."""

    def health(self) -> tuple[bool, str]:
        """Whether it does its work, and if not, why."""


class Build(Protocol):
    """Makes a worker from the settings."""

    def __call__(self, settings: Settings, registry: CollectorRegistry) -> Worker: ...


def run_worker(
    name: WorkerName,
    build: Callable[[], Build],
    supervisor_pid: int | None,
    listener_fd: int | None,
    *,
    takes_signals: bool = False,
) -> NoReturn:
    """Run the worker in this process, with its metrics on the port of the settings; ends with its exit code.

    `build` imports the worker's class; `takes_signals` says that its `run` handles SIGTERM and SIGINT itself.
    With `supervisor_pid` the process is killed when that parent is gone. `listener_fd` is a socket that the parent
    has opened for the metrics, so that their port stays ours while the worker is started again.
    """
    settings, registry = _prepare(supervisor_pid)
    from costledger.deploy.observe import ObserveServer

    worker = build()(settings, registry)
    if not takes_signals:
        _stop_on_signals(worker)
    port: int = getattr(settings, port_setting(name))
    with ObserveServer(
        settings.metrics_host,
        port,
        registry,
        worker.health,
        before_scrape=getattr(worker, "stats", None),  # the stream worker sets its lag metric so
        port_setting=f"COSTLEDGER_{name.upper()}_METRICS_PORT",
        listener=None if listener_fd is None else socket.socket(fileno=listener_fd),
    ):
        code = worker.run()
    raise typer.Exit(code)


class BuildServer(Protocol):
    """Makes a worker that serves on a socket from the settings."""

    def __call__(self, settings: Settings, registry: CollectorRegistry, listener: socket.socket | None) -> Worker: ...


def run_server(build: Callable[[], BuildServer], supervisor_pid: int | None, listener_fd: int | None) -> NoReturn:
    """The same for a worker that is an HTTP server: its own port has its metrics and health beside what it serves."""
    settings, registry = _prepare(supervisor_pid)
    worker = build()(settings, registry, None if listener_fd is None else socket.socket(fileno=listener_fd))
    _stop_on_signals(worker)
    raise typer.Exit(worker.run())


def port_setting(name: WorkerName) -> str:
    """The setting with the port on which a worker is observed."""
    return "api_port" if name == "api" else f"{name}_metrics_port"


def _prepare(supervisor_pid: int | None) -> tuple[Settings, CollectorRegistry]:
    if supervisor_pid is not None:
        end_with_parent(supervisor_pid)
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

    from costledger.deploy.logs import configure_logging
    from costledger.deploy.observe import observe_memory
    from costledger.schemas.registry import use_registry
    from costledger.schemas.settings import load_settings

    settings = load_settings()
    configure_logging(settings)
    use_registry(settings)
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    observe_memory(registry)
    return settings, registry


def _stop_on_signals(worker: Worker) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())


def end_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent is gone: a killed `costledger up` leaves nothing behind.

    SIGKILL, since the broker and the database end at the same moment and draining would only wait for them.
    """
    from costledger.deploy.stack.guard import PR_SET_PDEATHSIG, prctl

    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        raise typer.Exit(1)
