"""Schedulers as processes: one report however many of them, whatever dies, whenever they were away."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from contextlib import closing
from uuid import uuid4

import procrastinate
import pytest
from tests.fixtures.fix_postgres import OwnPostgres
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import PARTITIONS, Ledger, Running, make_event
from tests.sinks.jobs.conftest import StartScheduler
from tests.sinks.jobs.mail_server import Mailbox
from tests.sinks.reports.report_model import Model, begin, fill, microseconds, usage, utc

from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames
from costledger.sinks.database import connect
from costledger.sinks.jobs.queue import defer_in, make_app
from costledger.sinks.jobs.scheduler import TICK_TASK, Scheduler
from costledger.sinks.jobs.worker import JobWorker
from costledger.sinks.migrations import migrate
from costledger.sinks.notifications.deliveries import DELIVER_TASK as ALERTS_TASK
from costledger.sinks.notifications.deliveries import wake_routes
from costledger.sinks.reports.periods import ReportKind, report_period

MONDAY = microseconds(2026, 11, 23, 10)


def subjects(mailbox: Mailbox) -> Counter[str]:
    return Counter(str(mail["Subject"]).partition(":")[0] for mail in mailbox.mails)


def handed_over(ledger: Ledger) -> list[tuple[str, str]]:
    return ledger.all(
        "SELECT kind, report_date::text FROM ledger.reports "
        "WHERE kind <> 'sweep' AND handed_over_at IS NOT NULL ORDER BY 1, 2"
    )


def all_delivered(ledger: Ledger, count: int) -> bool:
    return ledger.all("SELECT state, count(*) FROM ledger.report_deliveries GROUP BY 1") == [("delivered", count)]


def jobs_ever(ledger: Ledger) -> int:
    """How many jobs there have been, ticks most of all."""
    return int(ledger.one("SELECT last_value FROM jobs.procrastinate_jobs_id_seq"))


def test_two_schedulers_send_one_report(
    ledger: Ledger,
    names: TopicNames,
    mailbox: Mailbox,
    variables: dict[str, str],
    start_scheduler: StartScheduler,
    seed: int,
) -> None:
    """Two processes, two readers, a downtime of two days: each report is made once and sent once to each reader."""
    events = usage(seed, utc(2026, 11, 10), utc(2026, 11, 23), 800)
    fill(ledger, events)
    begin(ledger, utc(2026, 11, 20, 12), names.events, PARTITIONS)
    both = json.dumps([mailbox.url("one"), mailbox.url("two")])
    for _ in range(2):
        start_scheduler(MONDAY, COSTLEDGER_REPORT_RECIPIENTS=both)
    wait_until(lambda: all_delivered(ledger, 8), 30, "every report is delivered to both")
    expected = [("daily", f"2026-11-{day}") for day in (20, 21, 22)] + [("weekly", "2026-11-23")]
    assert handed_over(ledger) == expected
    # Both have looked again since.
    before = jobs_ever(ledger)
    wait_until(lambda: jobs_ever(ledger) >= before + 3, 15, "ticks since")
    assert subjects(mailbox) == {
        **{f"Daily cost report {day}": 2 for _, day in expected[:3]},
        "Weekly cost analysis 2026-11-16 to 2026-11-22": 2,
    }
    assert {str(mail["To"]) for mail in mailbox.mails} == {"one@example.org", "two@example.org"}
    assert len({str(mail["Message-ID"]) for mail in mailbox.mails}) == 8
    stored = dict(ledger.all("SELECT report_date::text, content FROM ledger.reports WHERE kind = 'daily'"))
    model = Model(events)
    for _, day in expected[:3]:
        period = report_period(ReportKind.DAILY, utc(2026, 11, int(day[-2:])).date(), "UTC")
        total = stored[day]["totals"]["total"]
        assert int(total.replace(".", "").ljust(len(total.partition(".")[0]) + 12, "0")) == model.amount(period)
    mail = next(mail for mail in mailbox.mails if "Weekly" in str(mail["Subject"]))
    parts = {part.get_content_type(): part for part in mail.walk() if not part.is_multipart()}
    assert set(parts) == {"text/plain", "text/html"}
    assert "PER FILE" in parts["text/plain"].get_content()
    assert "<h2" in parts["text/html"].get_content()


@pytest.mark.parametrize("step", ["computed", "stored", "sending"])
def test_a_scheduler_that_is_killed_loses_and_repeats_nothing(
    ledger: Ledger, names: TopicNames, mailbox: Mailbox, start_scheduler: StartScheduler, step: str
) -> None:
    """SIGKILL before the report is stored, before it is handed over, or in the middle of sending: the next one goes on."""
    fill(ledger, [make_event("u", amount=5 * 10**12, occurred_at=utc(2026, 11, 22, 12))])
    begin(ledger, utc(2026, 11, 22, 12), names.events, PARTITIONS)
    now_us = microseconds(2026, 11, 23, 9, 30)
    first = start_scheduler(now_us, step)
    assert first.wait(30) == -signal.SIGKILL
    assert mailbox.mails == []
    made = ledger.all("SELECT revision, updated_at FROM ledger.reports WHERE kind = 'daily'")
    assert len(made) == (0 if step == "computed" else 1)
    # What a dead worker holds is taken over after 30 s of silence; here it has been silent for long.
    ledger.connection.execute("UPDATE jobs.procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
    # Likewise the claim on a delivery, which outlasts the longest attempt.
    ledger.connection.execute("UPDATE ledger.report_deliveries SET claimed_until = now()")
    start_scheduler(now_us)
    wait_until(lambda: all_delivered(ledger, 1), 30, "the report is delivered")
    assert subjects(mailbox) == {"Daily cost report 2026-11-22": 1}
    assert handed_over(ledger) == [("daily", "2026-11-22")]
    if made:
        assert ledger.all("SELECT revision, updated_at FROM ledger.reports WHERE kind = 'daily'") == made


def test_sigterm_ends_it_in_good_time(ledger: Ledger, names: TopicNames, start_scheduler: StartScheduler) -> None:
    """Within 10 seconds, with 0, and its worker is no longer registered."""
    begin(ledger, utc(2026, 11, 22, 12), names.events, PARTITIONS)
    process: subprocess.Popen[bytes] = start_scheduler(MONDAY)
    wait_until(lambda: handed_over(ledger), 30, "it works")
    process.terminate()
    assert process.wait(10) == 0
    assert ledger.one("SELECT count(*) FROM jobs.procrastinate_workers") == 0
    assert ledger.one("SELECT count(*) FROM jobs.procrastinate_jobs WHERE status = 'doing'") == 0


def test_a_database_that_restarts_is_waited_for(
    own_postgres: OwnPostgres, names: TopicNames, variables: dict[str, str], report_settings: Settings
) -> None:
    """Away: not ready, with the reason, nothing lost. Back: ready again, and what came due meanwhile is made."""
    url = own_postgres.create_database()
    migrate(url)
    there = Ledger(url)
    begin(there, utc(2026, 11, 22, 12), names.events, PARTITIONS)
    there.connection.close()
    settings = Settings(**{**report_settings.model_dump(), "database_url": url, "database_timeout_seconds": 2})
    clock = {"now": microseconds(2026, 11, 23, 8, 59)}
    scheduler = Scheduler(settings, clock=lambda: clock["now"], tick_cron="* * * * * */1")
    running = Running(scheduler)
    try:
        wait_until(lambda: scheduler.health()[0], 20, "it is ready")
        own_postgres.kill()
        reason = wait_until(lambda: not scheduler.health()[0] and scheduler.health()[1], 20, "it is not ready")
        assert reason
        clock["now"] = microseconds(2026, 11, 23, 9)
        own_postgres.start()
        wait_until(lambda: scheduler.health()[0], 30, "it is ready again")
        again = Ledger(url)

        def made() -> bool:
            # A tick that was cut off is another worker's after 30 s of silence: here they are over.
            again.connection.execute(
                "DELETE FROM jobs.procrastinate_workers WHERE id NOT IN "
                "(SELECT id FROM jobs.procrastinate_workers ORDER BY id DESC LIMIT 2)"
            )
            return handed_over(again) == [("daily", "2026-11-22")]

        with closing(again.connection):
            wait_until(made, 30, "the report is made")
    finally:
        assert running.stop() == 0


def test_a_tick_that_takes_long_has_one_successor(ledger: Ledger, names: TopicNames, report_settings: Settings) -> None:
    """While one tick waits for a lock, the minutes that pass queue one more, and not one each."""
    begin(ledger, utc(2026, 11, 22, 12), names.events, PARTITIONS)
    waiting = "SELECT status::text, count(*) FROM jobs.procrastinate_jobs WHERE task_name = %s GROUP BY 1 ORDER BY 1"
    with connect(ledger.url, "tests", 10, None) as other, other.transaction():
        other.execute("LOCK TABLE ledger.reports IN ACCESS EXCLUSIVE MODE")
        scheduler = Scheduler(report_settings, clock=lambda: MONDAY, tick_cron="* * * * * */1")
        running = Running(scheduler)
        wait_until(lambda: len(ledger.all(waiting, TICK_TASK)) == 2, 20, "one runs and one waits")
        before = jobs_ever(ledger)  # a job that is refused takes a number as well
        wait_until(lambda: jobs_ever(ledger) >= before + 2, 9, "more were refused")
        assert ledger.all(waiting, TICK_TASK) == [("doing", 1), ("todo", 1)]
    assert running.stop() == 0


def test_deliveries_that_hang_hold_no_report_up(
    ledger: Ledger, names: TopicNames, mailbox: Mailbox, report_settings: Settings
) -> None:
    """Every place of the deliveries of alerts is taken: the tick comes, the report is made and sent."""
    begin(ledger, utc(2026, 11, 22, 12), names.events, PARTITIONS)
    settings = Settings(**{**report_settings.model_dump(), "jobs_concurrency": 2})
    with connect(ledger.url, "tests", 10, None) as other, other.transaction():
        other.execute("LOCK TABLE ledger.alert_routes IN ACCESS EXCLUSIVE MODE")
        with connect(ledger.url, "tests", 10) as connection, connection.transaction():
            wake_routes(connection, [uuid4() for _ in range(3)])
        running = Running(
            Scheduler(settings, clock=lambda: microseconds(2026, 11, 23, 9, 30), tick_cron="* * * * * */1")
        )
        hanging = "SELECT count(*) FROM jobs.procrastinate_jobs WHERE task_name = %s AND status = 'doing'"
        wait_until(lambda: ledger.one(hanging, ALERTS_TASK) == 2, 20, "all places are taken")
        wait_until(lambda: all_delivered(ledger, 1), 20, "the report is delivered")
        assert ledger.one(hanging, ALERTS_TASK) == 2
    assert running.stop() == 0
    assert subjects(mailbox) == {"Daily cost report 2026-11-22": 1}


def test_a_job_left_behind_does_not_hold_up_its_successor(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """Of jobs with one queueing lock, several were left by dead workers: the worker runs the one that waits, then them."""
    ran: list[int] = []

    def register(app: procrastinate.App, _settings: Settings) -> None:
        @app.task(name="tests:locked", queueing_lock="tests")
        def locked(number: int) -> None:
            ran.append(number)

    app = make_app(Settings(database_url=ledger.url), [register])
    for number, status in ((1, "doing"), (2, "aborted"), (4, "doing"), (5, "aborted"), (3, "todo")):
        with connect(ledger.url, "tests", 10) as connection, connection.transaction():
            defer_in(connection, "tests:locked", {"number": number})
        ledger.connection.execute(
            "UPDATE jobs.procrastinate_jobs SET status = %s, queueing_lock = 'tests', worker_id = NULL "
            "WHERE (args ->> 'number')::int = %s",
            (status, number),
        )
    worker = JobWorker(app, heartbeat_seconds=0.1, poll_seconds=0.1)
    running = Running(Forwarded(worker))
    wait_until(lambda: len(ran) == 5, 20, "all of them have run")
    assert (ran[0], sorted(ran)) == (3, [1, 2, 3, 4, 5])
    assert not [record for record in caplog.records if "starts again" in record.getMessage()]
    running.stop()


def test_a_job_of_a_dead_worker_does_not_lock_its_successor_out(ledger: Ledger) -> None:
    """One lock, one place to wait: the job of the dead worker gives way to the one that waits, which runs."""
    ran: list[int] = []

    def register(app: procrastinate.App, _settings: Settings) -> None:
        @app.task(name="tests:locked")
        def locked(number: int) -> None:
            ran.append(number)

    for number, status in ((1, "doing"), (2, "todo")):
        with connect(ledger.url, "tests", 10) as connection, connection.transaction():
            defer_in(connection, "tests:locked", {"number": number}, lock="tests")
        ledger.connection.execute(
            "UPDATE jobs.procrastinate_jobs SET status = %s, queueing_lock = 'tests', worker_id = NULL "
            "WHERE (args ->> 'number')::int = %s",
            (status, number),
        )
    app = make_app(Settings(database_url=ledger.url), [register])
    running = Running(Forwarded(JobWorker(app, heartbeat_seconds=0.1, poll_seconds=0.1)))
    try:
        wait_until(lambda: ran, 20, "the one that waits runs")
    finally:
        running.stop()
    assert ran == [2]


class Forwarded:
    """A job worker in the clothes of a sink."""

    def __init__(self, worker: JobWorker) -> None:
        self._worker = worker
        self.stop = worker.stop

    def run(self) -> int:
        self._worker.run()
        return 0
