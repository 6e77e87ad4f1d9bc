"""A generic stage runtime: batches in, keyed state and outputs out, offsets committed last.

See README.md in this folder for what it owns, its invariants and what it does not guarantee.
"""

from costledger.streams.transport.config import StageConfig
from costledger.streams.transport.records import (
    Batch,
    Change,
    Flush,
    Handler,
    Health,
    Output,
    PartitionStats,
    StateRecord,
)
from costledger.streams.transport.stage import Stage
from costledger.streams.transport.table import changelog_topic

__all__ = [
    "Batch",
    "Change",
    "Flush",
    "Handler",
    "Health",
    "Output",
    "PartitionStats",
    "Stage",
    "StageConfig",
    "StateRecord",
    "changelog_topic",
]
