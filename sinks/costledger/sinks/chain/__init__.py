"""Tamper evidence: entries sealed in a chain of hashes, and the proof that none was changed, removed or added since."""

from costledger.sinks.chain.report import ChainReport, Finding, VerifyReport
from costledger.sinks.chain.sealing import seal
from costledger.sinks.chain.verifying import verify

__all__ = ["ChainReport", "Finding", "VerifyReport", "seal", "verify"]
