"""Reports to people over a real SMTP server: once each, with retries, and given up visibly."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import date
from typing import Any

import pytest
from pydantic import SecretStr
from tests.sinks.conftest import PARTITIONS, Ledger, make_event
from tests.sinks.jobs.mail_server import Mailbox
from tests.sinks.reports.report_model import begin, fill, microseconds, utc

from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames
from costledger.sinks.database import connect
from costledger.sinks.notifications.outcome import Outcome
from costledger.sinks.patience import PatientConnection
from costledger.sinks.reports import ReportKind, StoredReport, make_due_report, report_period
from costledger.sinks.reports.handover import deliver, hand_over, wake_lost
from costledger.sinks.reports.recipients import recipients
from costledger.sinks.reports.sending import send_report

NOW = microseconds(2026, 11, 23, 9)


class Office:
    """A stored report and its deliveries, done by hand."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self.ledger = ledger
        self.settings = settings
        self.connection = connect(ledger.url, "tests", 10)
        self.patient = PatientConnection(lambda: connect(ledger.url, "tests deliver", 10))
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
        return [deliver(self.patient, settings, send_report, arguments) for arguments, _ in waiting]

    def rows(self) -> list[tuple[Any, ...]]:
        return self.ledger.all("SELECT state, attempts, last_error FROM ledger.report_deliveries ORDER BY target")


@pytest.fixture
def office(ledger: Ledger, names: TopicNames, report_settings: Settings) -> Any:
    """A report of one event, for one reader."""
    fill(ledger, [make_event("<b>bold", amount=3 * 10**12, occurred_at=utc(2026, 11, 22, 12))])
    begin(ledger, utc(2026, 11, 1), names.events, PARTITIONS)
    found = Office(ledger, report_settings)
    yield found
    found.patient.close()
    found.connection.close()


def test_a_mail_has_text_html_and_figures(office: Office, mailbox: Mailbox) -> None:
    """One mail, readable as text and as HTML, whatever users are called; handing over again queues nothing."""
    assert hand_over(office.connection, office.settings, office.stored) == 1
    assert hand_over(office.connection, office.settings, office.stored) == 0
    assert office.work() == ["delivered"]
    assert office.rows() == [("delivered", 1, None)]
    (mail,) = mailbox.mails
    assert str(mail["Subject"]) == "Daily cost report 2026-11-22: 3.00 USD"
    assert (str(mail["From"]), str(mail["To"])) == ("costledger <costledger@example.org>", "reader@example.org")
    assert mailbox.recipients == [["reader@example.org"]]
    parts = {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}
    assert list(parts) == ["text/plain", "text/html"]
    assert "Total                    3.00 USD" in parts["text/plain"]
    assert "3.00 USD</h1>" in parts["text/html"]
    assert "&lt;b&gt;bold" in parts["text/html"]


def test_a_server_that_refuses_is_tried_again(office: Office, mailbox: Mailbox) -> None:
    """4xx, 5xx, nobody there: pending with the reason, waits double; then it is delivered once."""
    hand_over(office.connection, office.settings, office.stored)
    for attempt, refusal in enumerate(("451 later", "554 no"), 1):
        mailbox.refusal = refusal
        assert office.work() == ["pending"]
        ((state, attempts, error),) = office.rows()
        assert (state, attempts) == ("pending", attempt)
        assert error
        ((_, due_seconds),) = office.jobs()
        assert 0.1 * 2 ** (attempt - 1) - 0.1 < due_seconds < 0.1 * 2**attempt + 0.01
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

    def slowly(*_: Any) -> Outcome:
        took.append(deliver(office.patient, office.settings, send_report, arguments))
        return Outcome()

    with closing(PatientConnection(lambda: connect(office.ledger.url, "tests", 10))) as other:
        assert deliver(other, office.settings, slowly, arguments) == "delivered"
    assert took == ["claimed"]
    again = [due for _, due in office.jobs()]
    assert len(again) == 2  # the first job itself, and the look at the end of the claim
    assert again[1] > 20
    assert office.work() == ["done", "done"]
    assert mailbox.mails == []


