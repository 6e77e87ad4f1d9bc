"""Estimates: every amount worked out by hand, in 1e-12 USD."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.producers import PriceBook
from costledger.producers.optimiser.estimates import Estimate, line_item
from costledger.producers.optimiser.plans import Plan, Plans
from costledger.producers.optimiser.work import ChatWork, CombinedWork, ImageWork, OperationWork, VideoWork, Work
from costledger.schemas.errors import InvalidValue, PriceError
from costledger.schemas.money import to_usd

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
BOOK = PriceBook.load()
PLANS = Plans.load()
MIB = 2**20


def amounts(estimate: Estimate) -> dict[str, Decimal | None]:
    """USD by operation."""
    return {item.operation: None if item.amount is None else to_usd(item.amount) for item in estimate.items}


@pytest.mark.parametrize(
    ("tier", "usd"),
    [
        # features x 0.001 + 100 tokens x 0.02 / 1e6
        ("default", "0.001002"),
        ("free", "0.001002"),
        ("premium", "0.003002"),
        ("ultimate", "0.005002"),
        ("any other", "0.001002"),
    ],
)
def test_an_image_costs_its_features_and_its_embedding(tier: str, usd: str) -> None:
    """0.001 for each Rekognition operation of the plan, and 100 tokens of text-embedding-3-small."""
    estimate = ImageWork().estimate(BOOK, AT, PLANS.of(tier))
    assert to_usd(estimate.total) == Decimal(usd)
    assert [item.units for item in estimate.items] == [1] * (len(estimate.items) - 1) + [100]


def test_an_images_storage_is_bytes_by_the_gibibyte() -> None:
    """512 MiB are half a GB-month: 0.0115."""
    estimate = ImageWork(512 * MIB, images=3).estimate(BOOK, AT, PLANS.of("default"))
    assert amounts(estimate) == {
        "detectLabels": Decimal("0.003"),
        "embedding-text-embedding-3-small": Decimal("0.000006"),
        "storage": Decimal("0.0115"),
    }
    assert estimate.items[-1].units == Decimal("0.5")


@pytest.mark.parametrize(
    ("tier", "minutes", "comprehend", "embedding", "usd"),
    [
        # 50 MiB are 10 minutes. 0.10 + 0.024 a minute; 7.5 begun hundreds of characters a minute and operation;
        # 200 tokens a minute; 50/1024 GB-months are 0.001123046875.
        (None, 10, ["0.0075", "0.0075", "0.0075"], "0.00004", "1.263663046875"),
        ("free", 2, [], "0.000008", "0.249131046875"),
        # 5 minutes: 3750 characters are 38 begun hundreds.
        ("default", 5, ["0.0038"], "0.00002", "0.624943046875"),
        ("premium", 10, ["0.0075", "0.0075"], "0.00004", "1.256163046875"),
        ("ultimate", 10, ["0.0075", "0.0075", "0.0075"], "0.00004", "1.263663046875"),
    ],
)
def test_a_video_costs_by_the_minute(
    tier: str | None, minutes: int, comprehend: list[str], embedding: str, usd: str
) -> None:
    """All five services, up to as many seconds as the plan has; without a plan three Comprehend operations."""
    estimate = VideoWork(50 * MIB).estimate(BOOK, AT, None if tier is None else PLANS.of(tier))
    by_operation = amounts(estimate)
    assert by_operation["videoAnalysis"] == minutes * Decimal("0.10")
    assert by_operation["transcription"] == minutes * Decimal("0.024")
    assert by_operation["embedding-text-embedding-3-small"] == Decimal(embedding)
    assert by_operation["storage"] == Decimal("0.001123046875")
    text = [to_usd(item.amount or 0) for item in estimate.items if item.service == "aws-comprehend"]
    assert text == [Decimal(part) for part in comprehend]
    assert to_usd(estimate.total) == Decimal(usd)


@pytest.mark.parametrize(("tier", "seconds"), [("free", 120), ("default", 300), ("premium", 600), ("ultimate", 1800)])
def test_a_video_beyond_the_plans_seconds_is_estimated_to_there(tier: str, seconds: int) -> None:
    """A second more makes no difference but to storage, and the answer says so."""
    fits = seconds * 5 * MIB // 60
    longer = fits + 5 * MIB // 60 + 1
    plan = PLANS.of(tier)
    exact, cut = (VideoWork(size).estimate(BOOK, AT, plan) for size in (fits, longer))
    assert exact.items[:-1] == cut.items[:-1]
    assert exact.items[-1].operation == "storage"
    assert exact.notes == ()
    assert cut.notes == (f"the first {seconds} s of about {seconds + 1} s of video: the plan has no more",)


def test_a_plan_without_features_pays_for_none_of_them() -> None:
    """Neither Rekognition, Comprehend nor an embedding: a video is transcribed and stored, an image stored."""
    nothing = Plan(tier="bare", rekognition=(), comprehend=(), embedding=(), seconds_max=60)
    assert amounts(VideoWork(5 * MIB).estimate(BOOK, AT, nothing)) == {
        "transcription": Decimal("0.024"),
        # 5/1024 GB-months are 0.0048828125; to 1e-9, half to even, 0.004882812; x 0.023.
        "storage": Decimal("0.000112304676"),
    }
    assert list(amounts(ImageWork(MIB).estimate(BOOK, AT, nothing))) == ["storage"]
    none_at_all = replace(nothing, seconds_max=0)
    assert list(amounts(VideoWork(5 * MIB).estimate(BOOK, AT, none_at_all))) == ["storage"]


def test_quantities_are_rounded_as_the_ledger_rounds_them() -> None:
    """One byte of video: each quantity to 1e-9, each amount once, begun hundreds of characters whole."""
    estimate = VideoWork(1).estimate(BOOK, AT)
    assert [(item.quantity, item.amount) for item in estimate.items] == [
        (191, 19_100),  # 190.73 e-9 minutes at 0.10
        (191, 4_584),  # at 0.024
        (10**9, 100_000_000),
        (10**9, 100_000_000),
        (10**9, 100_000_000),
        (38_147, 1),  # 38146.97 e-9 tokens at 2e-8: 0.763e-12
        (1, 23),  # 0.93 e-9 GB-months at 0.023
    ]
    assert estimate.total == 300_023_708


@pytest.mark.parametrize(("quantity", "nanounits"), [(Fraction(1, 2), 0), (Fraction(3, 2), 2), (Fraction(5, 2), 2)])
def test_half_of_the_least_unit_goes_to_the_even_one(quantity: Fraction, nanounits: int) -> None:
    """Ties to even, in 1e-9 units."""
    assert line_item(BOOK, AT, "aws-s3", "transfer", quantity / 10**9).quantity == nanounits


def test_a_chat_costs_its_input_and_the_most_output_it_may_give() -> None:
    """600 x 2.5e-6 + 400 x 1.25e-6 + 100 x 1e-5 = 0.003, as the events of it would say."""
    estimate = ChatWork("gpt-4o", 1000, 100, cached_input_tokens=400).estimate(BOOK, AT)
    assert amounts(estimate) == {
        "input-tokens": Decimal("0.0015"),
        "cached-input-tokens": Decimal("0.0005"),
        "output-tokens": Decimal("0.001"),
    }
    assert to_usd(estimate.total) == Decimal("0.003")
    assert all((item.price_version or "").startswith("genai-prices-") for item in estimate.items)


@pytest.mark.parametrize(
    ("work", "usd"),
    [
        (OperationWork("aws-s3", "put", 1000), "0.005"),
        (OperationWork("aws-transcribe", "transcription", 2.5), "0.06"),
        (OperationWork("aws-comprehend", "detectEntities", 101, unit="character"), "0.0002"),
        (OperationWork("stripe", "charge", 1, metadata={"charge_usd": "100.00"}), "3.2"),
        (OperationWork("internal", "processing", 2, metadata={"memory_gb_hours": 3}), "0.23"),
        (CombinedWork([ImageWork(), OperationWork("aws-s3", "put")]), "0.001007"),
    ],
)
def test_any_operation_can_be_estimated(work: Work, usd: str) -> None:
    """From the price book, with the unit and the metadata that the price depends on."""
    assert to_usd(work.estimate(BOOK, AT, PLANS.of("default")).total) == Decimal(usd)


def test_each_line_item_tells_where_its_amount_comes_from() -> None:
    """Service, operation, quantity, unit, unit price, amount, version of the price."""
    (item,) = OperationWork("aws-comprehend", "detectEntities", 750, unit="character").estimate(BOOK, AT).items
    assert (item.service, item.operation, item.units, item.unit) == (
        "aws-comprehend",
        "detectEntities",
        8,
        "100 characters",
    )
    assert (item.unit_price, item.amount) == ("0.0001", 800_000_000)
    assert item.price_version == "costledger-2026.11@2000-01-01"


def test_an_unknown_price_is_never_nothing() -> None:
    """The estimate says "at least", names the item, and refuses to be taken for a whole one."""
    estimate = CombinedWork([ImageWork(), OperationWork("nobody", "knows", 3)]).estimate(BOOK, AT, PLANS.of("free"))
    assert [item.label for item in estimate.unpriced] == ["3 units of nobody/knows"]
    assert (estimate.is_complete, estimate.known) == (False, 1_002_000_000)
    assert estimate.text == "at least 0.001002 USD: no price for 3 units of nobody/knows"
    with pytest.raises(PriceError, match=r"at least 0\.001002 USD: no price for 3 units of nobody/knows"):
        _ = estimate.total


def test_prices_come_from_the_book_alone(tmp_path: Path) -> None:
    """A book with other prices gives another estimate, from the day on which they are in force."""
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        version = "mine"
        [[price]]
        service = "aws-rekognition"
        operations = ["detectLabels"]
        unit = "image"
        price = "0.5"
        effective_from = 2026-12-01
        source = "a contract"
        reviewed = "five hundred times the list price, as agreed"
        """,
        encoding="utf-8",
    )
    book = PriceBook.load(path)
    days = [datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)]
    usd = [to_usd(ImageWork().estimate(book, day, PLANS.of("free")).total) for day in days]
    assert usd == [Decimal("0.001002"), Decimal("0.500002")]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: VideoWork(-1), "size_bytes"),
        (lambda: VideoWork(2**50 + 1), "size_bytes"),
        (lambda: ImageWork(images=1_000_001), "images"),
        (lambda: ImageWork(images=True), "images"),
        (lambda: ChatWork("gpt-4o", -1, 0), "input_tokens"),
        (lambda: ChatWork("gpt-4o", 1, 0, cached_input_tokens=2), "cached_input_tokens"),
        (lambda: OperationWork("s", "o", -1).estimate(BOOK, AT), "quantity"),
        (lambda: OperationWork("s", "o", "1e999999").estimate(BOOK, AT), "quantity"),
        (lambda: OperationWork("s", "o", 9_000_000_001).estimate(BOOK, AT), "quantity"),
        (lambda: OperationWork("s", "o", float("nan")).estimate(BOOK, AT), "quantity"),
    ],
)
def test_quantities_out_of_bounds_are_refused(make: Any, field: str) -> None:
    """By name, value and limit."""
    with pytest.raises(InvalidValue) as caught:
        make()
    assert caught.value.field == field


@given(size=st.integers(0, 2**40), more=st.integers(0, 2**30), tier=st.sampled_from(["free", "premium", "ultimate"]))
def test_a_longer_video_never_costs_less_and_the_parts_make_the_whole(size: int, more: int, tier: str) -> None:
    """And a smaller plan never costs more than the largest."""
    plan = PLANS.of(tier)
    estimate = VideoWork(size).estimate(BOOK, AT, plan)
    assert estimate.total == sum(item.amount or 0 for item in estimate.items)
    assert estimate.total <= VideoWork(size + more).estimate(BOOK, AT, plan).total
    assert estimate.total <= VideoWork(size).estimate(BOOK, AT, PLANS.of("ultimate")).total


def test_an_unpriced_chat_names_its_model() -> None:
    """So that a person knows which price is missing."""
    estimate = ChatWork("no-such-model", 10, 10).estimate(BOOK, AT)
    assert "10 token of openai/input-tokens of no-such-model" in estimate.text
