"""`costledger routes` and `deliveries`, against a real database and a real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from standardwebhooks import Webhook
from tests.api.alerting import store_alert
from tests.deploy.conftest import Cli
from tests.sinks.notifications.receivers import Receiver, answer

from costledger.sinks.notifications.deliveries import insert_deliveries


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP server that takes everything."""
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def told(cli: Cli, api_database: str) -> Cli:
    """The command line on a migrated database, with webhooks to this machine allowed."""
    cli.settings |= {
        "COSTLEDGER_DATABASE_URL": api_database,
        "COSTLEDGER_DELIVERY_ALLOW_PRIVATE_TARGETS": "true",
        "COSTLEDGER_DELIVERY_TIMEOUT_HTTP_SECONDS": "2",
    }
    return cli


def test_a_route_from_adding_to_removing(told: Cli, receiver: Receiver) -> None:
    """Added with its key shown once, listed without it, tried out with a signed message, removed once."""
    added = told.json("routes", "add", "webhook", f"{receiver.url}/in?key=very-secret", "--user", "alice")
    assert added["target_shown"] == f"{receiver.url}/…"
    listed = told("routes", "list")
    assert added["route_id"] in listed.stdout
    assert "in use" in listed.stdout
    assert "very-secret" not in listed.stdout + listed.stderr
    assert added["secret"] not in listed.stdout
    assert told.json("routes", "list", "--operator") == {"routes": []}
    tried = told.json("routes", "test", added["route_id"])
    assert tried == {"route_id": added["route_id"], "delivered": True, "reason": None}
    (request,) = receiver.requests
    assert Webhook(added["secret"]).verify(request.body, request.headers)["type"] == "costledger.v1.test"
    receiver.always = answer(418)
    refused = told("routes", "test", added["route_id"])
    assert (refused.returncode, "not taken: HTTP 418" in refused.stdout) == (1, True)
    again = told("routes", "add", "webhook", f"{receiver.url}/in?key=very-secret", "--user", "alice")
    assert again.returncode == 1
    assert "already" in again.stderr
    assert told("routes", "remove", added["route_id"]).returncode == 0
    assert told("routes", "remove", added["route_id"]).returncode == 1
    assert told("routes", "test", added["route_id"]).returncode == 1
    assert "nobody is told" in told("routes", "list").stdout


def test_what_is_refused_is_named_without_the_target(told: Cli) -> None:
    """Wrong usage ends with 2, and what was typed as a target is not repeated."""
    for arguments in (
        ("webhook", "ftp://example.org/very-secret"),
        ("pigeon", "very-secret"),
        ("email", "very-secret@example.org"),
        ("webhook", "https://example.org/very-secret", "--severity", "LOUD"),
        ("webhook", "https://example.org/very-secret", "--kind", "RAIN"),
    ):
        refused = told("routes", "add", *arguments)
        assert refused.returncode == 2, refused.stderr
        assert "very-secret" not in refused.stderr + refused.stdout


def test_deliveries_are_listed_and_tried_again(told: Cli, api_database: str) -> None:
    """A dead delivery is seen with its reason; trying again makes it pending, and a job for it."""
    route = told.json("routes", "add", "webhook", "https://example.org/in")
    with psycopg.connect(api_database, autocommit=True) as connection:
        alert_id = store_alert(connection, "alice")
        insert_deliveries(connection, alert_id)
        connection.execute(
            "UPDATE ledger.alert_deliveries SET state = 'dead', ended_at = now(), last_error = 'HTTP 500'"
        )
        listed: dict[str, Any] = told.json("deliveries", "list", "--state", "dead", "--route", route["route_id"])
        assert listed["counts"] == {"webhook": {"pending": 0, "dead": 1}}
        assert [(one["alert_id"], one["last_error"]) for one in listed["deliveries"]] == [(str(alert_id), "HTTP 500")]
        text = told("deliveries", "list").stdout
        assert "0 wait, 1 were given up (dead)" in text
        assert "https://example.org/…" in text
        assert told("deliveries", "retry", str(uuid4())).returncode == 1
        assert told("deliveries", "retry").returncode == 2
        assert told("deliveries", "list", "--state", "odd").returncode == 2
        assert told.json("deliveries", "retry", str(alert_id)) == {"retried": 1}
        jobs = connection.execute("SELECT args ->> 'route_id' FROM jobs.procrastinate_jobs").fetchall()
        assert jobs == [(route["route_id"],)]
    assert "1 wait, 0 were given up (dead)" in told("deliveries", "list").stdout
