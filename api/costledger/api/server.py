"""The API as a process: uvicorn with our socket, our log and our signals."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from ipaddress import ip_address
from typing import Final

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from costledger.api.app import create_app
from costledger.api.services import Services
from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import Settings
from costledger.schemas.times import utc_now

logger = structlog.get_logger(__name__)

#: Requests that are under way when the process drains; what takes longer is cut off.
DRAIN_SECONDS_MAX: Final = 7
KEEP_ALIVE_SECONDS: Final = 20
BACKLOG_CONNECTIONS: Final = 512


class ApiServer:
    """One API process. `run` blocks; `stop` and `health` may be called from any thread.

    `listener` is a socket that listens already; else one is opened as the settings say. `SettingsError` where that is
    not possible, or nobody could log in. `now` is for `create_app`.
    """

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        listener: socket.socket | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.app = create_app(settings, registry, now)
        self._listener = listener or listen(settings.api_host, settings.api_port)
        host, port = self._listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        if not ip_address(host).is_loopback:
            logger.warning(
                "the API speaks plain HTTP to the network, and tokens with it: put a proxy with TLS before it",
                address=self.url,
            )
        proxies = settings.api_trusted_proxies
        self._server = _Server(
            uvicorn.Config(
                self.app,
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=True,
                lifespan="on",
                ws="none",
                proxy_headers=bool(proxies),
                forwarded_allow_ips=[one.strip() for one in proxies.split(",")] if proxies else [],
                backlog=BACKLOG_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
            )
        )

    @property
    def started(self) -> bool:
        """Whether it takes requests."""
        return self._server.started

    def run(self) -> int:
        """Serve until stopped. Returns 0 after an orderly end, 1 after anything else."""
        logger.info("the API is served", address=self.url)
        try:
            self._server.run(sockets=[self._listener])
        except SystemExit as end:  # the library's way to say that starting failed
            logger.exception("the API could not start", code=end.code)
            return 1
        finally:
            self._listener.close()
        return 0

    def stop(self) -> None:
        """Ask `run` to finish what it has and to return, within 10 s."""
        services = getattr(self.app.state, "services", None)
        if isinstance(services, Services):
            services.stopping.set()
        self._server.should_exit = True

    def health(self) -> tuple[bool, str]:
        """Whether it takes requests; `/readyz` says more."""
        return self.started, "serving" if self.started else "not started"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on this address (port 0: a free one); `SettingsError` where it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG_CONNECTIONS)
    except OSError as error:
        raise SettingsError(
            f"cannot serve the API on {host}:{port} ({error.strerror or error}): set COSTLEDGER_API_PORT to a free port, "
            "or COSTLEDGER_API_HOST to an address of this machine"
        ) from error


class _Server(uvicorn.Server):
    """Leaves signals to the process: its `stop` tells the answers that last, which the library does not know of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
