"""What machines ask a process: `/metrics` (Prometheus), `/healthz` (alive) and `/readyz` (does its work).

A small HTTP server in a daemon thread; it answers while the process is busy, and never holds it up.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from costledger.schemas import metrics
from costledger.schemas.errors import SettingsError
from costledger.schemas.memory import c_bytes, python_blocks

_logger = logging.getLogger(__name__)
_REQUEST_TIMEOUT_SECONDS: Final = 10.0
_TEXT: Final = "text/plain; charset=utf-8"

Health = Callable[[], tuple[bool, str]]
Answer = tuple[HTTPStatus, str, bytes]


def observe_memory(registry: CollectorRegistry) -> None:
    """Gauges of the memory in use of this process, as far as its C library tells."""
    metrics.create(metrics.PYTHON_MEMORY, registry).set_function(python_blocks)
    if c_bytes() is not None:
        metrics.create(metrics.C_MEMORY, registry).set_function(c_bytes)


class ObserveServer:
    """Serves the metrics of a registry and the health of a worker.

    `health` says whether the worker does its work, and why not; `before_scrape` brings gauges up to date. Both
    are called from the server's threads. `port_setting` names the setting to change when the port is taken.
    With `listener`, a socket that listens already, host and port are not used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        health: Health,
        *,
        before_scrape: Callable[[], object] | None = None,
        port_setting: str = "the port",
        listener: socket.socket | None = None,
    ) -> None:
        self._registry = registry
        self._health = health
        self._before_scrape = before_scrape
        try:
            self._server = _Server((host, port), self, listener)
        except OSError as error:
            raise SettingsError(
                f"cannot serve metrics on {host}:{port} ({error.strerror}): set {port_setting} to a free port, or to 0"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="observe", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port, also when a free one was asked for."""
        return self._server.server_address[1]

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def answer(self, path: str, accept: str) -> Answer:
        """Status, content type and body for a path."""
        if path == "/metrics":
            if self._before_scrape is not None:
                self._before_scrape()
            encode, content_type = choose_encoder(accept)
            return HTTPStatus.OK, content_type, encode(self._registry)
        if path == "/healthz":
            return HTTPStatus.OK, _TEXT, b"alive\n"
        if path == "/readyz":
            ready, reason = self._health()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            return status, _TEXT, f"{reason}\n".encode()
        return HTTPStatus.NOT_FOUND, _TEXT, b"there are /metrics, /healthz and /readyz\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], observed: ObserveServer, listener: socket.socket | None) -> None:
        self.observed = observed
        super().__init__(address, _Handler, bind_and_activate=listener is None)
        if listener is not None:
            self.socket.close()
            self.socket = listener
            self.server_address = listener.getsockname()


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_TIMEOUT_SECONDS
    server: _Server

    def do_GET(self) -> None:
        try:
            status, content_type, body = self.server.observed.answer(
                self.path.partition("?")[0], self.headers.get("Accept", "")
            )
        except Exception:
            _logger.exception("%s could not be answered", self.path)
            status, content_type, body = HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"failed; see the log\n"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        _logger.debug(format, *args)
