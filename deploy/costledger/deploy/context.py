"""What most commands begin with: settings and quiet logging, and options that name what is wrong with a value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import date, datetime
    from decimal import Decimal

    from costledger.schemas.settings import Settings
    from costledger.sinks.database import Connection


def command_settings(**overrides: Any) -> Settings:
    """The settings, with logging to stderr from WARNING up (DEBUG where that is set). `SettingsError` if wrong."""
    from costledger.deploy.logs import configure_logging
    from costledger.schemas.settings import load_settings

    settings = load_settings(**overrides)
    configure_logging(settings, least="WARNING")
    return settings


def ledger_connection(settings: Settings, purpose: str) -> Connection:
    """A connection to the ledger, as its writer; `psycopg.Error` when there is none. Close it, or use `with`."""
    from costledger.sinks.database import connect

    url = settings.database_url.get_secret_value()
    return connect(url, f"costledger {purpose}", settings.database_timeout_seconds)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Inside, a value out of bounds is a matter of usage: exit code 2."""
    from costledger.schemas.errors import InvalidValue

    try:
        yield
    except InvalidValue as error:
        raise typer.BadParameter(str(error)) from error


def decimal_option(text: str) -> Decimal:
    """The value of an option that is an exact decimal number."""
    from costledger.schemas.money import exact_decimal

    with usage_errors():
        return exact_decimal(text, "the value")


def time_option(text: str) -> datetime:
    """The value of an option that is a time: RFC 3339, or `now`."""
    from datetime import UTC, datetime

    from costledger.schemas.times import parse_time

    if text == "now":
        return datetime.now(UTC)
    with usage_errors():
        return parse_time(text, "the value")


def day_option(text: str) -> date:
    """The value of an option that is a UTC day, such as 2026-11-23."""
    from datetime import datetime

    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no offset
    except ValueError:
        raise typer.BadParameter(f"{text!r} must be a day such as 2026-11-23") from None


def metadata_option(pairs: list[str] | None) -> dict[str, str]:
    """`KEY=VALUE` options as a mapping."""
    metadata = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} must be KEY=VALUE")
        metadata[key] = value
    return metadata


UserArgument = Annotated[str, typer.Argument(metavar="USER", help="User id.", show_default=False)]
