"""Enforcement: decisions before paid work runs, and reservations that concurrent jobs cannot break."""

from costledger.producers.guard.asking import SpendSource
from costledger.producers.guard.budgets import BudgetSource
from costledger.producers.guard.decisions import BudgetGuard, Decision, Reservation, Shares, Verdict, decide
from costledger.producers.guard.redis_guard import RedisGuard
from costledger.producers.guard.scripts import Standing

__all__ = [
    "BudgetGuard",
    "BudgetSource",
    "Decision",
    "RedisGuard",
    "Reservation",
    "Shares",
    "SpendSource",
    "Standing",
    "Verdict",
    "decide",
]
