"""`costledger routes add|list|remove|enable|test`: where alerts go to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from costledger.deploy.console import JsonOption, print_json, print_table
from costledger.deploy.context import command_settings, ledger_connection, usage_errors

if TYPE_CHECKING:
    from costledger.sinks.notifications.routes import Route

RouteArgument = Annotated[UUID, typer.Argument(metavar="ROUTE", help="From `routes list`.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="Where alerts go: email, Slack, Teams, signed webhooks.")
    group.command()(add)
    group.command("list")(list_)
    group.command()(remove)
    group.command()(enable)
    group.command("test")(try_out)
    app.add_typer(group, name="routes", rich_help_panel="Alerts")


def add(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="email, slack, teams or webhook.")],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="An address; an https URL; for an operator's route also an apprise URL. `-`: read from stdin, which "
            "keeps it out of the process list.",
        ),
    ],
    user: Annotated[
        str | None, typer.Option(help="Only this user's alerts. Default: an operator's route, for all users' alerts.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only this kind, for example HOURLY_SPIKE; may be repeated.")
    ] = None,
    severity: Annotated[str, typer.Option(help="At least this: INFO, WARNING or CRITICAL.")] = "INFO",
    include_ok: Annotated[bool, typer.Option("--include-ok", help="Also when an alarm is over.")] = False,
    json: JsonOption = False,
) -> None:
    """Send alerts that come from now on to a target. Prints the key that signs a webhook's messages, this once."""
    import sys

    from costledger.sinks.notifications.routes import add_route, list_routes, wanted_route

    settings = command_settings()
    with usage_errors():
        wanted = wanted_route(
            settings,
            user_id=user,
            channel=channel,
            target=sys.stdin.readline() if target == "-" else target,
            kinds=kind,
            severity_min=severity,
            include_ok=include_ok,
        )
    with ledger_connection(settings, "routes") as connection:
        with usage_errors():
            added = add_route(connection, wanted)
        (route,) = list_routes(connection, route_id=added.route_id)
    if json:
        print_json({**_document(route), "secret": added.secret})
        return
    whose = "all users' alerts" if user is None else f"alerts of {user}"
    print(f"route {added.route_id}: {whose} by {route.channel} to {route.target_shown}")
    if added.secret is not None:
        print(f"messages are signed with {added.secret} (Standard Webhooks); it is not shown again")
    print(f"try it: costledger routes test {added.route_id}")


def list_(
    user: Annotated[str | None, typer.Option(help="Only this user's routes.")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="Only operators' routes.")] = False,
    json: JsonOption = False,
) -> None:
    """List routes, with what waits and what was given up. Targets are shown without what gives power."""
    from costledger.sinks.notifications.routes import list_routes

    with ledger_connection(command_settings(), "routes") as connection:
        routes = list_routes(connection, owner="operator" if operator else None, user_id=user)
    if json:
        print_json({"routes": [_document(route) for route in routes]})
        return
    if not routes:
        print("no routes: alerts are stored, and nobody is told (see `costledger routes add --help`)")
        return
    columns = ("route", "user", "channel", "target", "kinds", "severity", "state", "pending", "dead")
    rows = [
        (
            route.route_id,
            route.user_id or "(all)",
            route.channel,
            route.target_shown,
            ", ".join(route.kinds or ()),
            route.severity_min,
            _state(route),
            route.pending,
            route.dead,
        )
        for route in routes
    ]
    print_table(columns, rows)


def remove(route_id: RouteArgument, json: JsonOption = False) -> None:
    """Remove a route; what waits for it is not sent. Exit code 1 when there is none."""
    from costledger.sinks.notifications.routes import remove_route

    with ledger_connection(command_settings(), "routes") as connection:
        removed = remove_route(connection, route_id)
    _done(route_id, "removed", removed, json=json)


def enable(route_id: RouteArgument, json: JsonOption = False) -> None:
    """Use a route again that its target has disabled (410 Gone). Exit code 1 when there is none."""
    from costledger.sinks.notifications.routes import enable_route

    with ledger_connection(command_settings(), "routes") as connection:
        enabled = enable_route(connection, route_id)
    _done(route_id, "enabled", enabled, json=json)


def try_out(route_id: RouteArgument, json: JsonOption = False) -> None:
    """Send a test message to a route now, from this process. Exit code 1 when it is not taken, with the reason."""
    from datetime import UTC, datetime

    from costledger.schemas.errors import CostledgerError
    from costledger.sinks.notifications.routes import get_endpoint
    from costledger.sinks.notifications.sending import send, trial_message

    settings = command_settings()
    with ledger_connection(settings, "routes") as connection:
        endpoint = get_endpoint(connection, route_id)
    if endpoint is None:
        raise CostledgerError(f"there is no route {route_id}; `costledger routes list` shows them")
    outcome = send(settings, endpoint, trial_message(), datetime.now(UTC))
    if json:
        print_json({"route_id": route_id, "delivered": outcome.delivered, "reason": outcome.reason})
    elif outcome.delivered:
        print(f"{endpoint.channel} to {endpoint.target_shown}: taken")
    else:
        print(f"{endpoint.channel} to {endpoint.target_shown}: not taken: {outcome.reason}")
    raise typer.Exit(0 if outcome.delivered else 1)


def _done(route_id: UUID, what: str, done: bool, *, json: bool) -> None:
    if json:
        print_json({"route_id": route_id, what: done})
    else:
        print(f"route {route_id} is {what}" if done else f"there is no route {route_id}")
    raise typer.Exit(0 if done else 1)


def _state(route: Route) -> str:
    if not route.enabled:
        return f"disabled: {route.disabled_reason}"
    return f"failing, {route.failures} times in a row" if route.failures else "in use"


def _document(route: Route) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(route)
