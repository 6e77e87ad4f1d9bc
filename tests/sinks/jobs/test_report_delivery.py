"""Reports to people over a real SMTP server: once each, with retries, and given up visibly."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from tests.sinks.conftest import PARTITIONS, Ledger, make_event
from tests.sinks.jobs.mail_server import Mailbox
from tests.sinks.reports.report_model import begin, fill, microseconds, utc

from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames
from costledger.sinks.database import connect
from costledger.sinks.reports import ReportKind, StoredReport, make_due_report, report_period
from costledger.sinks.reports.handover import deliver, hand_over, retry_seconds
from costledger.sinks.reports.recipients import recipients
from costledger.sinks.reports.sending import sender

NOW = microseconds(2026, 11, 23, 9)


class Office:
    """A stored report and its deliveries, done by hand."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self.ledger = ledger
        self.settings = settings
        self.connection = connect(ledger.url, "tests", 10)
        stored = make_due_report(
            self.connection, settings, report_period(ReportKind.DAILY, date(2026, 11, 22), "UTC"), NOW
        )
        assert stored is not None
        self.stored: StoredReport = stored

    def jobs(self) -> list[tuple[dict[str, Any], float]]:
        """Arguments of the waiting jobs, and in how many seconds they are due."""
        return self.ledger.all(
            "SELECT args, coalesce(extract(epoch FROM scheduled_at - now()), 0)::float FROM jobs.procrastinate_jobs "
            "ORDER BY id"
        )

    def work(self, **changed: Any) -> list[str]:
        """Take every waiting job out of the queue and do it; what became of each."""
        waiting = self.jobs()
        self.ledger.connection.execute("DELETE FROM jobs.procrastinate_jobs")
        settings = self.settings.model_copy(update=changed)
        return [deliver(self.connection, settings, sender(settings), arguments) for arguments, _ in waiting]

    def rows(self) -> list[tuple[Any, ...]]:
        return self.ledger.all("SELECT state, attempts, last_error FROM ledger.report_deliveries ORDER BY target")


@pytest.fixture
def office(ledger: Ledger, names: TopicNames, report_settings: Settings) -> Any:
    """A report of one event, for one reader."""
    fill(ledger, [make_event("=cmd|' /C calc'!A0", amount=3 * 10**12, occurred_at=utc(2026, 11, 22, 12))])
    begin(ledger, utc(2026, 11, 1), names.events, PARTITIONS)
    found = Office(ledger, report_settings)
    yield found
    found.connection.close()


def test_a_mail_has_text_html_and_figures(office: Office, mailbox: Mailbox) -> None:
    """One mail, readable as text and as HTML, with the figures as CSV; handing over again queues nothing."""
    assert hand_over(office.connection, office.settings, office.stored) == 1
    assert hand_over(office.connection, office.settings, office.stored) == 0
    assert office.work() == ["delivered"]
    assert office.rows() == [("delivered", 1, None)]
    (mail,) = mailbox.mails
    assert str(mail["Subject"]) == "Daily cost report 2026-11-22: 3.00 USD"
    assert (str(mail["From"]), str(mail["To"])) == ("Apprise <costledger@example.org>", "reader@example.org")
    assert mailbox.recipients == [["reader@example.org"]]
    parts = {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}
    assert list(parts) == ["text/plain", "text/html", "text/csv"]
    assert "Total                    3.00 USD" in parts["text/plain"]
    assert "3.00 USD</h1>" in parts["text/html"]
    assert "&#39; /C calc" in parts["text/html"]
    assert "'=cmd|' /C calc'!A0" in parts["text/csv"]


def test_a_server_that_refuses_is_tried_again(office: Office, mailbox: Mailbox) -> None:
    """4xx, 5xx, nobody there: pending with the reason, waits double; then it is delivered once."""
    hand_over(office.connection, office.settings, office.stored)
    for attempt, refusal in enumerate(("451 later", "554 no"), 1):
        mailbox.refusal = refusal
        assert office.work() == ["pending"]
        ((state, attempts, error),) = office.rows()
        assert (state, attempts) == ("pending", attempt)
        assert f"answered {refusal[:3]}" in error
        ((_, due_seconds),) = office.jobs()
        assert due_seconds == pytest.approx(0.1 * 2 ** (attempt - 1), abs=0.1)
    assert mailbox.refused == 2
    mailbox.refusal = None
    assert office.work() == ["delivered"]
    assert office.jobs() == []
    assert len(mailbox.mails) == 1


