"""The SDK that services import: the tracker, the price book and the importers."""

from costledger.producers.counters import Stats
from costledger.producers.errors import EventDropped
from costledger.producers.prices import PriceBook, Priced
from costledger.producers.tracker import CostTracker

__all__ = ["CostTracker", "EventDropped", "PriceBook", "Priced", "Stats"]
