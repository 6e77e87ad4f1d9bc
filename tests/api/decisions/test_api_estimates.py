"""Estimates over HTTP: figures worked out by hand, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.api.decisions.conftest import Caller

from costledger.schemas.settings import Settings

MIB = 2**20
#: 50 MiB: 10 minutes, 7500 characters (75 units of each operation), 2000 tokens.
VIDEO_BYTES = 50 * MIB


def total_of(caller: Caller, **body: Any) -> Decimal:
    response = caller.post("/api/estimates", body)
    assert response.status_code == 200, response.text
    answer = response.json()
    amounts = [Decimal(item["amount"]) for item in answer["items"]]
    assert sum(amounts) == Decimal(answer["total"]) == Decimal(answer["at_least"])
    assert answer["unpriced"] == []
    return Decimal(answer["total"])


def test_an_image_costs_its_features_and_a_hundred_tokens(caller: Caller) -> None:
    """Features x 0.001 + 100 tokens at 0.02 per million; the features are the plan's."""
    tokens = Decimal("0.000002")
    assert total_of(caller, kind="image") == Decimal("0.001") + tokens
    features = {"free": 1, "default": 1, "premium": 3, "ultimate": 5, "one of nobody": 1}
    for tier, count in features.items():
        assert total_of(caller, kind="image", tier=tier) == count * Decimal("0.001") + tokens
    assert total_of(caller, kind="image", images=7, tier="premium") == 7 * (3 * Decimal("0.001") + tokens)
    # 2 GiB stored for a month
    assert total_of(caller, kind="image", size_bytes=2**31) == Decimal("0.001") + tokens + Decimal("0.046")


def test_a_video_costs_what_its_frames_and_minutes_do(caller: Caller) -> None:
    """10 minutes: 1.00 Rekognition, 0.24 Transcribe, 3 x 75 x 0.0001 Comprehend, 2000 tokens, 50/1024 GB stored."""
    storage = Decimal("0.001123046875")  # 0.048828125 GB at 0.023
    expected = Decimal("1.00") + Decimal("0.24") + Decimal("0.0225") + Decimal("0.00004") + storage
    assert total_of(caller, kind="video", size_bytes=VIDEO_BYTES) == expected
    # free: 120 s, no Comprehend: 0.20 + 0.048 + 400 tokens, and the whole file is stored
    assert total_of(caller, kind="video", size_bytes=VIDEO_BYTES, tier="free") == Decimal("0.248008") + storage


def test_a_line_item_says_where_its_amount_comes_from(caller: Caller) -> None:
    """Quantity times unit price is the amount, by the price that is named; the notes say what was assumed."""
    answer = caller.post("/api/estimates", {"kind": "video", "size_bytes": VIDEO_BYTES}).json()
    transcription = next(item for item in answer["items"] if item["operation"] == "transcription")
    assert transcription == {
        "service": "aws-transcribe",
        "operation": "transcription",
        "model": None,
        "quantity": "10",
        "unit": "minute",
        "unit_price": "0.024",
        "price_version": transcription["price_version"],
        "amount": "0.24",
    }
    assert transcription["price_version"]
    assert answer["plan"] is None
    assert "no plan" in answer["notes"][0]
    limited = caller.post("/api/estimates", {"kind": "video", "size_bytes": VIDEO_BYTES, "tier": "free"}).json()
    assert limited["plan"] == {
        "tier": "free",
        "rekognition": ["detectLabels"],
        "comprehend": [],
        "embedding": ["text-embedding-3-small"],
        "seconds_max": 120,
    }
    assert "120 s" in limited["notes"][0]


def test_other_kinds_of_work_have_the_books_prices(caller: Caller) -> None:
    """Tokens by the library's data, embeddings and any operation by the price book, a combination by its parts."""
    assert total_of(caller, kind="embedding", tokens=1_000_000, model="text-embedding-3-large") == Decimal("0.13")
    assert total_of(caller, kind="embedding", tokens=500_000) == Decimal("0.01")
    comprehend = {"kind": "operation", "service": "aws-comprehend", "operation": "detectSentiment"}
    assert total_of(caller, **comprehend, quantity=101, unit="character") == Decimal("0.0002")
    stripe = {"kind": "operation", "service": "stripe", "operation": "charge", "metadata": {"charge_usd": "100"}}
    assert total_of(caller, **stripe) == Decimal("3.20")
    # gpt-4o: 2.50 in, 1.25 cached, 10.00 out, per million
    chat = {"kind": "chat", "model": "gpt-4o", "input_tokens": 1000, "output_tokens_max": 500}
    assert total_of(caller, **chat) == Decimal("0.0075")
    assert total_of(caller, **chat, cached_input_tokens=400) == Decimal("0.007")
    parts = [{"kind": "image"}, chat, comprehend | {"quantity": "1"}]
    assert total_of(caller, kind="combined", parts=parts) == Decimal("0.001002") + Decimal("0.0075") + Decimal("0.0001")