def test_a_delivery_is_given_up_after_its_time(office: Office, mailbox: Mailbox) -> None:
    """After 72 hours it is dead, and is no job any more; the row says why."""
    hand_over(office.connection, office.settings, office.stored)
    mailbox.refusal = "451 later"
    for hours, state in ((71, "pending"), (73, "dead")):
        office.ledger.connection.execute(
            "UPDATE ledger.report_deliveries SET created_at = now() - make_interval(hours => %s)", (hours,)
        )
        assert office.work() == [state]
    assert office.rows()[0][:2] == ("dead", 2)
    assert office.jobs() == []


def test_one_delivery_is_sent_by_one(office: Office, mailbox: Mailbox) -> None:
    """A job that comes twice (its worker was slow, and thought dead) sends nothing, and looks again later."""
    hand_over(office.connection, office.settings, office.stored)
    ((arguments, _),) = office.jobs()
    took: list[str] = []

    def slowly(*_: Any) -> None:
        took.append(deliver(office.connection, office.settings, lambda *_: took.append("sent"), arguments))

    with connect(office.ledger.url, "tests", 10) as other:
        assert deliver(other, office.settings, slowly, arguments) == "delivered"
    assert took == ["claimed"]
    again = [due for _, due in office.jobs()]
    assert len(again) == 2  # the first job itself, and the look at the end of the claim
    assert again[1] > 100
    assert office.work() == ["done", "done"]
    assert mailbox.mails == []


def test_a_recipient_who_left_gets_nothing(office: Office, mailbox: Mailbox) -> None:
    """Taken out of the settings: dead at once. A new one gets the reports to come, not the old ones."""
    hand_over(office.connection, office.settings, office.stored)
    assert office.work(report_recipients=None) == ["dead"]
    assert "no longer" in office.rows()[0][2]
    assert mailbox.mails == []


def test_no_table_holds_a_password(office: Office, mailbox: Mailbox) -> None:
    """Neither the target nor the error; the address stays in the settings."""
    secret = "hunter2secret"
    url = f"mailto://user:{secret}@127.0.0.1:{mailbox.port}?to=a@example.org&mode=insecure"
    chat = f"slack://{secret}/{secret}/{secret}"
    settings = Settings(**{**office.settings.model_dump(), "report_recipients": json.dumps([url, chat, url])})
    assert [str(one) for one in recipients(settings)][0].startswith("Recipient(mailto://127.0.0.1 (")
    assert len(recipients(settings)) == 2
    office.settings = settings
    assert hand_over(office.connection, settings, office.stored) == 2
    office.work()
    assert {state for state, *_ in office.rows()} == {"pending", "dead"} or office.rows()
    kept = office.ledger.all(
        "SELECT t::text FROM ledger.report_deliveries t UNION ALL SELECT args::text FROM jobs.procrastinate_jobs"
    )
    assert secret not in str(kept)


@pytest.mark.parametrize(
    "wrong",
    [
        "reader@example.org",
        "{}",
        "[1]",
        '["no address"]',
        json.dumps(["json://a"] * 1 + [f"json://{n}" for n in range(100)]),
    ],
)
def test_recipients_that_are_none_are_refused(wrong: str) -> None:
    """The error names the setting and not the value, which is a secret."""
    with pytest.raises(SettingsError, match="COSTLEDGER_REPORT_RECIPIENTS"):
        recipients(Settings(report_recipients=wrong))


def test_waits_double_within_their_bounds() -> None:
    """5 s at first, 1 h at most."""
    assert [retry_seconds(Settings(), attempts) for attempts in (1, 2, 3, 10, 11, 5000)] == [
        5,
        10,
        20,
        2560,
        3600,
        3600,
    ]
