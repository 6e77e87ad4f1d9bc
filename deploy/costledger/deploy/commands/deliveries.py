"""`costledger deliveries list|retry`: what became of alerts on their way to people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from costledger.deploy.console import JsonOption, print_json, print_table
from costledger.deploy.context import command_settings, ledger_connection

_STATES = ("pending", "delivered", "dead", "suppressed")


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="Alerts on their way to people.")
    group.command("list")(list_)
    group.command()(retry)
    app.add_typer(group, name="deliveries", rich_help_panel="Alerts")


def _state_option(text: str) -> str:
    if text not in _STATES:
        raise typer.BadParameter(f"{text!r} must be one of {', '.join(_STATES)}")
    return text


def list_(
    state: Annotated[
        str | None, typer.Option(parser=_state_option, metavar="STATE", help="Only pending, delivered, dead, ...")
    ] = None,
    route: Annotated[UUID | None, typer.Option(metavar="ROUTE", help="Only of this route.")] = None,
    alert: Annotated[UUID | None, typer.Option(metavar="ALERT", help="Only of this alert.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Deliveries at most.")] = 100,
    json: JsonOption = False,
) -> None:
    """List deliveries, the newest first, and count those that wait and that were given up, by channel."""
    from costledger.sinks.notifications.deliveries import delivery_counts, list_deliveries

    with ledger_connection(command_settings(), "deliveries") as connection:
        found = list_deliveries(connection, state=state, route_id=route, alert_id=alert, limit=limit)
        counts = delivery_counts(connection)
    if json:
        by_channel = {channel: {"pending": pending, "dead": dead} for channel, (pending, dead) in counts.items()}
        print_json({"counts": by_channel, "deliveries": [asdict(one) for one in found]})
        return
    if found:
        columns = ("alert", "user", "kind", "channel", "target", "state", "attempts", "next or end", "reason")
        rows = [
            (
                one.alert_id,
                one.user_id,
                one.kind,
                one.channel,
                one.target_shown,
                one.state,
                one.attempts,
                one.next_attempt_at if one.state == "pending" else one.ended_at,
                one.last_error,
            )
            for one in found
        ]
        print_table(columns, rows)
    pending, dead = (sum(one[n] for one in counts.values()) for n in (0, 1))
    print(f"{pending} wait, {dead} were given up (dead)")


def retry(
    alerts: Annotated[list[UUID] | None, typer.Argument(metavar="[ALERT]...", help="From `deliveries list`.")] = None,
    route: Annotated[UUID | None, typer.Option(metavar="ROUTE", help="All that were given up on this route.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    json: JsonOption = False,
) -> None:
    """Try deliveries again that were given up. Those of a removed or disabled route stay as they are.

    The scheduler sends them. Exit code 1 when there was nothing to try again.
    """
    from costledger.sinks.notifications.deliveries import retry_deliveries

    if bool(alerts) + (route is not None) + everything != 1:
        raise typer.BadParameter("give alerts, or --route, or --all")
    with ledger_connection(command_settings(), "deliveries") as connection:
        retried = retry_deliveries(connection, alert_ids=alerts or None, route_id=route)
    if json:
        print_json({"retried": retried})
    else:
        print(f"{retried} deliveries are tried again")
    raise typer.Exit(0 if retried else 1)
