"""LiteLLM's map of model prices -> a price file: exact, complete about what it leaves out, pure.

The map (`model_prices_and_context_window.json`) is one JSON object: model -> fields, among them `litellm_provider`,
`mode` and prices in USD, most of them for one token. Those in `FIELDS` have an operation here.
Everything else that looks like a price is listed as left out, with the reason. A price that would be wrong for some
requests, because it depends on their length, hour or kind of token, is left out too: unpriced can be put right later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from costledger.producers.prices import litellm_names as names
from costledger.producers.prices.entries import ENTRIES_MAX, VERSION_CHARACTERS_MAX
from costledger.producers.prices.formats import parse_json
from costledger.producers.prices.rates import decimal_text
from costledger.producers.prices.writing import Row
from costledger.schemas.errors import PriceError, shown
from costledger.schemas.events import NAME_CHARACTERS_MAX

#: A map ten times as large as any published one.
MAP_BYTES_MAX: Final = 64 * 1024 * 1024
#: Ten times the dearest model there is; a price for a million tokens written as that of one is above it.
USD_PER_TOKEN_MAX: Final = Decimal("0.01")
#: A price of one token in a file of ours is given for a million, as providers print it.
TOKENS_PER_PRICE: Final = 1_000_000
_DECIMALS_MAX: Final = 24
_SOURCE: Final = "LiteLLM model prices, SHA-256 {sha256}, {key}"
#: The example that documents the format, in the map itself.
_SAMPLE: Final = "sample_spec"


@dataclass(frozen=True, slots=True, order=True)
class LeftOut:
    """What was not imported: a field of a model, or (field "") the whole model, and why."""

    model: str
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class PriceMapOptions:
    """What to import. `providers` are LiteLLM's names, empty for all; `services` names a provider otherwise here.

    A price of 0 is free only where `zero_is_free`: maps write it for what nobody knows as well.
    """

    effective_from: date
    version: str | None = None
    providers: frozenset[str] = frozenset()
    services: Mapping[str, str] = field(default_factory=dict)
    zero_is_free: bool = False


@dataclass(frozen=True, slots=True)
class ImportedPrices:
    """The rows of a price file, by service, model and operation, and what was left out, by model and field."""

    version: str
    sha256: str
    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    models: int
    models_imported: int

    def left_out_by_reason(self) -> dict[str, int]:
        """Reason -> how often, the most frequent first."""
        counts: dict[str, int] = {}
        for each in self.left_out:
            counts[each.reason] = counts.get(each.reason, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True)
class _Price:
    """One price found: where it goes, USD for one token, and the key of the map that it comes from."""

    service: str
    model: str
    operation: str
    usd_per_token: Decimal
    key: str


def read_litellm(data: bytes, options: PriceMapOptions) -> ImportedPrices:
    """Convert a map; raises `PriceError` naming model, field, value and limit where a price cannot be one.

    Models of other providers than those asked for are neither imported nor listed as left out. A provider that the
    map does not have is an error, and so is a map of which nothing can be imported.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    version = options.version or f"litellm-{sha256[:12]}"
    if len(version) > VERSION_CHARACTERS_MAX or not version.isprintable():
        raise PriceError(
            f"version is {shown(version)}; it must be printable, at most {VERSION_CHARACTERS_MAX} characters"
        )
    table = _models(data)
    _refuse_unknown_providers(table, options)
    prices: list[_Price] = []
    left_out: list[LeftOut] = []
    models = 0
    for key, fields in sorted(table.items()):
        provider = fields.get("litellm_provider")
        if key == _SAMPLE or (options.providers and provider not in options.providers):
            continue
        models += 1
        for found in _of_model(key, fields, options):
            if isinstance(found, LeftOut):
                left_out.append(found)
            else:
                prices.append(found)
    kept, disputed = _without_disputes(prices)
    if not 0 < len(kept) <= ENTRIES_MAX:
        raise PriceError(
            f"{len(kept)} prices can be imported; it must be from 1 to {ENTRIES_MAX} (ask for some providers alone?)"
        )
    rows = [_row(price, sha256, options.effective_from) for price in kept]
    return ImportedPrices(
        version=version,
        sha256=sha256,
        rows=tuple(rows),
        left_out=tuple(sorted([*left_out, *disputed])),
        models=models,
        models_imported=len({(price.service, price.model) for price in kept}),
    )


