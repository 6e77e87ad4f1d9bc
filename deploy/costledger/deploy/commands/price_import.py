"""`costledger prices import litellm`: a provider price map becomes a price file."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from costledger.deploy.console import JsonOption, print_json, say
from costledger.deploy.context import command_settings, day_option

if TYPE_CHECKING:
    from costledger.producers.prices.litellm import ImportedPrices, LeftOut, PriceMapOptions

#: Models named after each reason in the text for people; `--json` has them all.
_EXAMPLES_MAX: Final = 3


def register(group: typer.Typer) -> None:
    """Add the commands to `costledger prices`."""
    imports = typer.Typer(no_args_is_help=True, help="Make a price file from a map of prices that others keep.")
    # Typer makes a group of its own only where there is more than one command, or a callback.
    imports.callback()(_imports)
    imports.command()(litellm)
    group.add_typer(imports, name="import")


def _imports() -> None:
    """Make a price file from a map of prices that others keep."""


def litellm(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="LiteLLM's model_prices_and_context_window.json.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="The price file to write: .toml, or .json.")
    ],
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", help="Import these of LiteLLM's providers alone. Default: all.", show_default=False),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(
            "--service",
            metavar="PROVIDER=SERVICE",
            help="The service of events that a provider's prices are for, where it is not the usual one.",
            show_default=False,
        ),
    ] = None,
    effective_from: Annotated[
        date | None,
        typer.Option(
            parser=day_option, metavar="DAY", help="First UTC day of the prices. Default: today.", show_default=False
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Version of the price file. Default: litellm- and the map's hash.", show_default=False),
    ] = None,
    zero_is_free: Annotated[
        bool, typer.Option("--zero-is-free", help="Import prices of 0; without this they count as unknown.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file if there is one.")] = False,
    json: JsonOption = False,
) -> None:
    """Convert LiteLLM's price map to a price file, exactly, and list what has no place in one.

    Prices are USD per token, given for a million. Imported are those of tokens of all kinds that events
    count apart, also of the service tiers flex and priority, and of embeddings. The output is laid over the shipped prices with COSTLEDGER_PRICE_FILES.
    """
    from costledger.producers.prices.litellm import PriceMapOptions

    if output.exists() and not force:
        raise typer.BadParameter(f"{output} is there already; --force replaces it", param_hint="--output")
    options = PriceMapOptions(
        effective_from=effective_from or datetime.now(UTC).date(),
        version=version,
        providers=frozenset(provider or ()),
        services=dict(_pair(text) for text in service or ()),
        zero_is_free=zero_is_free,
    )
    _import(file, output, options, json)


def _import(file: Path, output: Path, options: PriceMapOptions, json: bool) -> None:
    """Read, convert, write, and check what was written as it would be used."""
    from costledger.producers.prices import check_prices
    from costledger.producers.prices.litellm import read_litellm
    from costledger.producers.prices.writing import price_file_text

    settings = command_settings()
    imported = read_litellm(file.read_bytes(), options)
    text = price_file_text(output.name, imported.version, imported.rows, _comments(imported))
    output.write_text(text, encoding="utf-8")
    others = [path for path in settings.price_files if Path(path).resolve() != output.resolve()]
    findings = check_prices([*others, output])
    if json:
        document = {
            "output": output,
            "version": imported.version,
            "sha256": imported.sha256,
            "models": imported.models,
            "models_imported": imported.models_imported,
            "prices": len(imported.rows),
            "left_out": imported.left_out,
            "findings": findings,
        }
        print_json(document)
    else:
        _print(imported, output)
        for finding in findings:
            print(f"{finding.severity}: {finding}")
    if any(finding.severity == "error" for finding in findings):
        say(f"costledger: {output} cannot be used as it is")
        raise typer.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    provider, equals, service = text.partition("=")
    if not equals or not provider or not service:
        raise typer.BadParameter(f"{text!r} must be PROVIDER=SERVICE", param_hint="--service")
    return provider, service


def _comments(imported: ImportedPrices) -> list[str]:
    return [
        f"Imported from LiteLLM's price map, SHA-256 {imported.sha256}",
        f"{len(imported.rows)} prices of {imported.models_imported} models. Left out:",
        *(f"  {count} x {reason}" for reason, count in imported.left_out_by_reason().items()),
    ]


def _print(imported: ImportedPrices, output: Path) -> None:
    print(f"{output}: {len(imported.rows)} prices of {imported.models_imported} of {imported.models} models")
    by_reason: dict[str, list[LeftOut]] = {}
    for each in imported.left_out:
        by_reason.setdefault(each.reason, []).append(each)
    for reason, count in imported.left_out_by_reason().items():
        shown = by_reason[reason][:_EXAMPLES_MAX]
        examples = ", ".join(f"{each.model} {each.field}".strip() for each in shown)
        print(f"left out {count} x {reason}: {examples}{', ...' if count > len(shown) else ''}")
