"""Before work runs: estimates, decisions, reservations and the prices that they rest on."""

from costledger.api.decisions.desk import CurrentDesk, Desk, opened_desk

__all__ = ["CurrentDesk", "Desk", "opened_desk"]
