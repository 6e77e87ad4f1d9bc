"""Delivery on a real ledger: who is told, once; retries, giving up, acknowledging, snoozing, floods. Time is set by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook
from tests.sinks.conftest import Ledger
from tests.sinks.notifications.conftest import ALERT, Desk, alert_ids, many_alerts
from tests.sinks.notifications.receivers import MailServer, Receiver, answer, hang

from costledger.schemas.alerts import AlertKind, AlertState, Severity
from costledger.schemas.errors import InvalidValue
from costledger.sinks.notifications.deliveries import delivery_counts, list_deliveries, retry_deliveries
from costledger.sinks.notifications.routes import RouteExists, enable_route, list_routes, remove_route
from costledger.sinks.notifications.tasks import DeliveryTasks

HOUR = timedelta(hours=1)


def test_each_route_gets_what_it_wants(desk: Desk) -> None:
    """Own alerts for a user, all for an operator; by kind and severity; that an alarm is over only where asked for."""
    at = "https://8.8.8.8/"
    wants: dict[str, dict[str, Any]] = {
        "own": {},
        "others": {"user_id": "bob"},
        "operator": {"user_id": None},
        "spikes": {"kinds": ["HOURLY_SPIKE", "ANOMALY"]},
        "critical": {"severity_min": "CRITICAL"},
        "ok too": {"user_id": None, "include_ok": True},
    }
    routes = {
        desk.route("webhook", f"{at}{n}", **other).route_id: name for n, (name, other) in enumerate(wants.items())
    }
    alerts = {
        "warning": ALERT,
        "spike": replace(ALERT, kind=AlertKind.HOURLY_SPIKE, severity=Severity.CRITICAL),
        "ok": replace(ALERT, kind=AlertKind.HOURLY_SPIKE, state=AlertState.OK, severity=Severity.INFO),
        "bob": replace(ALERT, user_id="bob", severity=Severity.INFO),
    }
    names = {one.alert_id: name for name, one in alerts.items()}
    desk.store(*alerts.values())
    told: dict[str, set[str]] = {name: set() for name in wants}
    for route_id, alert_id in desk.ledger.all("SELECT route_id, alert_id FROM ledger.alert_deliveries"):
        told[routes[route_id]].add(names[alert_id])
    assert told == {
        "own": {"warning", "spike"},
        "others": {"bob"},
        "operator": {"warning", "spike", "bob"},
        "spikes": {"spike"},
        "critical": {"spike"},
        "ok too": {"warning", "spike", "bob", "ok"},
    }
    assert desk.jobs() == len(wants)


def test_an_alert_is_told_once(desk: Desk, receiver: Receiver) -> None:
    """Repeats of an alert and of its job make no second message."""
    route = desk.route("webhook", receiver.url)
    assert desk.store(ALERT, ALERT) == 1
    assert desk.store(ALERT) == 0
    assert [desk.deliver(route), desk.deliver(route)] == [1, 0]
    (request,) = receiver.requests
    assert route.secret is not None
    assert Webhook(route.secret).verify(request.body, request.headers)["id"] == str(ALERT.alert_id)
    assert desk.states() == ["delivered"]
    assert desk.seen.counts == {"webhook delivered": 1}


def test_a_users_route_takes_nothing_from_an_operators(desk: Desk, receiver: Receiver) -> None:
    """Both name one target, the user first: each is told, under its own key."""
    routes = [desk.route("webhook", receiver.url), desk.route("webhook", receiver.url, user_id=None)]
    desk.store(ALERT)
    assert [desk.deliver(one) for one in routes] == [1, 1]
    for route, request in zip(routes, receiver.requests, strict=True):
        assert route.secret is not None
        assert Webhook(route.secret).verify(request.body, request.headers)["id"] == str(ALERT.alert_id)


@pytest.mark.parametrize("user_id", ["", " ", "\n", "a\x00b", "x" * 129, "\ud800"])
def test_a_route_is_for_a_user_that_can_be(desk: Desk, user_id: str) -> None:
    """The id of a user is checked as the contract of events and budgets says."""
    with pytest.raises(InvalidValue, match="user_id"):
        desk.route("webhook", "https://8.8.8.8/", user_id=user_id)


def test_deliveries_and_jobs_come_with_the_alert_or_not_at_all(desk: Desk) -> None:
    """A transaction that fails after the alert was stored leaves no alert, no delivery and no job."""
    desk.route("webhook", "https://8.8.8.8/")
    with desk.connection.transaction(force_rollback=True):
        desk.store(ALERT)
        assert desk.jobs() == 0  # as others see it
    for table in ("ledger.alerts", "ledger.alert_deliveries", "jobs.procrastinate_jobs"):
        assert desk.ledger.one(f"SELECT count(*) FROM {table}") == 0
    assert desk.store(ALERT) == 1
    assert desk.jobs() == 1


def test_retries_for_three_days_and_then_dead(make_desk: Callable[..., Desk], receiver: Receiver) -> None:
    """Waits grow from 5 s to an hour; after 72 h it is dead, visibly, and nothing is sent until somebody says so."""
    desk = make_desk()
    receiver.always = answer(500, body="down")
    route = desk.route("webhook", receiver.url)
    desk.store(ALERT)
    began = desk.ledger.one("SELECT ready_at FROM ledger.alert_deliveries")
    waits = []
    while "pending" in desk.states():
        assert desk.deliver(route) == 0
        before = desk.now
        if "pending" in desk.states():
            desk.now = desk.next_attempt()
            waits.append((desk.now - before).total_seconds())
        assert len(waits) < 200
    assert 5 <= waits[0] <= 10
    assert 10 <= waits[1] <= 20
    assert all(wait <= 3600 for wait in waits)
    assert all(wait >= 1800 for wait in waits[12:-1])
    assert desk.now - began == timedelta(hours=72)
    assert len(receiver.requests) == len(waits) + 1
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    (delivery,) = list_deliveries(desk.connection, state="dead")
    assert (delivery.attempts, delivery.last_error) == (len(waits) + 1, "HTTP 500 Internal Server Error: down")
    assert delivery_counts(desk.connection) == {"webhook": (0, 1)}
    assert desk.seen.counts == {"webhook failed": len(receiver.requests), "webhook dead": 1}
    desk.pass_time(days=1)
    assert desk.deliver(route) == 0
    assert len(receiver.requests) == len(waits) + 1
    receiver.always = answer(200)
    assert retry_deliveries(desk.connection, alert_ids=[ALERT.alert_id]) == 1
    assert desk.deliver(route) == 1
    assert desk.states() == ["delivered"]
    assert retry_deliveries(desk.connection) == 0


def test_retry_after_is_honoured(desk: Desk, receiver: Receiver) -> None:
    """A server that asks for two hours is left alone for two hours: also with what comes meanwhile."""
    receiver.script.append(answer(429, {"Retry-After": "7200"}))
    route = desk.route("webhook", receiver.url)
    desk.store(ALERT)
    assert desk.deliver(route) == 0
    desk.store(*many_alerts(2))
    desk.pass_time(seconds=7199)
    assert desk.deliver(route) == 0
    assert len(receiver.requests) == 1
    desk.pass_time(seconds=2)
    assert desk.deliver(route) == 3


def test_a_broken_target_is_asked_one_at_a_time(desk: Desk, receiver: Receiver) -> None:
    """What waits for a target that is down does not find that out alert by alert; once it is up, all is sent."""
    receiver.always = answer(503)
    route = desk.route("webhook", receiver.url)
    desk.store(*many_alerts(8))
    for _ in range(4):
        assert desk.deliver(route) == 0
        desk.now = desk.next_attempt()
    assert len(receiver.requests) == 4
    receiver.always = answer(200)
    desk.pass_time(hours=1)
    assert desk.deliver(route) == 8
    assert desk.states() == ["delivered"] * 8


def test_one_alert_that_is_refused_holds_up_no_other(desk: Desk, receiver: Receiver) -> None:
    """A receiver that chokes on one alert gets the others."""
    route = desk.route("webhook", receiver.url)
    bad, *good = many_alerts(4)

    def choke(handler: Any) -> None:
        wrong = str(bad.alert_id) in handler.server.requests[-1].body
        answer(400 if wrong else 200)(handler)

    receiver.always = choke
    desk.store(bad, *good)
    for _ in range(6):
        desk.deliver(route)
        desk.now = desk.next_attempt()
    assert desk.states() == ["delivered"] * 3 + ["pending"]


def test_gone_disables_the_route(desk: Desk, receiver: Receiver) -> None:
    """410 ends it: what waits is dead, new alerts make nothing, and the list says why, until it is enabled again."""
    receiver.script.append(answer(410))
    route = desk.route("webhook", receiver.url)
    desk.store(*many_alerts(2))
    assert desk.deliver(route) == 0
    assert desk.states() == ["dead", "dead"]
    (shown,) = list_routes(desk.connection, user_id="alice")
    assert (shown.enabled, shown.disabled_reason, shown.dead) == (False, "HTTP 410 Gone", 2)
    desk.store(replace(ALERT, severity=Severity.CRITICAL, threshold_percent=None))
    assert len(desk.states()) == 2
    assert retry_deliveries(desk.connection) == 0
    assert not enable_route(desk.connection, route.route_id, user_id="bob")
    assert enable_route(desk.connection, route.route_id, user_id="alice")
    assert retry_deliveries(desk.connection, route_id=route.route_id) == 2
    assert desk.deliver(route) == 2


def test_acknowledged_is_not_sent(desk: Desk, receiver: Receiver) -> None:
    """An alert that somebody has acknowledged before it was sent is suppressed, also after failed attempts."""
    receiver.script.append(answer(500))
    route = desk.route("webhook", receiver.url)
    desk.store(ALERT)
    assert desk.deliver(route) == 0
    desk.connection.execute("UPDATE ledger.alerts SET acknowledged_at = now(), acknowledged_by = 'alice'")
    desk.pass_time(hours=1)
    assert desk.deliver(route) == 0
    assert desk.states() == ["suppressed"]
    assert len(receiver.requests) == 1


def test_snoozed_waits_for_the_end_of_the_snooze(desk: Desk, receiver: Receiver) -> None:
    """However long the snooze, it is sent after it, unless acknowledged meanwhile; its three days begin then."""
    route = desk.route("webhook", receiver.url)
    first, second = many_alerts(2)
    desk.store(first, second)
    desk.connection.execute("UPDATE ledger.alerts SET snoozed_until = %s", (desk.now + 100 * HOUR,))
    for _ in range(3):
        assert desk.deliver(route) == 0
        desk.pass_time(hours=33)
    desk.connection.execute("UPDATE ledger.alerts SET acknowledged_at = now() WHERE alert_id = %s", (first.alert_id,))
    desk.pass_time(hours=2)
    receiver.script.append(answer(500))
    assert desk.deliver(route) == 0
    assert desk.states() == ["pending", "suppressed"]
    desk.pass_time(hours=1)
    assert desk.deliver(route) == 1
    assert desk.states() == ["delivered", "suppressed"]


def test_a_snooze_that_is_taken_back_is_over_at_once(desk: Desk, receiver: Receiver, ledger: Ledger) -> None:
    """The sweep finds what no longer waits for anything, and suppresses what was acknowledged without any job."""

    registry = CollectorRegistry()
    tasks = DeliveryTasks(desk.settings, registry, desk.clock)
    route = desk.route("webhook", receiver.url)
    first, second = many_alerts(2)
    desk.store(first, second)
    desk.connection.execute("UPDATE ledger.alerts SET snoozed_until = %s", (desk.now + 10 * HOUR,))
    assert desk.deliver(route) == 0
    assert tasks.sweep(desk.connection) == 0
    desk.connection.execute("UPDATE ledger.alerts SET snoozed_until = NULL WHERE alert_id = %s", (first.alert_id,))
    desk.connection.execute("UPDATE ledger.alerts SET acknowledged_at = now() WHERE alert_id = %s", (second.alert_id,))
    jobs = desk.jobs()
    assert tasks.sweep(desk.connection) == 1
    assert desk.jobs() == jobs + 1
    assert desk.deliver(route) == 1
    assert desk.states() == ["delivered", "suppressed"]
    desk.store(replace(ALERT, user_id="alice", threshold_percent=None))
    tasks.stats()
    values = {("deliveries", "suppressed"): 1, ("pending", None): 1, ("dead", None): 0}
    for (name, outcome), value in values.items():
        labels = {"channel": "webhook"} | ({"outcome": outcome} if outcome else {})
        metric = "costledger_alert_deliveries_total" if name == "deliveries" else f"costledger_{name}_alert_deliveries"
        assert registry.get_sample_value(metric, labels) == value


def test_a_flood_becomes_one_message(make_desk: Callable[..., Desk], receiver: Receiver) -> None:
    """The first alerts come singly, the others together within the digest's time; none is lost, none comes twice."""
    desk = make_desk(delivery_digest_alerts=3, delivery_digest_seconds=60)
    route = desk.route("webhook", receiver.url)
    alerts = many_alerts(20)
    desk.store(*alerts[:15])
    assert desk.deliver(route) == 3
    desk.pass_time(seconds=30)
    desk.store(*alerts[15:])
    assert desk.deliver(route) == 0
    assert desk.states() == ["delivered"] * 3 + ["pending"] * 17
    desk.now = desk.next_attempt()
    assert desk.deliver(route) == 1
    assert desk.states() == ["delivered"] * 20
    documents = [json.loads(request.body) for request in receiver.requests]
    digest = documents[-1]
    assert [one["id"] for one in documents[:3]] == [str(one) for one in alert_ids(alerts[:3])]
    assert digest["type"] == "costledger.v1.alert.digest"
    assert [one["id"] for one in digest["data"]["alerts"]] == [str(one) for one in alert_ids(alerts[3:])]
    assert digest["data"]["count"] == 17
    assert route.secret is not None
    assert Webhook(route.secret).verify(receiver.requests[-1].body, receiver.requests[-1].headers)["id"] == digest["id"]
    marked = desk.ledger.all("SELECT DISTINCT digest_id::text FROM ledger.alert_deliveries WHERE digest_id IS NOT NULL")
    assert marked == [(digest["id"],)]
    desk.pass_time(seconds=61)
    desk.store(replace(ALERT, threshold_percent=None))
    assert desk.deliver(route) == 1
    assert json.loads(receiver.requests[-1].body)["type"] == "costledger.v1.alert.budget_threshold"


