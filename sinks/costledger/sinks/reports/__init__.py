"""Daily reports and weekly analyses: figures from the ledger, stored once, rendered for people and machines."""

from costledger.sinks.reports.content import Report
from costledger.sinks.reports.making import get_report, make_due_report, read_stored
from costledger.sinks.reports.periods import ReportKind, ReportPeriod, Schedule, report_period
from costledger.sinks.reports.store import StoredReport, list_reports

__all__ = [
    "Report",
    "ReportKind",
    "ReportPeriod",
    "Schedule",
    "StoredReport",
    "get_report",
    "list_reports",
    "make_due_report",
    "read_stored",
    "report_period",
]
