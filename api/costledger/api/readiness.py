"""Whether the API can answer, and what is missing if not."""

from __future__ import annotations

from typing import Final

import psycopg
import redis

from costledger.api.services import Services
from costledger.sinks.migrations import pending_on

#: Whoever asks does not wait long: no connection within this is an answer too.
WAIT_SECONDS_MAX: Final = 1.0


def readiness(services: Services) -> tuple[bool, str]:
    """(whether every dependency answers, what is missing)."""
    missing = []
    try:
        with services.pool.connection(WAIT_SECONDS_MAX) as connection:
            if pending := pending_on(connection):
                missing.append(f"the ledger lacks {', '.join(pending)}: costledger migrate")
    except psycopg.errors.InsufficientPrivilege:
        missing.append("the ledger lacks migrations: costledger migrate")
    except psycopg.Error as error:
        # Neither host nor password: whoever asks is not logged in.
        missing.append(f"PostgreSQL does not answer ({type(error).__name__})")
    try:
        services.redis.ping()
    except redis.RedisError as error:
        missing.append(f"Redis does not answer ({type(error).__name__})")
    if services.stopping.is_set():
        missing.append("draining")
    return (False, "; ".join(missing)) if missing else (True, "ready")
