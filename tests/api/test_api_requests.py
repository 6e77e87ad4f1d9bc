"""What every request passes through: its id, its line in the log, limits, headers, metrics."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import structlog
from pydantic import SecretStr
from starlette.testclient import TestClient
from tests.fixtures.fix_api import RunningApi, bearer
from tests.fixtures.fix_redis import OwnRedis

from costledger.api.middleware.limits import address_key
from costledger.api.services import Services
from costledger.schemas.settings import Settings

BUDGET = "/api/billing/budget"


def test_a_start_that_fails_leaves_no_thread_behind(api_settings: Settings) -> None:
    """Settings that name no Redis are refused before anything runs."""
    before = set(threading.enumerate())
    with pytest.raises(ValueError, match="Redis URL"):
        Services.open(api_settings.model_copy(update={"redis_url": SecretStr("nonsense://x")}))
    assert set(threading.enumerate()) == before


def test_request_ids(api_client: TestClient) -> None:
    """A sane id is taken and given back; anything else is replaced."""
    given = "4bf92f35-77b3.4da6/a:3=1"
    assert api_client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given
    made = set()
    for bad in ("", "a b", "x" * 129, "<script>", "a\tb"):
        found = api_client.get("/healthz", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", found)
        made.add(found)
    assert len(made) == 5


def test_a_line_for_each_request(api_client: TestClient) -> None:
    """Method, path, status, time, user and request id are logged; tokens and queries are not."""
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        headers = bearer("zoë") | {"X-Request-Id": "abc"}
        api_client.get(f"{BUDGET}?user_id=zo%C3%AB", headers=headers)
        api_client.get("/healthz")
    (line,) = [one for one in lines if one["event"] == "request" and one["log_level"] == "info"]
    assert line["milliseconds"] >= 0
    assert {name: line[name] for name in ("method", "path", "status", "user", "request_id")} == {
        "method": "GET",
        "path": BUDGET,
        "status": 200,
        "user": "zoë",
        "request_id": "abc",
    }
    assert headers["Authorization"].split()[1] not in json.dumps(lines, default=str)


def test_headers_that_keep_a_browser_safe(api_client: TestClient) -> None:
    """On data, errors and for machines alike: no sniffing, no framing, nothing kept."""
    for answer in (
        api_client.get(BUDGET, headers=bearer("u")),
        api_client.get(BUDGET),
        api_client.get("/nothing"),
        api_client.get("/healthz"),
        api_client.get("/openapi.json"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_a_user_who_asks_too_often(api_settings: Settings, start_api: Callable[[Settings], TestClient]) -> None:
    """429 with Retry-After once the window is used up; another user is not held up by it, nor are machines."""
    client = start_api(api_settings.model_copy(update={"api_rate_limit": "3/hour"}))
    remaining = []
    for _ in range(3):
        answer = client.get(BUDGET, headers=bearer("u"))
        assert answer.status_code == 200
        assert answer.headers["ratelimit-limit"] == "3"
        assert answer.headers["ratelimit-policy"] == "3;w=3600"
        remaining.append(int(answer.headers["ratelimit-remaining"]))
    assert remaining == [2, 1, 0]
    # Whatever is asked for, with whichever of the user's tokens, also what is not there.
    for path, headers in ((BUDGET, bearer("u")), ("/api/nothing", bearer("u", "analyst", seconds=60))):
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert answer.headers["content-type"] == "application/problem+json"
        assert 0 < int(answer.headers["retry-after"]) <= 2 * 3600
        assert answer.headers["ratelimit-remaining"] == "0"
    assert client.get(BUDGET, headers=bearer("u/")).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_two_processes_count_together(api_settings: Settings, start_api: Callable[[Settings], TestClient]) -> None:
    """The limit is the user's, not the process's."""
    settings = api_settings.model_copy(update={"api_rate_limit": "2/hour"})
    one, other = start_api(settings), start_api(settings)
    assert [client.get(BUDGET, headers=bearer("u")).status_code for client in (one, other, one)] == [200, 200, 429]


def test_an_address_without_a_token(api_settings: Settings, start_api: Callable[[Settings], TestClient]) -> None:
    """Made-up tokens are counted by address, under a limit of their own."""
    client = start_api(api_settings.model_copy(update={"api_rate_limit_anonymous": "2/hour"}))
    assert [client.get(BUDGET, headers=headers).status_code for headers in ({}, bearer("u", aud="x"), {})] == [
        401,
        401,
        429,
    ]
    assert client.get(BUDGET, headers=bearer("u")).status_code == 200


def test_nobody_is_kept_out_when_redis_dies(
    api_settings: Settings, own_redis: OwnRedis, start_api: Callable[[Settings], TestClient]
) -> None:
    """Without Redis requests pass unlimited and are counted as such, with one line in the log, not one each."""
    settings = api_settings.model_copy(
        update={"redis_url": type(api_settings.redis_url)(own_redis.url), "api_rate_limit": "3/hour"}
    )
    client = start_api(settings)
    assert "ratelimit-limit" in client.get(BUDGET, headers=bearer("u")).headers
    own_redis.kill()
    with structlog.testing.capture_logs() as lines:
        answers = [client.get(BUDGET, headers=bearer("u")) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit-limit" not in answers[-1].headers
    assert len([line for line in lines if "not limited" in line["event"]]) == 1
    assert "costledger_api_unlimited_requests_total 8.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        (None, "somewhere", False),
    ],
)
def test_what_an_address_is_counted_as(one: str | None, other: str, same: bool) -> None:
    """An IPv6 network is one caller: its addresses cost nothing."""
    assert (address_key(one) == address_key(other)) is same


def test_a_trusted_proxy_says_whose_request_it_is(
    api_settings: Settings, start_server: Callable[[Settings], RunningApi]
) -> None:
    """X-Forwarded-For is believed from a proxy that the settings name, and from nobody else."""
    for proxies, statuses in (("127.0.0.1", [401, 401, 401]), ("", [401, 429, 429])):
        update = {"api_trusted_proxies": proxies, "api_rate_limit_anonymous": "1/hour"}
        url = start_server(api_settings.model_copy(update=update)).url
        found = [
            httpx.get(
                f"{url}/api/alerts", headers={"X-Forwarded-For": f"192.0.2.{number}"}, trust_env=False
            ).status_code
            for number in range(3)
        ]
        assert found == statuses


def test_more_at_once_than_can_be_answered(api_client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After, instead of a queue without an end."""
    monkeypatch.setattr("costledger.api.middleware.observing.REQUESTS_MAX", 0)
    answer = api_client.get(BUDGET, headers=bearer("u"))
    assert (answer.status_code, answer.json()["code"]) == (503, "too_busy")
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    assert api_client.get(BUDGET, headers=bearer("u")).status_code == 200