def test_a_connection_that_is_killed_loses_and_repeats_nothing(office: Office, mailbox: Mailbox) -> None:
    """PostgreSQL ends the session before the mail is sent, or right after it: one mail, marked as delivered."""
    hand_over(office.connection, office.settings, office.stored)
    ((arguments, _),) = office.jobs()

    def kill() -> None:
        killed = office.ledger.all(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'tests deliver'"
        )
        assert killed == [(True,)]

    def send(*about: Any) -> Outcome:
        outcome = send_report(*about)
        kill()
        return outcome

    office.patient.do(lambda one: one.execute("SELECT 1"))
    kill()
    assert deliver(office.patient, office.settings, send, arguments) == "delivered"
    assert office.rows() == [("delivered", 1, None)]
    assert len(mailbox.mails) == 1


def test_a_job_that_was_lost_is_replaced(office: Office, mailbox: Mailbox) -> None:
    """A delivery whose job failed gets another one, once its claim is over; what has a job or is done gets none."""
    hand_over(office.connection, office.settings, office.stored)
    assert wake_lost(office.connection) == 0
    for status in ("doing", "aborted"):
        office.ledger.connection.execute("UPDATE jobs.procrastinate_jobs SET status = %s", (status,))
        assert wake_lost(office.connection) == 0
    office.ledger.connection.execute("UPDATE jobs.procrastinate_jobs SET status = 'failed'")
    claim = "UPDATE ledger.report_deliveries SET claimed_until = now() + make_interval(mins => %s)"
    office.ledger.connection.execute(claim, (1,))
    assert wake_lost(office.connection) == 0
    office.ledger.connection.execute(claim, (-1,))
    assert wake_lost(office.connection) == 1
    assert wake_lost(office.connection) == 0
    office.ledger.connection.execute("DELETE FROM jobs.procrastinate_jobs WHERE status = 'failed'")
    assert office.work() == ["delivered"]
    assert len(mailbox.mails) == 1
    assert wake_lost(office.connection) == 0


def test_settings_that_are_wrong_lose_no_report(office: Office, mailbox: Mailbox) -> None:
    """Recipients that are none: tried again with the waits of any failure, and sent once they are right."""
    hand_over(office.connection, office.settings, office.stored)
    assert office.work(report_recipients=SecretStr("costs")) == ["pending"]
    assert "COSTLEDGER_REPORT_RECIPIENTS" in office.rows()[0][2]
    assert office.work() == ["delivered"]
    assert len(mailbox.mails) == 1


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
    dumped = {**office.settings.model_dump(), "report_recipients": json.dumps([url, url])}
    settings = Settings(**dumped)
    (recipient,) = recipients(settings)
    assert secret not in f"{recipient!r} {recipient.shown} {settings!r}"
    office.settings = settings
    assert hand_over(office.connection, settings, office.stored) == 1
    assert office.work() == ["pending"]  # the server knows no logins
    kept = office.ledger.all(
        "SELECT t::text FROM ledger.report_deliveries t UNION ALL SELECT args::text FROM jobs.procrastinate_jobs"
    )
    assert secret not in str(kept)
    assert mailbox.mails == []


@pytest.mark.parametrize(
    "wrong", ["costs", "{}", "[1]", '["no address"]', '["json://host"]', json.dumps(["a@b.example"] * 101)]
)
def test_recipients_that_are_none_are_refused(wrong: str) -> None:
    """The error names the setting and not the value, which is a secret."""
    with pytest.raises(SettingsError, match="COSTLEDGER_REPORT_RECIPIENTS"):
        recipients(Settings(report_recipients=wrong, delivery_email_url="mailto://localhost"))


def test_recipients_are_of_the_kinds_that_alerts_know() -> None:
    """Addresses need a mail server; chats by their webhook or by apprise's URL."""
    listed = [
        "costs@example.org",
        "mailtos://user:secret@mail.example.org?to=a@example.org",
        "https://hooks.slack.com/services/T0/B0/secret",
        "slack://TokenA/TokenB/TokenC",
    ]
    settings = Settings(report_recipients=json.dumps(listed), delivery_email_url="mailto://localhost")
    assert [one.channel for one in recipients(settings)] == ["email", "email", "slack", "slack"]
    with pytest.raises(SettingsError, match="COSTLEDGER_DELIVERY_EMAIL_URL"):
        recipients(Settings(report_recipients=json.dumps(listed)))
