"""Logging of the processes: structlog over the standard library's logging, on stderr.

A terminal gets coloured lines, anything else one JSON object a line. Passwords in URLs are covered whatever
library logs them.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from costledger.deploy.failures import redact

if TYPE_CHECKING:
    from costledger.schemas.settings import Settings

#: Libraries that say at INFO what is of no use to an operator.
_QUIET: Final = ("aiokafka", "faust", "mode", "yoyo", "kafka", "asyncio", "procrastinate", "apprise")


def configure_logging(settings: Settings, *, least: str | None = None) -> None:
    """Send all logging to stderr, in the format and from the level of the settings (or from `least`)."""
    level = settings.log_level if least is None or settings.log_level == "DEBUG" else least
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(settings), _covered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(level if level == "DEBUG" else max(logging.WARNING, _number(level)))


def _rendering(settings: Settings) -> list[Any]:
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    if console:
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _covered(_logger: object, _method: str, rendered: Any) -> str:
    return redact(str(rendered))


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level]