def _models(data: bytes) -> dict[str, dict[str, Any]]:
    if len(data) > MAP_BYTES_MAX:
        raise PriceError(f"the price map has {len(data)} bytes; it must have at most {MAP_BYTES_MAX}")
    try:
        table = parse_json(data.decode("utf-8"), parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise PriceError(f"the price map cannot be read as JSON: {error}") from error
    if not isinstance(table, dict):
        raise PriceError(f"the price map is of type {type(table).__name__}; it must be an object: model -> fields")
    for key, fields in table.items():
        if not isinstance(fields, dict):
            raise PriceError(f"{shown(key)} is {shown(fields)}; it must be an object with the fields of a model")
    return table


def _refuse_unknown_providers(table: Mapping[str, Mapping[str, Any]], options: PriceMapOptions) -> None:
    known = {fields.get("litellm_provider") for key, fields in table.items() if key != _SAMPLE}
    for provider in sorted({*options.providers, *options.services} - known):
        names_known = ", ".join(sorted(name for name in known if isinstance(name, str)))
        raise PriceError(f"provider is {shown(provider)}; it must be one of the map's: {names_known}")


def _of_model(key: str, fields: Mapping[str, Any], options: PriceMapOptions) -> Iterator[_Price | LeftOut]:
    """The prices of one model, and what of it is left out."""
    reason = names.why_not(fields)
    if reason is not None:
        yield LeftOut(key, "", reason)
        return
    provider = fields["litellm_provider"]
    service = options.services.get(provider) or names.service_of(provider)
    model = names.model_of(key, provider)
    embedding = fields["mode"] == names.EMBEDDING
    for name in sorted(filter(names.is_price, fields)):
        operation = names.operation_of(name, model, embedding=embedding)
        if operation is None:
            yield LeftOut(key, name, names.reason_for(name, embedding=embedding))
        elif (why := names.why_not_flat(name, fields)) is not None:
            yield LeftOut(key, name, why)
        elif fields[name] is None:
            yield LeftOut(key, name, "no price given (null)")
        else:
            usd = _usd_per_token(key, name, fields[name])
            if not usd and not options.zero_is_free:
                yield LeftOut(key, name, "a price of 0 may be free or unknown")
            elif not _fits(service, model, operation):
                yield LeftOut(key, name, f"names must be printable and have at most {NAME_CHARACTERS_MAX} characters")
            else:
                yield _Price(service, model, operation, usd, key)


def _usd_per_token(key: str, name: str, value: object) -> Decimal:
    limit = f"a number from 0 to {USD_PER_TOKEN_MAX} USD per token with at most {_DECIMALS_MAX} decimals"
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise PriceError(f"{key}: {name} is {shown(value)}; it must be {limit}")
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    decimals = -exponent if isinstance(exponent, int) else _DECIMALS_MAX + 1
    if not 0 <= number <= USD_PER_TOKEN_MAX or decimals > _DECIMALS_MAX:
        raise PriceError(f"{key}: {name} is {shown(value)}; it must be {limit}")
    return number


def _fits(service: str, model: str, operation: str) -> bool:
    return all(0 < len(text) <= NAME_CHARACTERS_MAX and text.isprintable() for text in (service, model, operation))


def _without_disputes(prices: list[_Price]) -> tuple[list[_Price], list[LeftOut]]:
    """One price for each service, model and operation; where keys of the map disagree, none of theirs."""
    by_target: dict[tuple[str, str, str], list[_Price]] = {}
    for price in prices:
        by_target.setdefault((price.service, price.model, price.operation), []).append(price)
    kept, disputed = [], []
    for _, same in sorted(by_target.items()):
        if len({price.usd_per_token for price in same}) == 1:
            kept.append(same[0])
        else:
            disputed += [LeftOut(price.key, price.operation, "keys of the same model disagree") for price in same]
    return kept, disputed


def _row(price: _Price, sha256: str, effective_from: date) -> Row:
    per_million = decimal_text(Fraction(price.usd_per_token) * TOKENS_PER_PRICE)
    if per_million is None:  # a decimal times a million is one; decimals are bounded above
        raise PriceError(f"{price.key}: {price.usd_per_token} USD per token has no end as a decimal")
    # An embedding's operation names its model; what it costs does not depend on the metadata.
    model = {} if price.operation == names.embedding_operation(price.model) else {"model": price.model}
    return {
        "service": price.service,
        "operations": [price.operation],
        **model,
        "unit": "token",
        "price": per_million,
        "per": TOKENS_PER_PRICE,
        "effective_from": effective_from.isoformat(),
        "source": _SOURCE.format(sha256=sha256, key=json.dumps(price.key, ensure_ascii=False)),
    }