def test_a_digest_that_failed_is_sent_again_as_it_was(make_desk: Callable[..., Desk], receiver: Receiver) -> None:
    """The same alerts under the same id, byte for byte, whatever has come meanwhile; only what was acknowledged is out."""
    desk = make_desk(delivery_digest_alerts=1, delivery_digest_seconds=10)
    route = desk.route("webhook", receiver.url)
    alerts = many_alerts(8)
    desk.store(*alerts[:6])
    assert desk.deliver(route) == 1
    receiver.script.extend([answer(500), answer(500)])
    for _ in range(2):
        desk.now = desk.next_attempt()
        assert desk.deliver(route) == 0
    desk.store(alerts[6])
    desk.connection.execute(
        "UPDATE ledger.alerts SET acknowledged_at = now() WHERE alert_id = %s", (alerts[1].alert_id,)
    )
    desk.pass_time(hours=1)
    while "pending" in desk.states():
        assert desk.deliver(route) >= 1
        if "pending" in desk.states():
            desk.now = desk.next_attempt()
    first, second, third = (request for request in receiver.requests if "digest" in request.body)
    assert first.body == second.body
    assert {one.headers["webhook-id"] for one in (first, second, third)} == {first.headers["webhook-id"]}
    ids = [one["id"] for one in json.loads(third.body)["data"]["alerts"]]
    assert ids == [str(one) for one in alert_ids(alerts[2:6])]
    assert desk.states() == ["delivered"] * 6 + ["suppressed"]