def test_json_numbers_are_exact(caller: Caller) -> None:
    """A number with more digits than a float has is not rounded by the way."""
    text = '{"kind": "operation", "service": "aws-s3", "operation": "transfer", "quantity": 1000000.000000001}'
    response = caller.post_text("/api/estimates", text)
    assert response.json()["items"][0]["quantity"] == "1000000.000000001"
    assert response.json()["total"] == "90000.00000000009"


def test_what_has_no_price_is_named_and_never_zero(caller: Caller) -> None:
    """The total is null, what is known stands beside it, and the names say what is missing."""
    unknown = {"kind": "operation", "service": "aws-textract", "operation": "analyze", "quantity": 3}
    response = caller.post("/api/estimates", {"kind": "combined", "parts": [{"kind": "image"}, unknown]})
    answer = response.json()
    assert (response.status_code, answer["total"], answer["at_least"]) == (200, None, "0.001002")
    assert answer["unpriced"] == ["aws-textract/analyze"]
    assert answer["items"][-1]["amount"] is None
    chat = {"kind": "chat", "model": "a model of nobody", "input_tokens": 1, "output_tokens_max": 1}
    answer = caller.post("/api/estimates", chat).json()
    assert answer["total"] is None
    assert answer["unpriced"] == [
        "openai/input-tokens of a model of nobody",
        "openai/output-tokens of a model of nobody",
    ]


def test_prices_are_those_of_the_time(
    start_app: Callable[[Settings], TestClient], make_settings: Callable[..., Settings], tmp_path: Path, user: str
) -> None:
    """A price of a file laid over the book counts from its day on, and not before."""
    path = tmp_path / "own.toml"
    path.write_text(
        """version = "own-1"
        [[price]]
        service = "aws-rekognition"
        operations = ["detectLabels"]
        unit = "image"
        price = "0.002"
        effective_from = 2026-06-01
        source = "a contract"
        """
    )
    settings = make_settings(price_files=(path,))
    caller = Caller(start_app(settings), settings, user)
    before = caller.post("/api/estimates", {"kind": "image", "occurs_at": "2026-06-01T01:00:00+02:00"}).json()
    assert (before["total"], before["priced_at"]) == ("0.001002", "2026-05-31T23:00:00Z")
    after = caller.post("/api/estimates", {"kind": "image", "occurs_at": "2026-06-01T00:00:00Z"}).json()
    assert (after["total"], after["items"][0]["price_version"]) == ("0.002002", "own-1@2026-06-01")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "film"}, "kind"),
        ({"kind": "image", "images": -1}, "images"),
        ({"kind": "image", "images": 1_000_001}, "images"),
        ({"kind": "image", "images": "many"}, "images"),
        ({"kind": "image", "images": 1.5}, "images"),
        ({"kind": "image", "size": 1}, "size"),
        ({"kind": "video"}, "size_bytes"),
        ({"kind": "video", "size_bytes": 2**50 + 1}, "size_bytes"),
        ({"kind": "chat", "model": "gpt-4o", "input_tokens": 1}, "output_tokens_max"),
        (
            {"kind": "chat", "model": "m", "input_tokens": 1, "output_tokens_max": 1, "cached_input_tokens": 2},
            "cached_input_tokens",
        ),
        ({"kind": "embedding", "tokens": 1_000_000_001}, "tokens"),
        ({"kind": "operation", "service": "", "operation": "o"}, "service"),
        ({"kind": "operation", "service": "s", "operation": "o", "quantity": -1}, "quantity"),
        ({"kind": "operation", "service": "s", "operation": "o", "quantity": "1.0000000001"}, "quantity"),
        ({"kind": "operation", "service": "s", "operation": "o", "quantity": True}, "quantity"),
        ({"kind": "operation", "service": "s", "operation": "o", "metadata": {"a": [1]}}, "metadata.a"),
        ({"kind": "combined", "parts": []}, "parts"),
        ({"kind": "combined", "parts": [{"kind": "image"}] * 101}, "parts"),
        ({"kind": "combined", "parts": [{"kind": "video", "size_bytes": -1}]}, "size_bytes"),
        ({"kind": "image", "tier": ""}, "tier"),
        ({"kind": "image", "occurs_at": "2026-11-24T12:00:00"}, "occurs_at"),
        ({"kind": "image", "occurs_at": "yesterday"}, "occurs_at"),
    ],
)
def test_what_is_out_of_bounds_is_named(caller: Caller, body: dict[str, Any], field: str) -> None:
    """422 with the field that is wrong."""
    response = caller.post("/api/estimates", body)
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["code"] == "invalid_value"
    assert field in problem["detail"]


def test_an_estimate_needs_a_token(caller: Caller) -> None:
    """401 without one."""
    assert caller.client.post("/api/estimates", json={"kind": "image"}).status_code == 401
