"""Delivery by workers that run side by side, die, and lose their database; and all the way from Kafka."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import OwnPostgres
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import PARTITIONS, Ledger, Running, Topic, make_settings
from tests.sinks.notifications.conftest import ALERT, Desk, many_alerts
from tests.sinks.notifications.receivers import MailServer, Receiver, answer, drip, hang

from costledger.schemas.alerts import AlertKind
from costledger.schemas.codec import encode_alert
from costledger.schemas.fail_points import FAIL_AT, FLAG
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames
from costledger.sinks.jobs.queue import make_app
from costledger.sinks.jobs.worker import JobWorker
from costledger.sinks.migrations import migrate
from costledger.sinks.notifications.routes import add_route, wanted_route
from costledger.sinks.notifications.tasks import DeliveryTasks
from costledger.sinks.notifier import Notifier

#: Long enough for two to be there together, if nothing keeps them apart.
TOGETHER_SECONDS = 0.01

StartWorker = Callable[[Settings], JobWorker]


@pytest.fixture
def start_delivery() -> Iterator[StartWorker]:
    """Start workers that deliver, in threads; stopped at the end."""
    started: list[tuple[JobWorker, threading.Thread]] = []

    def start(settings: Settings) -> JobWorker:
        delivery = DeliveryTasks(settings, CollectorRegistry(), lease_margin_seconds=0.5)
        app = make_app(settings, [delivery.register])
        worker = JobWorker(app, heartbeat_seconds=0.2, silent_seconds_max=1.5, poll_seconds=0.2)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        started.append((worker, thread))
        return worker

    yield start
    for worker, _ in started:
        worker.stop()
    for _, thread in started:
        thread.join(30)
        assert not thread.is_alive()


def ids(receiver: Receiver) -> list[str]:
    """The ids of the messages that came, in order."""
    return [request.headers["webhook-id"] for request in receiver.requests]


def test_from_kafka_to_people_once(
    kafka: KafkaServer,
    names: TopicNames,
    ledger: Ledger,
    receiver: Receiver,
    mail_server: MailServer,
    start_delivery: StartWorker,
) -> None:
    """Kafka repeats an alert, and a notifier of another group reads all again: one webhook, one email."""
    kafka.create_topic(names.budgets, PARTITIONS)
    alerts = Topic(kafka.create_topic(names.alerts, PARTITIONS), kafka.bootstrap_servers)
    settings = make_settings(
        kafka,
        names,
        ledger.url,
        delivery_allow_private_targets=True,
        delivery_timeout_http_seconds=5,
        delivery_email_url=mail_server.url,
    )
    for channel, target in (("webhook", receiver.url), ("email", "alice@example.org")):
        wanted = wanted_route(settings, user_id="alice", channel=channel, target=target)
        add_route(ledger.connection, wanted)
    start_delivery(settings)
    alerts.send_raw([(b"alice", encode_alert(ALERT))] * 3)
    for _ in range(2):
        running = Running(Notifier(settings))
        last = replace(ALERT, user_id=kafka.unique("last"))
        alerts.send_raw([(b"alice", encode_alert(last))])  # in the same partition: after it, the repeats are read
        wait_until(
            lambda last=last: ledger.one("SELECT count(*) FROM ledger.alerts WHERE user_id = %s", last.user_id),
            30,
            "all is read",
        )
        wait_until(lambda: len(mail_server.box.mails) == 1 == len(receiver.requests), 30, "both have arrived")
        assert running.stop() == 0
        settings = settings.model_copy(update={"notifier_group": kafka.unique("again")})
    wait_until(
        lambda: ledger.one("SELECT count(*) FROM jobs.procrastinate_jobs WHERE task_name !~ 'sweep'") == 0,
        10,
        "no job is left",
    )
    assert ids(receiver) == [str(ALERT.alert_id)]
    assert mail_server.box.mails[0]["Message-ID"] == f"<{ALERT.alert_id}@costs.example>"
    assert ledger.all("SELECT state FROM ledger.alert_deliveries") == [("delivered",)] * 2


def test_two_workers_send_each_once(
    make_desk: Callable[..., Desk], receive: Callable[..., Receiver], start_delivery: StartWorker
) -> None:
    """Two workers and four routes: each message comes once, and no route is sent to by two at a time."""
    desk = make_desk(delivery_timeout_http_seconds=5, delivery_digest_alerts=1000)
    receivers = [receive() for _ in range(4)]
    at_once: Counter[int] = Counter()
    together: list[int] = []

    def watch(handler: Any) -> None:
        port = handler.server.server_port
        at_once[port] += 1
        together.append(at_once[port])
        time.sleep(TOGETHER_SECONDS)
        # Before the answer: after it the next one may come before this thread goes on.
        at_once[port] -= 1
        answer(200)(handler)

    for one in receivers:
        one.always = watch
        desk.route("webhook", one.url)
    for _ in range(2):
        start_delivery(desk.settings)
    alerts = many_alerts(20)
    for alert in alerts:
        desk.store(alert)
    wait_until(lambda: desk.states() == ["delivered"] * 80, 30, "all is delivered")
    assert {tuple(sorted(ids(one))) for one in receivers} == {tuple(sorted(str(one.alert_id) for one in alerts))}
    assert set(together) == {1}


def test_a_user_whose_servers_hang_holds_up_nobody_else(
    make_desk: Callable[..., Desk], receive: Callable[..., Receiver], start_delivery: StartWorker
) -> None:
    """Ten routes of one user to a server that drips take two workers, one after the other; an operator is told at once."""
    desk = make_desk(delivery_timeout_http_seconds=3, jobs_concurrency=8)
    slow, good, own = receive(), receive(), receive()
    slow.always = drip
    for n in range(10):
        desk.route("webhook", f"{slow.url}/{n}")
    start_delivery(desk.settings)
    desk.store(ALERT)
    wait_until(lambda: len(slow.requests) == 2, 20, "the places of the user are taken")
    desk.route("webhook", own.url, kinds=["HOURLY_SPIKE"])
    desk.route("webhook", good.url, user_id=None)
    desk.store(replace(ALERT, kind=AlertKind.HOURLY_SPIKE))
    # An attempt of the user's takes up to three times three seconds.
    wait_until(lambda: good.requests, 7, "the operator is told")
    assert (len(slow.requests), own.requests) == (2, [])
    wait_until(lambda: own.requests, 120, "the user's own good server has its turn")
    claimed = "SELECT count(*) FROM ledger.alert_routes WHERE owner = 'user' AND claimed_until > now()"
    assert desk.ledger.one(claimed) <= 2


def test_a_failed_delivery_is_tried_again_by_itself(
    make_desk: Callable[..., Desk], receiver: Receiver, start_delivery: StartWorker
) -> None:
    """Each look at a route enqueues the next one: after failures, after a snooze, after a flood; then nothing is left."""
    desk = make_desk(
        delivery_retry_seconds_min=0.1,
        delivery_retry_seconds_max=0.2,
        delivery_digest_alerts=2,
        delivery_digest_seconds=1,
    )
    receiver.script.extend([answer(500)] * 3)
    desk.route("webhook", receiver.url)
    alerts = many_alerts(12)
    desk.store(*alerts)
    desk.connection.execute(
        "UPDATE ledger.alerts SET snoozed_until = now() + interval '1 second' WHERE alert_id = %s",
        (alerts[0].alert_id,),
    )
    start_delivery(desk.settings)
    wait_until(lambda: desk.states() == ["delivered"] * 12, 20, "all is delivered")
    assert any("digest" in request.body for request in receiver.requests)
    left = "SELECT count(*) FROM jobs.procrastinate_jobs WHERE task_name !~ 'sweep'"
    wait_until(lambda: desk.ledger.one(left) == 0, 10, "no job is left")


def test_workers_that_come_together_send_once(desk: Desk, receiver: Receiver) -> None:
    """Eight at the same route at the same moment: one of them sends."""
    receiver.always = answer(200)
    route = desk.route("webhook", receiver.url)
    desk.store(ALERT)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: desk.deliver(route), range(8)))
    assert sum(taken) == 1
    assert ids(receiver) == [str(ALERT.alert_id)]


def test_a_worker_that_was_suspended_finds_its_claim_gone(desk: Desk, receiver: Receiver) -> None:
    """One that sends for longer than its claim may have sent twice, but what the other has kept stays, and it stops."""
    route = desk.route("webhook", receiver.url)
    first, second = many_alerts(2)
    desk.store(first, second)

    def suspended(*arguments: Any) -> Any:
        desk.pass_time(hours=1)
        assert desk.deliver(route) == 2
        from costledger.sinks.notifications.outcome import Outcome

        assert arguments
        return Outcome.failed("it took an hour")

    assert desk.deliver(route, send=suspended) == 0
    assert desk.states() == ["delivered", "delivered"]
    assert sorted(ids(receiver)) == sorted([str(first.alert_id), str(second.alert_id)])
    assert desk.ledger.one("SELECT failures FROM ledger.alert_routes") <= 1


def test_killed_between_sending_and_keeping(
    make_desk: Callable[..., Desk],
    receiver: Receiver,
    start_delivery_process: Callable[..., subprocess.Popen[bytes]],
    start_delivery: StartWorker,
) -> None:
    """SIGKILL right after the send: another worker sends it again, under the same id, and nothing is lost."""
    desk = make_desk(delivery_timeout_http_seconds=0.5)
    desk.route("webhook", receiver.url)
    desk.store(*many_alerts(3))
    victim = start_delivery_process(desk.settings, {FLAG: "1", FAIL_AT: "delivery.after_send"})
    assert victim.wait(30) == -9
    assert desk.states() == ["pending"] * 3
    assert len(receiver.requests) == 1
    start_delivery(desk.settings)
    wait_until(lambda: desk.states() == ["delivered"] * 3, 20, "all is delivered")
    assert Counter(Counter(ids(receiver)).values()) == {2: 1, 1: 2}
    repeated = ids(receiver)[0]
    assert len({one.body for one in receiver.requests if one.headers["webhook-id"] == repeated}) == 1


def test_killed_while_sending(
    make_desk: Callable[..., Desk],
    receiver: Receiver,
    start_delivery_process: Callable[..., subprocess.Popen[bytes]],
    start_delivery: StartWorker,
) -> None:
    """SIGKILL while a server takes its time: another worker delivers."""
    desk = make_desk(delivery_timeout_http_seconds=1)
    receiver.script.append(hang)
    desk.route("webhook", receiver.url)
    desk.store(ALERT)
    victim = start_delivery_process(desk.settings)
    wait_until(lambda: receiver.requests, 20, "the request has come")
    victim.kill()
    start_delivery(desk.settings)
    wait_until(lambda: desk.states() == ["delivered"], 20, "it is delivered")
    assert ids(receiver) == [str(ALERT.alert_id)] * 2


def test_the_database_restarts_while_a_message_is_on_its_way(
    own_postgres: OwnPostgres, receiver: Receiver, start_delivery: StartWorker
) -> None:
    """PostgreSQL dies after the message was sent and before that is kept: it is kept later, and sent once."""
    url = own_postgres.create_database()
    migrate(url)
    settings = Settings(
        database_url=url,
        database_timeout_seconds=10,
        delivery_allow_private_targets=True,
        delivery_timeout_http_seconds=20,
    )
    desk = Desk(Ledger(url), settings)
    stopped = threading.Event()

    def stop_first(handler: Any) -> None:
        own_postgres.stop(mode="immediate")
        stopped.set()
        answer(200)(handler)

    receiver.script.append(stop_first)
    desk.route("webhook", receiver.url)
    start_delivery(settings)
    first, second = many_alerts(2)
    desk.store(first)
    assert stopped.wait(20)
    desk.close()
    desk.ledger.connection.close()
    own_postgres.start()
    desk = Desk(Ledger(url), settings)
    wait_until(lambda: desk.states() == ["delivered"], 30, "it is kept")
    desk.store(second)
    wait_until(lambda: desk.states() == ["delivered"] * 2, 30, "the next one is delivered")
    assert ids(receiver) == [str(first.alert_id), str(second.alert_id)]
    desk.close()
    desk.ledger.connection.close()