def test_a_removed_route_gets_nothing_more(desk: Desk, receiver: Receiver) -> None:
    """What waits is suppressed, the secrets are gone, and the same target can be added again."""
    receiver.script.append(answer(500))
    route = desk.route("webhook", receiver.url)
    with pytest.raises(RouteExists):
        desk.route("webhook", receiver.url)
    desk.store(ALERT)
    assert desk.deliver(route) == 0
    assert not remove_route(desk.connection, route.route_id, user_id="bob")
    assert remove_route(desk.connection, route.route_id, user_id="alice")
    assert not remove_route(desk.connection, route.route_id)
    desk.pass_time(hours=1)
    assert desk.deliver(route) == 0
    assert desk.states() == ["suppressed"]
    assert desk.ledger.all("SELECT target, secret FROM ledger.alert_routes") == [("", None)]
    assert list_routes(desk.connection) == []
    again = desk.route("webhook", receiver.url)
    assert desk.store(replace(ALERT, threshold_percent=None)) == 1
    assert desk.deliver(again) == 1


def test_an_alert_that_came_while_its_route_was_removed_is_suppressed(desk: Desk, receiver: Receiver) -> None:
    """Neither transaction saw the other: nobody would ever send it, and it would be pending for ever."""
    route = desk.route("webhook", receiver.url)
    desk.store(ALERT)
    assert remove_route(desk.connection, route.route_id)
    # As when the notifier's transaction ends after that of the removal.
    desk.ledger.connection.execute("UPDATE ledger.alert_deliveries SET state = 'pending', ended_at = NULL")
    DeliveryTasks(desk.settings, CollectorRegistry()).sweep(desk.connection)
    assert desk.states() == ["suppressed"]


