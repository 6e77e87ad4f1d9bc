"""Events on the local disk until Kafka has them: crash-safe, bounded, shared by any number of processes."""

from __future__ import annotations

from costledger.producers.spool.directory import default_directory
from costledger.producers.spool.options import SpoolOptions, spool_options
from costledger.producers.spool.spool import Spool

__all__ = ["Spool", "SpoolOptions", "default_directory", "spool_options"]
