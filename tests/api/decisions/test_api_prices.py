"""The price book over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.api.decisions.conftest import Caller

from costledger.producers.prices import PriceBook, list_prices
from costledger.schemas.settings import Settings

MakeSettings = Callable[..., Settings]
StartApp = Callable[[Settings], TestClient]
OWN = """version = "own-1"

[[price]]
service = "aws-s3"
operations = ["storage"]
unit = "GB-month"
price = "0.021"
effective_from = 2026-06-01
effective_to = 2026-09-01
source = "contract 17"

[[price]]
service = "aws-s3"
operations = ["transfer"]
unit = "GB"
price = "9"
effective_from = 2026-06-01
source = "a slip of the point"
"""


def prices_of(caller: Caller, **params: Any) -> list[dict[str, Any]]:
    response = caller.get("/api/prices", **params)
    assert response.status_code == 200, response.text
    prices: list[dict[str, Any]] = response.json()["prices"]
    return prices


@pytest.fixture
def own_prices(start_app: StartApp, make_settings: MakeSettings, tmp_path: Path, user: str) -> Caller:
    """A caller of an app with a price file of its own."""
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    settings = make_settings(price_files=(path,))
    return Caller(start_app(settings), settings, user)


def test_the_shipped_book_is_listed_whole_and_in_order(caller: Caller) -> None:
    """Exactly what the book lists, each price with its unit, version and source."""
    expected = list_prices(PriceBook.load(), datetime.now(UTC))
    prices = prices_of(caller)
    assert len(expected) > 10
    assert [(row["service"], row["operation"], row["unit_price"], row["price_version"]) for row in prices] == [
        (row.service, row.operation, row.unit_price, row.price_version) for row in expected
    ]
    storage = next(row for row in prices if row["operation"] == "storage")
    assert (storage["unit"], storage["unit_price"], storage["held"]) == ("GB-month", "0.023", None)
    assert storage["source"]
    charge = next(row for row in prices if row["service"] == "stripe")
    assert charge["additions"] == {"charge_usd": "0.029"}


def test_pages_follow_each_other_without_gap_or_overlap(caller: Caller) -> None:
    """Whatever the size of a page; the last one has no cursor."""
    whole = prices_of(caller)
    for limit in (1, 3, len(whole), 1000):
        seen: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(len(whole) + 1):
            params = {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}
            answer = caller.get("/api/prices", **params).json()
            assert len(answer["prices"]) <= limit
            seen += answer["prices"]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        assert seen == whole


def test_prices_are_filtered(caller: Caller) -> None:
    """By service, operation and unit; nothing is an empty list."""
    s3 = prices_of(caller, service="aws-s3")
    assert {row["operation"] for row in s3} == {"storage", "get", "put", "transfer"}
    assert [row["unit_price"] for row in prices_of(caller, service="aws-s3", operation="transfer")] == ["0.09"]
    assert {row["service"] for row in prices_of(caller, unit="image")} == {"aws-rekognition"}
    assert prices_of(caller, service="aws-s3", unit="image") == []


def test_prices_are_those_in_force_at_the_time(own_prices: Caller) -> None:
    """A file laid over the book counts from its first day up to its last, which is excluded."""
    for at, price, version in (
        ("2026-05-31T23:59:59.999999Z", "0.023", None),
        ("2026-06-01T00:00:00Z", "0.021", "own-1@2026-06-01"),
        ("2026-06-01T01:00:00+02:00", "0.023", None),
        ("2026-08-31T23:59:59Z", "0.021", "own-1@2026-06-01"),
        ("2026-09-01T00:00:00Z", "0.023", None),
    ):
        (row,) = prices_of(own_prices, service="aws-s3", operation="storage", at=at)
        assert row["unit_price"] == price
        assert version in (None, row["price_version"])
    (row,) = prices_of(own_prices, service="aws-s3", operation="storage", at="2026-07-01T00:00:00Z")
    assert (row["effective_from"], row["effective_to"]) == ("2026-06-01", "2026-09-01")
    assert row["source"] == "contract 17"


def test_a_held_price_is_shown_as_held(own_prices: Caller) -> None:
    """With the reason; and an estimate that needs it has no total."""
    (row,) = prices_of(own_prices, service="aws-s3", operation="transfer", at="2026-07-01T00:00:00Z")
    assert row["unit_price"] == "9"
    assert "0.09" in row["held"]
    work = {"kind": "operation", "service": "aws-s3", "operation": "transfer", "quantity": 2}
    assert own_prices.post("/api/estimates", work).json()["unpriced"] == ["aws-s3/transfer"]


def test_language_models_are_found_by_name(caller: Caller) -> None:
    """Each kind of token that is charged, from the library's data; another provider's by its service."""
    prices = {row["operation"]: row for row in prices_of(caller, model="gpt-4o")}
    per_million = {name: Decimal(row["unit_price"]) * 10**6 for name, row in prices.items()}
    assert per_million["input-tokens"] == Decimal("2.5")
    assert per_million["output-tokens"] == 10
    assert per_million["cached-input-tokens"] == Decimal("1.25")
    assert prices["input-tokens"]["price_version"].startswith("genai-prices-")
    assert (prices["input-tokens"]["model"], prices["input-tokens"]["unit"]) == ("gpt-4o", "token")
    (output,) = prices_of(caller, service="anthropic", model="claude-3-5-sonnet-latest", operation="output-tokens")
    assert Decimal(output["unit_price"]) * 10**6 == 15
    assert prices_of(caller, model="a model of nobody") == []
    embedding = prices_of(caller, model="text-embedding-3-small", operation="embedding-text-embedding-3-small")
    assert [row["unit_price"] for row in embedding] == ["0.00000002"]


def test_an_answer_that_the_caller_has_is_not_sent_again(caller: Caller, own_prices: Caller) -> None:
    """304 for its tag, as it stands or weak; another answer has another tag."""
    first = caller.get("/api/prices", service="aws-s3")
    assert first.headers["Cache-Control"].startswith("private")
    tag = first.headers["ETag"]
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = caller.client.get(
            "/api/prices", params={"service": "aws-s3"}, headers={**caller.headers, "If-None-Match": header}
        )
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    headers = {**caller.headers, "If-None-Match": '"other"'}
    assert caller.client.get("/api/prices", params={"service": "aws-s3"}, headers=headers).status_code == 200
    assert caller.get("/api/prices", service="aws-s3", limit=2).headers["ETag"] != tag
    assert own_prices.get("/api/prices", service="aws-s3").headers["ETag"] != tag


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"at": "2026-11-24"}, "at"),
        ({"at": "2026-11-24T00:00:00"}, "at"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "all"}, "limit"),
        ({"cursor": "no cursor"}, "cursor"),
        ({"cursor": "0"}, "cursor"),
        ({"page": "2"}, "page"),
        ({"cursor": "é"}, "cursor"),
        ({"service": ""}, "service"),
        ({"model": "m" * 129}, "model"),
    ],
)
def test_wrong_questions_are_refused_by_name(caller: Caller, params: dict[str, Any], field: str) -> None:
    """422 with the parameter."""
    response = caller.get("/api/prices", **params)
    assert response.status_code == 422, response.text
    assert field in response.json()["detail"]


def test_prices_need_a_token(client: TestClient) -> None:
    """401 without one; any valid one will do."""
    assert client.get("/api/prices").status_code == 401