def test_a_user_may_have_so_many_routes(desk: Desk) -> None:
    """More than twenty are refused, by name and limit; another user's do not count."""
    for n in range(20):
        desk.route("webhook", f"https://8.8.8.8/{n}")
    with pytest.raises(InvalidValue, match="at most 20"):
        desk.route("webhook", "https://8.8.8.8/more")
    desk.route("webhook", "https://8.8.8.8/more", user_id="bob")
    assert len(list_routes(desk.connection)) == 21


def test_the_secret_is_nowhere_but_in_its_column(desk: Desk) -> None:
    """Neither the listing of routes nor that of deliveries has the target or the key."""
    route = desk.route("webhook", "https://hooks.example.org/in?key=very-secret")
    desk.store(ALERT)
    shown = f"{list_routes(desk.connection)}{list_deliveries(desk.connection)}"
    shown += str(desk.ledger.all("SELECT * FROM ledger.alert_deliveries"))
    shown += str(desk.ledger.all("SELECT * FROM jobs.procrastinate_jobs"))
    assert "https://hooks.example.org/…" in shown
    assert "very-secret" not in shown
    assert route.secret is not None
    assert route.secret not in shown


def test_an_email_route_has_the_settings_server(make_desk: Callable[..., Desk], mail_server: MailServer) -> None:
    """The alert comes as an email whose id is the alert's, and a server that hangs for a while gets it later, once."""
    desk = make_desk(delivery_email_url=mail_server.url, delivery_timeout_http_seconds=0.3)
    route = desk.route("email", "alice@example.org")
    mail_server.box.replies.append("451 busy")
    desk.store(ALERT)
    assert desk.deliver(route) == 0
    desk.pass_time(minutes=1)
    assert desk.deliver(route) == 1
    (mail,) = mail_server.box.mails
    assert mail["Message-ID"] == f"<{ALERT.alert_id}@costs.example>"
    with pytest.raises(InvalidValue, match="DELIVERY_EMAIL_URL"):
        make_desk().route("email", "alice@example.org")


def test_a_hanging_target_holds_up_no_other(desk: Desk, receive: Callable[..., Receiver]) -> None:
    """Of two routes one hangs until its timeout; the other has its message."""
    slow, quick = receive(), receive()
    slow.always = hang
    first, second = desk.route("webhook", slow.url), desk.route("webhook", quick.url)
    desk.store(*many_alerts(5))
    assert desk.deliver(first) == 0
    assert len(slow.requests) == 1
    assert desk.deliver(second) == 5
