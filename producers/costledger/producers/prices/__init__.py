"""Prices: which were in force when, what an event costs, and how the price book is shown and checked."""

from costledger.producers.prices.book import Charge, PriceBook
from costledger.producers.prices.entries import PriceEntry
from costledger.producers.prices.finding import Finding, PriceFileError
from costledger.producers.prices.formats import price_file_schema
from costledger.producers.prices.listing import PriceRow, check_prices, list_prices, show_price
from costledger.producers.prices.rates import Priced
from costledger.producers.prices.snapshot import Snapshot, installed_snapshot

__all__ = [
    "Charge",
    "Finding",
    "PriceBook",
    "PriceEntry",
    "PriceFileError",
    "PriceRow",
    "Priced",
    "Snapshot",
    "check_prices",
    "installed_snapshot",
    "list_prices",
    "price_file_schema",
    "show_price",
]
