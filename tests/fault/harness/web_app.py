"""A web service for gunicorn with `preload_app`: its tracker is made, and has tracked, before any child is forked.

The load is in the variable `FAULT_WEB_LOAD` (JSON), its folder in `FAULT_WEB_FOLDER`. Each request tracks some events
and is answered with the process id. Parent and children have a record each: see `web_config`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from tests.fault.harness.load import Load
from tests.fault.harness.load_main import Generating

from costledger.schemas.settings import load_settings

EVENTS_BEFORE_FORK: Final = 50
EVENTS_PER_REQUEST: Final = 10

generating: Final = Generating(
    Load(**json.loads(os.environ["FAULT_WEB_LOAD"])), Path(os.environ["FAULT_WEB_FOLDER"]), load_settings()
)
# The client has threads and connections, and these are under way, when gunicorn forks.
for _ in range(EVENTS_BEFORE_FORK):
    generating.attempt()


def application(_environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """One request."""
    for _ in range(EVENTS_PER_REQUEST):
        generating.attempt()
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
