"""Prices: which were in force when, what an event costs, and how the price book is shown and checked."""

from costledger.producers.prices.book import Charge, PriceBook
from costledger.producers.prices.entries import PriceEntry
from costledger.producers.prices.findings import Finding
from costledger.producers.prices.listing import PriceRow, check_prices, list_prices, show_price
from costledger.producers.prices.rates import Priced

__all__ = [
    "Charge",
    "Finding",
    "PriceBook",
    "PriceEntry",
    "PriceRow",
    "Priced",
    "check_prices",
    "list_prices",
    "show_price",
]
