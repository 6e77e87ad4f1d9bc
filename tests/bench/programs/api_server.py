"""The HTTP API as a process, on a free port: `python api_server.py 2026-11-27T20:00:00Z`, the time that all answers are of.

Settings from the environment; prints its address.

Ends with 0 on SIGTERM.
"""

from __future__ import annotations

import signal
import sys

from prometheus_client import CollectorRegistry

from costledger.api.server import ApiServer
from costledger.deploy.logs import configure_logging
from costledger.schemas.settings import load_settings
from costledger.schemas.times import parse_time


def main() -> int:
    """Serve until told to stop; the exit code."""
    now = parse_time(sys.argv[1], "now")
    settings = load_settings()
    configure_logging(settings)
    server = ApiServer(settings, CollectorRegistry(), now=lambda: now)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    sys.stdout.write(f"URL {server.url}\n")
    sys.stdout.flush()
    return server.run()


if __name__ == "__main__":
    raise SystemExit(main())
