"""`costledger quarantine list|show|replay`: messages that could not become ledger entries."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costledger.deploy.console import JsonOption, print_json, print_table
from costledger.deploy.context import command_settings, ledger_connection

if TYPE_CHECKING:
    from costledger.schemas.settings import Settings
    from costledger.sinks.quarantine import Quarantined


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="Messages that could not become ledger entries.")
    group.command("list")(list_)
    group.command()(show)
    group.command()(replay)
    app.add_typer(group, name="quarantine", rich_help_panel="Ledger")


def list_(
    reason: Annotated[str | None, typer.Option(help="Only of this reason, for example undecodable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Messages at most.")] = 100,
    after: Annotated[int, typer.Option(min=0, help="Only with an id above this: for the next page.")] = 0,
    include_replayed: Annotated[
        bool, typer.Option("--include-replayed", help="Also those that were replayed.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List quarantined messages, the oldest first, and count those that wait, by reason."""
    from costledger.sinks.quarantine import count_quarantined, list_quarantined

    with ledger_connection(command_settings(), "quarantine") as connection:
        waiting = count_quarantined(connection)
        messages = list_quarantined(
            connection, reason=reason, after_id=after, limit=limit, include_replayed=include_replayed
        )
    if json:
        print_json({"waiting": waiting, "messages": [_document(message) for message in messages]})
        return
    if messages:
        columns = ("id", "topic", "partition", "offset", "reason", "error", "quarantined at", "replayed at")
        rows = [
            (m.id, m.topic, m.partition, m.offset, m.reason, m.error, m.quarantined_at, m.replayed_at) for m in messages
        ]
        print_table(columns, rows)
    counts = ", ".join(f"{count} {name}" for name, count in waiting.items())
    print(f"waiting for a fix: {counts or 'none'}")


def show(
    message_id: Annotated[int, typer.Argument(metavar="ID", help="From `quarantine list`.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Show one message: why it was refused, its bytes, and the event in it as far as it can be read."""
    from costledger.schemas.errors import CostledgerError
    from costledger.sinks.quarantine import get_quarantined

    settings = command_settings()
    with ledger_connection(settings, "quarantine") as connection:
        message = get_quarantined(connection, message_id)
    if message is None:
        raise CostledgerError(f"no message {message_id} is in quarantine; `costledger quarantine list` shows the ids")
    document = _document(message) | {"event": _readable(settings, message.payload)}
    if json:
        print_json(document)
        return
    for name, value in document.items():
        print(f"{name:<17} {'' if value is None else value}")


def replay(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="From `quarantine list`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that wait, instead of ids.")] = False,
    reason: Annotated[str | None, typer.Option(help="All that wait with this reason, instead of ids.")] = None,
    json: JsonOption = False,
) -> None:
    """Publish messages once more to the topic they came from, after what refused them was mended.

    Each is replayed once; one that is refused again becomes a new message in quarantine.
    """
    from costledger.sinks.delivery import Deliverer
    from costledger.sinks.quarantine import replay_quarantined

    if bool(ids) + everything + (reason is not None) != 1:
        raise typer.BadParameter("give ids, or --all, or --reason")
    settings = command_settings()
    deliverer = Deliverer(settings, "costledger-cli")
    try:
        with ledger_connection(settings, "quarantine") as connection:
            wanted = ids or _waiting_ids(connection, reason)
            replayed = replay_quarantined(connection, deliverer, wanted)
    finally:
        deliverer.close()
    if json:
        print_json({"replayed": replayed, "asked": len(wanted)})
    else:
        print(f"{replayed} of {len(wanted)} messages replayed")
        if replayed < len(set(wanted)):
            print("the others were replayed before or do not exist: see `quarantine list --include-replayed`")
    raise typer.Exit(0 if replayed == len(set(wanted)) else 1)


def _waiting_ids(connection: Any, reason: str | None) -> list[int]:
    from costledger.sinks.quarantine import LIST_MAX, list_quarantined

    found: list[int] = []
    while page := list_quarantined(connection, reason=reason, after_id=found[-1] if found else 0, limit=LIST_MAX):
        found += [message.id for message in page]
    return found


def _document(message: Quarantined) -> dict[str, Any]:
    return {
        "id": message.id,
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "reason": message.reason,
        "error": message.error,
        "key": None if message.key is None else message.key.decode(errors="replace"),
        "payload_base64": None if message.payload is None else base64.b64encode(message.payload).decode(),
        "received_at": message.received_at,
        "quarantined_at": message.quarantined_at,
        "replayed_at": message.replayed_at,
        "dead_lettered_at": message.dead_lettered_at,
    }


def _readable(settings: Settings, payload: bytes | None) -> dict[str, Any] | None:
    """The event's fields, where the bytes are an event at all, and the registry that knows its schema can be asked."""
    from costledger.schemas.codec import decode_event
    from costledger.schemas.errors import DecodeError, Unavailable
    from costledger.schemas.registry import use_registry

    try:
        use_registry(settings)
        return decode_event(payload or b"")
    except (DecodeError, Unavailable):
        return None
