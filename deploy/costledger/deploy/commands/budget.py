"""`costledger budget get|set|delete`: what a user may spend in a month."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costledger.deploy.console import JsonOption, print_json, say
from costledger.deploy.context import UserArgument, command_settings, decimal_option, ledger_connection, usage_errors

if TYPE_CHECKING:
    from costledger.schemas.budgets import Budget
    from costledger.schemas.settings import Settings
    from costledger.sinks.database import Connection


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="Monthly budgets, USD, by user.")
    group.command("get")(get)
    group.command("set")(set_)
    group.command()(delete)
    app.add_typer(group, name="budget", rich_help_panel="Prices and budgets")


def get(user: UserArgument, json: JsonOption = False) -> None:
    """Show a user's budget; what was never set is the default of the tier."""
    from costledger.schemas.budgets import Budget
    from costledger.sinks.budgets import get_budget

    settings = command_settings()
    with ledger_connection(settings, "budget") as connection:
        found = get_budget(connection, user)
    with usage_errors():
        budget = found or Budget(user_id=user)
    _show(settings, budget, json=json)


def set_(
    user: UserArgument,
    monthly: Annotated[
        Decimal | None,
        typer.Option(parser=decimal_option, metavar="USD", help="Monthly budget, 0 to 10000 USD."),
    ] = None,
    threshold: Annotated[
        list[Decimal] | None,
        typer.Option(
            parser=decimal_option, metavar="PERCENT", help="Alert when so much of it is used; may be given 16 times."
        ),
    ] = None,
    tier: Annotated[str | None, typer.Option(help="Subscription tier, for example free, premium, ultimate.")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="IANA name; hours, days and months are the user's. For example Europe/Vienna.")
    ] = None,
    hourly_spike_limit: Annotated[
        Decimal | None,
        typer.Option(parser=decimal_option, metavar="USD", help="More within an hour is a spike, 0 to 10000 USD."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Set a user's budget; what is not given stays as it is. At first: the tier's default, 75, 90, 100 %, UTC, 20 USD.

    The budget is written to PostgreSQL as a new version and brought to Kafka at once; when Kafka is away the
    notifier does so later. Alerts then follow the new version, also for the running month.
    """
    from costledger.schemas.budgets import Budget, parse_monthly, parse_thresholds
    from costledger.sinks.budgets import get_budget, save_budget

    changes: dict[str, Any] = {}
    settings = command_settings()
    with usage_errors():
        if monthly is not None:
            changes["monthly_budget"] = parse_monthly(monthly)
        if threshold:
            changes["alert_thresholds"] = parse_thresholds(threshold, settings.threshold_percent_max)
        if tier is not None:
            changes["tier"] = tier
        if time_zone is not None:
            changes["time_zone"] = time_zone
        if hourly_spike_limit is not None:
            changes["hourly_spike_limit"] = parse_monthly(hourly_spike_limit, "hourly_spike_limit")
        if not changes:
            raise typer.BadParameter("nothing to set: give --monthly, --threshold, --tier, --time-zone, ...")
        Budget(user_id=user, **changes)  # refuses what is out of bounds before anything is connected
    with ledger_connection(settings, "budget") as connection:
        with usage_errors():
            wanted = replace(get_budget(connection, user) or Budget(user_id=user), **changes)
        saved = save_budget(connection, wanted)
        delivered = _relay(settings, connection)
    _show(settings, saved, json=json, delivered=delivered)


def delete(user: UserArgument, json: JsonOption = False) -> None:
    """Delete a user's budget: the defaults apply again. Exit code 1 when there is none."""
    from costledger.sinks.budgets import delete_budget

    settings = command_settings()
    with ledger_connection(settings, "budget") as connection:
        deleted = delete_budget(connection, user)
        delivered = deleted and _relay(settings, connection)
    if json:
        print_json({"user_id": user, "deleted": deleted, "delivered": delivered})
    else:
        print(f"the budget of {user} is deleted" if deleted else f"{user} has no budget of their own")
    raise typer.Exit(0 if deleted else 1)


def _relay(settings: Settings, connection: Connection) -> bool:
    """Bring waiting budgets to Kafka now; False (and a line on stderr) when that has to wait."""
    from costledger.deploy.failures import explain
    from costledger.deploy.publishing import require_topic
    from costledger.schemas.errors import Unavailable
    from costledger.sinks.budgets import relay_budgets
    from costledger.sinks.delivery import Deliverer

    deliverer = Deliverer(settings, "costledger-cli")
    try:
        require_topic(settings, settings.topics.budgets)
        relay_budgets(connection, deliverer, settings.topics.budgets)
    except Unavailable as error:
        say(f"saved; the notifier will bring it to Kafka later: {explain(error)}")
        return False
    finally:
        deliverer.close()
    return True


def _show(settings: Settings, budget: Budget, *, json: bool, delivered: bool | None = None) -> None:
    from costledger.schemas.money import usd_text
    from costledger.schemas.times import rfc3339

    limits = budget.limits(settings.budget_defaults())
    document: dict[str, Any] = {
        "user_id": budget.user_id,
        "version": budget.version,
        "tier": budget.tier,
        "monthly_budget": usd_text(limits.monthly),
        "alert_thresholds": [f"{percent:f}" for percent, _ in limits.thresholds],
        "currency": budget.currency,
        "time_zone": budget.time_zone,
        "hourly_spike_limit": usd_text(limits.hourly_spike),
        "updated_at": rfc3339(budget.updated_at) if budget.version else None,
    }
    if delivered is not None:
        document["delivered"] = delivered
    if json:
        print_json(document)
        return
    print(f"{budget.user_id}: {document['monthly_budget']} USD a month (tier {budget.tier}, version {budget.version})")
    print(f"alerts at {', '.join(document['alert_thresholds'])} %; months in {budget.time_zone}")
    print(f"a spike is more than {document['hourly_spike_limit']} USD within an hour")
