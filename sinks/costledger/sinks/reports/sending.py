"""A report as a message to people, sent the way alerts are."""

from __future__ import annotations

from datetime import UTC, datetime

from costledger.schemas.errors import CostledgerError
from costledger.schemas.ids import derived_alert_id
from costledger.schemas.settings import Settings
from costledger.sinks.notifications.messages import Message
from costledger.sinks.notifications.outcome import Outcome
from costledger.sinks.notifications.sending import send
from costledger.sinks.reports.recipients import Recipient
from costledger.sinks.reports.rendering import render, subject
from costledger.sinks.reports.store import StoredReport


def report_message(recipient: Recipient, stored: StoredReport) -> Message:
    """The message of a report. Its id is the same in every attempt, so that a repeat can be told."""
    period = stored.report.period
    parts = (period.kind.value, str(period.start_us), str(stored.revision), recipient.fingerprint.hex())
    return Message(
        derived_alert_id("report", *parts),
        subject(stored),
        render(stored, "text"),
        render(stored, "html"),
        stored.document(),
    )


def send_report(settings: Settings, recipient: Recipient, stored: StoredReport) -> Outcome:
    """Try once to send, within the time limits of the settings; what goes wrong is the outcome."""
    try:
        return send(settings, recipient, report_message(recipient, stored), datetime.now(UTC))
    except CostledgerError as error:  # a setting is missing: it may be there at the next attempt
        return Outcome.failed(str(error))
