"""The HTTP API as a process, on a free port: `python api_server.py`. Settings from the environment; prints its address.

Ends with 0 on SIGTERM.
"""

from __future__ import annotations

import signal
import sys

from prometheus_client import CollectorRegistry

from costledger.api.server import ApiServer
from costledger.deploy.logs import configure_logging
from costledger.schemas.settings import load_settings


def main() -> int:
    """Serve until told to stop; the exit code."""
    settings = load_settings()
    configure_logging(settings)
    server = ApiServer(settings, CollectorRegistry())
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    sys.stdout.write(f"URL {server.url}\n")
    sys.stdout.flush()
    return server.run()


if __name__ == "__main__":
    raise SystemExit(main())
