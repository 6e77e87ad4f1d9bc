"""Reports have a ledger each, copied from a migrated one."""

from tests.sinks.migrated import ledger, migrated

__all__ = ["ledger", "migrated"]
