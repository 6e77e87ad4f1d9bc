"""Enforcement: decisions before paid work runs, and reservations that concurrent jobs cannot break."""

from costledger.producers.guard.decisions import BudgetGuard, Decision, Reservation, Shares, Verdict, decide

__all__ = ["BudgetGuard", "Decision", "Reservation", "Shares", "Verdict", "decide"]