def test_metrics_by_route(api_client: TestClient) -> None:
    """Requests are counted by the route's template, so that no caller can make new series."""
    api_client.get(BUDGET, headers=bearer("u"))
    for _ in range(3):
        api_client.get(f"/api/alerts/{uuid.uuid4()}", headers=bearer("u"))
        api_client.get(f"/nothing/{uuid.uuid4()}")
    api_client.request("BREW", BUDGET, headers=bearer("u"))
    answer = api_client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.text
    assert f'costledger_api_requests_total{{method="GET",route="{BUDGET}",status="200"}} 1.0' in text
    assert 'costledger_api_requests_total{method="GET",route="/api/alerts/{alert_id}",status="404"} 3.0' in text
    assert 'costledger_api_requests_total{method="GET",route="unmatched",status="404"} 3.0' in text
    assert 'method="other"' in text
    assert "costledger_api_request_seconds_bucket" in text
    assert "costledger_api_in_flight_requests 1.0" in text


def test_the_document_is_complete(api_client: TestClient) -> None:
    """Every route under /api needs a token, has an id, and says how its errors look."""
    document: dict[str, Any] = api_client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    ids = []
    for path, operations in document["paths"].items():
        for operation in operations.values():
            ids.append(operation["operationId"])
            if not path.startswith("/api/"):
                continue
            assert operation["security"] == [{"bearer": []}], path
            assert {"401", "403", "422", "429", "500", "503"} <= set(operation["responses"])
            for status, response in operation["responses"].items():
                assert "X-Request-Id" in response["headers"]
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (path, status)
    assert len(ids) == len(set(ids))
