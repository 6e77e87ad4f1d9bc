"""`costledger token`: a bearer token for the API, signed with the local key."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import typer

from costledger.deploy.console import JsonOption, print_json
from costledger.deploy.context import command_settings, decimal_option, usage_errors

_SECONDS_PER_HOUR = 3600


class RoleName(StrEnum):
    """The roles that a token may have (the API's own names: importing it would make `--help` slow)."""

    ANALYST = "analyst"
    OPERATOR = "operator"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Setup")(token)


def token(
    user: Annotated[str, typer.Option(metavar="USER", help="User id: whose token it is.", show_default=False)],
    role: Annotated[
        list[RoleName] | None,
        typer.Option(
            help="analyst: may read every user's data. operator: may change it too. May be given twice.",
            show_default=False,
        ),
    ] = None,
    hours: Annotated[
        Decimal,
        typer.Option(parser=decimal_option, metavar="HOURS", help="Hours until it expires; by default at most 720."),
    ] = Decimal(12),
    json: JsonOption = False,
) -> None:
    """Print a token for the API, for the header `Authorization: Bearer TOKEN`.

    Signed with COSTLEDGER_API_TOKEN_KEY or the key in COSTLEDGER_API_TOKEN_KEY_FILE, which must be the API's own.
    Whoever has it may do what it says until it expires.
    """
    import time

    from costledger.api.auth import sign_token
    from costledger.schemas.errors import InvalidValue
    from costledger.schemas.times import rfc3339

    settings = command_settings()
    roles = sorted({str(one) for one in role or []})
    seconds = int(hours * _SECONDS_PER_HOUR)
    with usage_errors():
        longest = Decimal(settings.api_token_seconds_max) / _SECONDS_PER_HOUR
        if not 1 <= seconds <= settings.api_token_seconds_max:
            limit = f"above 0 up to {longest.normalize():f} (COSTLEDGER_API_TOKEN_SECONDS_MAX)"
            raise InvalidValue("hours", hours, limit)
        signed = sign_token(settings, user, roles, seconds)
    if json:
        expires_at = rfc3339((int(time.time()) + seconds) * 1_000_000)
        print_json({"token": signed, "user_id": user, "roles": roles, "expires_at": expires_at})
    else:
        print(signed)
