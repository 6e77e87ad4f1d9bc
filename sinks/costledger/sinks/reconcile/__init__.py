"""Prove that topic, ledger, roll-ups and Redis agree, to the last 1e-12 USD."""

from costledger.sinks.reconcile.report import Check, PartitionReport, Report
from costledger.sinks.reconcile.run import reconcile

__all__ = ["Check", "PartitionReport", "Report", "reconcile"]
