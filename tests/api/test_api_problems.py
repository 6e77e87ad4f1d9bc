"""Errors of the API: each is a problem with a stable code, and tells nothing that is not the caller's."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
import structlog
from starlette.testclient import TestClient
from tests.fault.harness.proxy import LOOPBACK, Link, Loop
from tests.fixtures.fix_api import RunningApi, bearer

from costledger.api.middleware.bodies import DEPTH_MAX
from costledger.schemas.settings import Settings

BUDGET = "/api/billing/budget"
JSON = {"Content-Type": "application/json"}


def problem(answer: Any, status: int, code: str) -> Any:
    """The problem of an answer, which is one of this status and code."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    document = answer.json()
    assert (document["status"], document["code"]) == (status, code)
    assert {"type", "title", "detail"} <= set(document)
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


def test_routes_and_methods_that_are_not_there(api_client: TestClient) -> None:
    """404 and 405 are problems; 405 names every method that the path knows."""
    problem(api_client.get("/api/nothing", headers=bearer("u")), 404, "not_found")
    problem(api_client.get("/api/alerts/", headers=bearer("u")), 404, "not_found")
    answer = api_client.delete(BUDGET, headers=bearer("u"))
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, PUT"


def test_a_body_that_is_too_large(api_client: TestClient, api_settings: Settings) -> None:
    """413, whether the length is announced or the body comes in pieces."""
    limit = api_settings.api_request_bytes_max
    headers = bearer("u") | JSON
    problem(api_client.put(BUDGET, content=b" " * (limit + 1), headers=headers), 413, "body_too_large")

    def pieces() -> Iterator[bytes]:
        for _ in range(limit // 1000 + 2):
            yield b" " * 1000

    problem(api_client.put(BUDGET, content=pieces(), headers=headers), 413, "body_too_large")
    document = json.dumps({"monthly_budget": 1}).encode()
    fits = document + b" " * (limit - len(document))
    assert api_client.put(BUDGET, content=fits, headers=headers).status_code == 200


def test_a_server_that_is_sent_too_much(api_server: RunningApi, api_settings: Settings) -> None:
    """Over a connection too: chunks without an end are cut off at the limit."""
    import httpx

    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1000

    with httpx.Client(trust_env=False) as client:
        answer = client.put(api_server.url + BUDGET, content=pieces(), headers=bearer("u") | JSON)
    assert answer.status_code == 413


def test_a_body_of_another_type(api_client: TestClient) -> None:
    """415 for what is no JSON by its own words."""
    for content_type in (None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"):
        headers = bearer("u") | ({} if content_type is None else {"Content-Type": content_type})
        problem(api_client.put(BUDGET, content=b"{}", headers=headers), 415, "unsupported_media_type")
    for accepted in ("application/json; charset=utf-8", "application/merge-patch+json"):
        headers = bearer("u") | {"Content-Type": accepted}
        assert api_client.put(BUDGET, content=b"{}", headers=headers).status_code == 200


def test_a_body_that_is_no_json(api_client: TestClient) -> None:
    """400 for text that no JSON reader takes, and for what would exhaust one."""
    for body in (
        b"{",
        b"{'a': 1}",
        b"\xff\xfe",
        b'{"monthly_budget": NaN}',
        b'{"monthly_budget": -Infinity}',
        b'{"a": ' * 5000,
        b"[" * (DEPTH_MAX + 2) + b"]" * (DEPTH_MAX + 2),
        b'{"monthly_budget": ' + b"9" * 5000 + b"}",
    ):
        problem(api_client.put(BUDGET, content=body, headers=bearer("u") | JSON), 400, "malformed_json")


def test_text_that_no_database_can_hold(api_client: TestClient) -> None:
    """NUL and halves of surrogate pairs are 422, wherever in the document they are."""
    for body, field in (
        (b'{"time_zone": "a\\u0000b"}', "time_zone"),
        (b'{"time_zone": "a\\ud800"}', "time_zone"),
        (b'{"alert_thresholds": ["1", "\\udfff"]}', "alert_thresholds.1"),
        (b'{"a\\u0000": 1}', "(name)"),
    ):
        document = problem(api_client.put(BUDGET, content=body, headers=bearer("u") | JSON), 422, "invalid_value")
        assert [one["field"] for one in document["errors"]] == [field]


def test_an_address_that_no_database_can_hold(api_client: TestClient) -> None:
    """The same in query and path, and the document says so; a query of very many fields is refused before it is taken apart."""
    headers = bearer("u", "operator")
    parameters = api_client.get("/openapi.json").json()["paths"][BUDGET]["get"]["parameters"]
    schema = next(one["schema"] for one in parameters if one["name"] == "user_id")
    pattern = re.compile(next(one["pattern"] for one in schema["anyOf"] if "pattern" in one))
    assert pattern.search("a b")
    assert not pattern.search("a\0b")
    for path, field in ((f"{BUDGET}?user_id=a%00b", "user_id"), ("/api/alerts/%00", "path")):
        document = problem(api_client.get(path, headers=headers), 422, "invalid_value")
        assert document["errors"][0]["field"] == field
    problem(api_client.get(f"{BUDGET}?{'a=1&' * 200}", headers=headers), 422, "invalid_value")


def test_the_document_admits_no_nul_in_any_text(api_client: TestClient) -> None:
    """What comes in as text has a pattern, a format or a list of values in the document, and none of them admits NUL."""
    document = api_client.get("/openapi.json").json()
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    waiting = [one[part] for one in operations for part in ("parameters", "requestBody") if part in one]
    waiting.append(document["components"]["schemas"]["OperationModel"]["properties"]["metadata"]["propertyNames"])
    texts = 0
    seen = set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            if part.get("type") == "string":
                texts += 1
                assert {"pattern", "format", "enum", "const"} & part.keys(), part
            if "pattern" in part:
                assert not re.search(part["pattern"], "a\0b"), part
        elif isinstance(part, str) and part.startswith("#/components/schemas/") and part not in seen:
            seen.add(part)
            waiting.append(document["components"]["schemas"][part.rpartition("/")[2]])
    assert texts > 20
    for model in ("\0", "a\0"):
        answer = api_client.get("/api/prices", params={"model": model}, headers=bearer("u"))
        assert [one["field"] for one in problem(answer, 422, "invalid_value")["errors"]] == ["model"]


def test_a_document_that_is_no_object(api_client: TestClient) -> None:
    """Lists, texts, null and nothing at all are 422; the field is the body."""
    for body in (b"[]", b'"text"', b"null", b"1.5", b""):
        document = problem(api_client.put(BUDGET, content=body, headers=bearer("u") | JSON), 422, "invalid_value")
        assert document["errors"][0]["field"] == "body"


def test_a_ledger_that_is_away(api_settings: Settings, start_api: Callable[[Settings], TestClient]) -> None:
    """503 with Retry-After and neither host nor SQL; the API starts all the same, and says at /readyz what is missing."""
    away = api_settings.model_copy(
        update={"database_url": type(api_settings.database_url)("postgresql://me:secret@127.0.0.1:9/x")}
        | {"api_timeout_seconds": 0.3}
    )
    client = start_api(away)
    answer = client.get(BUDGET, headers=bearer("u"))
    problem(answer, 503, "ledger_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    for told in ("secret", "127.0.0.1", "SELECT"):
        assert told not in answer.text
    ready = client.get("/readyz")
    assert (ready.status_code, "PostgreSQL does not answer" in ready.text) == (503, True)
    assert "secret" not in ready.text
    assert client.get("/healthz").status_code == 200


def test_a_ledger_without_its_migrations(
    api_settings: Settings, api_ledger: psycopg.Connection[Any], start_api: Callable[[Settings], TestClient]
) -> None:
    """/readyz names the migrations that are missing."""
    api_ledger.execute("DELETE FROM public._yoyo_migration WHERE migration_id LIKE '0013%'")
    ready = start_api(api_settings).get("/readyz")
    assert (ready.status_code, ready.text) == (503, "the ledger lacks 0013_api: costledger migrate\n")


def test_a_statement_that_takes_too_long(
    api_settings: Settings, api_ledger: psycopg.Connection[Any], start_api: Callable[[Settings], TestClient]
) -> None:
    """A statement that waits longer than the settings allow is ended: 503, and no thread is lost."""
    client = start_api(api_settings.model_copy(update={"api_timeout_seconds": 2}))
    with api_ledger.transaction():
        api_ledger.execute("LOCK TABLE ledger.budgets IN ACCESS EXCLUSIVE MODE")
        problem(client.get(BUDGET, headers=bearer("u")), 503, "ledger_unavailable")
    assert client.get(BUDGET, headers=bearer("u")).status_code == 200


def test_a_ledger_that_takes_requests_and_never_answers(
    api_settings: Settings, start_api: Callable[[Settings], TestClient], api_ledger: psycopg.Connection[Any]
) -> None:
    """503 in bounded time, one for each connection at most; no thread is lost, and a new connection answers."""
    parts = urlsplit(api_settings.database_url.get_secret_value())
    assert parts.port is not None
    loop = Loop()
    link = Link(loop, "api - postgres", parts.port)
    address = parts.netloc.rpartition("@")[0] + f"@{LOOPBACK}:{link.port}"
    url = type(api_settings.database_url)(parts._replace(netloc=address).geturl())
    try:
        client = start_api(api_settings.model_copy(update={"database_url": url, "api_timeout_seconds": 1.0}))
        assert client.get(BUDGET, headers=bearer("u")).status_code == 200
        # One, or more where several were asked for at once when the API began.
        ((connections,),) = api_ledger.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'costledger api' AND datname = current_database()"
        ).fetchall()
        link.freeze_connections()
        for _ in range(connections):
            began = time.monotonic()
            answer = client.get(BUDGET, headers=bearer("u"))
            assert time.monotonic() - began < 15
            if answer.status_code != 200:
                problem(answer, 503, "ledger_unavailable")
        assert client.get(BUDGET, headers=bearer("u")).status_code == 200
    finally:
        link.close()
        loop.close()


def test_a_connection_that_broke_is_replaced(
    api_client: TestClient, api_ledger: psycopg.Connection[Any], wait_until: Callable[..., Any]
) -> None:
    """A restart of PostgreSQL between two requests is felt by none of them."""
    assert api_client.get(BUDGET, headers=bearer("u")).status_code == 200
    ended = api_ledger.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'costledger api' AND datname = current_database()"
    ).fetchone()
    assert ended is not None
    assert ended[0] > 0
    assert api_client.get(BUDGET, headers=bearer("u")).status_code == 200


def test_a_defect_tells_its_request_id_alone(api_client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 has nothing of the error in it; the log has all of it."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr("costledger.api.routes.budget.get_budget", broken)
    with structlog.testing.capture_logs() as lines:
        answer = api_client.get(BUDGET, headers=bearer("u") | {"X-Request-Id": "trace-me"})
    assert [line["exc_info"] for line in lines if line["log_level"] == "error"] == [True]
    document = problem(answer, 500, "internal_error")
    assert document["request_id"] == "trace-me"
    assert "secret of the inside" not in answer.text
    assert "ZeroDivisionError" not in answer.text
    monkeypatch.undo()
    assert api_client.get(BUDGET, headers=bearer("u")).status_code == 200


def test_redis_that_is_away_is_not_ready(api_settings: Settings, start_api: Callable[[Settings], TestClient]) -> None:
    """/readyz says so; budgets do not need it."""
    away = api_settings.model_copy(update={"redis_url": type(api_settings.redis_url)("redis://:hidden@127.0.0.1:9/0")})
    client = start_api(away)
    ready = client.get("/readyz")
    assert (ready.status_code, "Redis does not answer" in ready.text) == (503, True)
    assert "hidden" not in ready.text
    assert client.get(BUDGET, headers=bearer("u")).status_code == 200
    with pytest.raises(redis.RedisError):
        client.app.state.services.redis.ping()  # type: ignore[attr-defined]  # the app is ours
