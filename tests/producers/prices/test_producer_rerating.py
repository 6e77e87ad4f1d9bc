"""Rating entries again: what changes is taken back and said anew, what does not change is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from costledger.producers.prices import PriceBook
from costledger.producers.records import ChatDraft, Draft, build_chat_records, build_record
from costledger.producers.rerating import (
    RERATED_FROM_KEY,
    Correction,
    RatingFinding,
    completed,
    new_entry_id,
    rerate,
    reversal_id,
)
from costledger.producers.services import ServiceMethods
from costledger.schemas.events import METADATA_BYTES_MAX, METADATA_KEYS_MAX, EventRecord, check_event

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
SHIPPED = PriceBook.load()

# Unit prices with more than 12 decimals, for every kind of charge: nearly every amount is rounded.
ODD_CHAT = "\n".join(
    f"""
[[price]]
service = "perplexity"
operations = ["{operation}"]
unit = "{unit}"
price = "{price}"
effective_from = 2000-01-01
source = "tests"
reviewed = "tests"
"""
    for operation, unit, price in (
        ("input-tokens", "token", "0.0000012345675"),
        ("cached-input-tokens", "token", "0.0000000345675"),
        ("output-tokens", "token", "0.0000098765435"),
        ("requests", "request", "0.0000000000005"),
    )
)


def entry(service: str, operation: str, price: str, unit: str, *more: str) -> str:
    """A price entry in TOML."""
    lines = [
        "[[price]]",
        f'service = "{service}"',
        f'operations = ["{operation}"]',
        f'unit = "{unit}"',
        f'price = "{price}"',
        "effective_from = 2000-01-01",
        'source = "tests"',
        # However far from the price that it follows: what is held for review prices nothing.
        'reviewed = "tests"',
        *more,
    ]
    return "\n".join(lines)


def book_of(directory: Path, *entries: str) -> PriceBook:
    """The shipped prices with these over them."""
    path = directory / "own.toml"
    path.write_text('version = "own-1"\nunits = ["call", "page"]\n' + "\n".join(entries))
    return PriceBook.load(path)


class Recorder(ServiceMethods):
    """The methods of the tracker, with the records kept."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        self.records: list[EventRecord] = []

    def reject(self, error: Exception) -> UUID:
        raise error

    def _track(self, draft: Draft) -> UUID:
        event_id, record = build_record(draft, self.book, "tests")
        self.records.append(record)
        return event_id

    def _track_chat(self, draft: ChatDraft) -> list[UUID]:
        built = build_chat_records(draft, self.book, "tests")
        self.records += [record for _, record in built]
        return [event_id for event_id, _ in built]

    def track(self, service: str, operation: str, quantity: Any, **other: Any) -> EventRecord:
        """One event of ann's."""
        values: dict[str, Any] = {"occurred_at": NOW, **other}
        self._track(Draft(user_id="ann", service=service, operation=operation, quantity=quantity, **values))
        return self.records[-1]


def tracked(service: str, operation: str, quantity: Any, book: PriceBook = SHIPPED, **other: Any) -> EventRecord:
    """The record of one event."""
    return Recorder(book).track(service, operation, quantity, **other)


def corrected(record: EventRecord, book: PriceBook) -> Correction:
    """The correction that there must be; both entries are valid events."""
    rating = rerate(record, book)
    assert rating.finding is RatingFinding.CORRECTED, rating
    assert rating.correction is not None
    for made in rating.correction:
        check_event(made)
    return rating.correction


@pytest.fixture(scope="module")
def odd_book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PriceBook]:
    """A book in which the amounts of one chat are rounded."""
    return book_of(tmp_path_factory.mktemp("prices"), ODD_CHAT)


quantities = st.one_of(
    st.integers(0, 10**6), st.decimals(0, 10**6, places=9), st.floats(0, 10**5), st.sampled_from([1, 0.1, "2.5"])
)


@given(
    quantity=quantities,
    tokens=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6)),
    usd=st.decimals(0, 10**5, places=4),
    metadata=st.dictionaries(st.sampled_from(["album", "file", "request_input_tokens"]), st.text("a0,", max_size=3)),
)
@settings(max_examples=60, deadline=None)
def test_an_unchanged_book_changes_nothing(
    odd_book: PriceBook, quantity: Any, tokens: tuple[int, int, int], usd: Decimal, metadata: dict[str, str]
) -> None:
    """Whatever was tracked, of whatever service: the same book says the same again, also where amounts were rounded."""
    for book in (SHIPPED, odd_book):
        recorder = Recorder(book)
        cached, more, output = tokens
        common: dict[str, Any] = {"metadata": metadata, "occurred_at": NOW}
        recorder.track_rekognition("ann", "detectLabels", quantity, **common)
        recorder.track_rekognition_video("ann", quantity, **common)
        recorder.track_transcribe("ann", quantity, **common)
        recorder.track_comprehend("ann", "detectSentiment", quantity, **common)
        for operation in ("storage", "get", "put", "transfer", "glacier"):
            recorder.track_s3("ann", operation, quantity, **common)
        recorder.track_embedding("ann", "text-embedding-3-small", quantity, **common)
        recorder.track_embedding("ann", "text-embedding-ada-002", quantity, **common)
        recorder.track_processing("ann", quantity, quantity, **common)
        recorder.track_stripe_charge("ann", usd, **common)
        recorder.track("internal", "processing", quantity, unit="GB hour", **common)
        recorder.track("aws-comprehend", "detectEntities", quantity, unit="100 characters", **common)
        for provider, model in (
            ("openai", "gpt-4"),
            ("openai", "gpt-4o"),
            ("google", "gemini-1.5-pro"),
            ("perplexity", "sonar"),
            ("openai", "nobody's model"),
        ):
            recorder.track_chat("ann", model, cached + more, output, cached, provider, **common)
        for record in recorder.records:
            wanted = RatingFinding.STILL_UNPRICED if record["amount"] is None else RatingFinding.UNCHANGED
            assert rerate(record, book).finding is wanted, record


def test_some_charges_of_the_odd_chat_carry_the_rest_of_rounding(odd_book: PriceBook) -> None:
    """The test before says something: amounts are not always the rounded product, and four kinds are charged."""
    adjusted = 0
    for tokens in range(40):
        recorder = Recorder(odd_book)
        recorder.track_chat("ann", "sonar", 7 * tokens + 3, tokens, 3, "perplexity", occurred_at=NOW)
        assert len(recorder.records) == 4
        for record in recorder.records:
            again = odd_book.price_nanounits(
                "perplexity", record["operation"], record["quantity"], record["occurred_at"], None, record["metadata"]
            )
            adjusted += again.amount_picodollars != record["amount"]
    assert adjusted


def test_an_unpriced_entry_gets_its_price(tmp_path: Path) -> None:
    """The reversing entry takes the unpriced one back; the new one has the price, and the original's other fields."""
    record = tracked("maps", "geocode", 3, unit="call", metadata={"album": "42"})
    assert record["amount"] is None
    book = book_of(tmp_path, entry("maps", "geocode", "0.005", "call"))
    reversal, new = corrected(record, book)
    assert reversal == {
        **record,
        "event_id": str(reversal_id(record)),
        "quantity": -3_000_000_000,
        "reverses_event_id": record["event_id"],
        "metadata": {"album": "42", RERATED_FROM_KEY: record["event_id"]},
    }
    assert new == {
        **record,
        "event_id": str(new_entry_id(record)),
        "unit_price": "0.005",
        "price_version": "own-1@2000-01-01",
        "amount": 15_000_000_000,
        "metadata": {"album": "42", RERATED_FROM_KEY: record["event_id"]},
    }
    assert rerate(new, book).finding is RatingFinding.UNCHANGED
    assert rerate(reversal, book).finding is RatingFinding.UNCHANGED


def test_a_wrong_price_is_taken_back_exactly(tmp_path: Path) -> None:
    """Original and reversal are zero together, in amount and quantity; a further price corrects the new entry."""
    record = tracked("aws-rekognition", "detectLabels", 7)
    lower = book_of(tmp_path, entry("aws-rekognition", "detectLabels", "0.0001", "image"))
    reversal, new = corrected(record, lower)
    assert (record["amount"], reversal["amount"], new["amount"]) == (7 * 10**9, -7 * 10**9, 7 * 10**8)
    assert record["quantity"] + reversal["quantity"] == 0
    assert (reversal["unit_price"], reversal["price_version"]) == (record["unit_price"], record["price_version"])
    again = corrected(new, SHIPPED)
    assert again.reversal["reverses_event_id"] == new["event_id"]
    assert again.entry["amount"] == record["amount"]
    assert again.entry["metadata"][RERATED_FROM_KEY] == new["event_id"]
    assert len({made["event_id"] for made in (record, reversal, new, *again)}) == 5


def test_the_same_correction_has_the_same_ids_and_content(tmp_path: Path) -> None:
    """Whoever computes it again posts the very same events."""
    record = tracked("maps", "geocode", 3, unit="call")
    book = book_of(tmp_path, entry("maps", "geocode", "0.005", "call"))
    assert corrected(record, book) == corrected(dict(record), book)


@pytest.mark.parametrize("given_price", [{"amount": "0.5"}, {"unit_price": "0.5"}])
def test_a_price_that_the_caller_gave_is_never_touched(given_price: dict[str, str]) -> None:
    """An amount without a price version is the caller's, whatever the book says."""
    record = tracked("aws-rekognition", "detectLabels", 1, **given_price)
    assert record["amount"] == 5 * 10**11
    assert rerate(record, SHIPPED).finding is RatingFinding.UNCHANGED


def test_a_reversing_entry_is_never_rated() -> None:
    """Also where it was priced by the book: it must stay what it takes back."""
    record = tracked("aws-rekognition", "detectLabels", -1, reverses_event_id=str(UUID(int=7)))
    changed = {**record, "amount": 1}
    assert rerate(changed, SHIPPED).finding is RatingFinding.UNCHANGED


def test_the_same_amount_is_no_change_even_of_another_version(tmp_path: Path) -> None:
    """A new version of the book with the same price leaves everything as it is."""
    record = tracked("aws-rekognition", "detectLabels", 7)
    book = book_of(tmp_path, entry("aws-rekognition", "detectLabels", "0.00100", "image"))
    assert rerate(record, book).finding is RatingFinding.UNCHANGED


def test_what_the_book_no_longer_has_keeps_its_price(tmp_path: Path) -> None:
    """A priced entry is never made unpriced; it is told apart from one that was unpriced before."""
    book = book_of(tmp_path, entry("maps", "geocode", "0.005", "call"))
    priced, unpriced = tracked("maps", "geocode", 3, book), tracked("maps", "route", 3, book)
    assert rerate(priced, SHIPPED).finding is RatingFinding.NO_LONGER_PRICED
    assert rerate(unpriced, SHIPPED).finding is RatingFinding.STILL_UNPRICED


def test_a_quantity_of_an_unknown_unit_counts_what_the_entry_counts(tmp_path: Path) -> None:
    """Where nobody named a unit, the new entry takes the book's; a unit that was named must fit."""
    book = book_of(tmp_path, entry("maps", "geocode", "0.005", "call"))
    assert corrected(tracked("maps", "geocode", 3), book).entry["unit"] == "call"
    assert rerate(tracked("maps", "geocode", 3, unit="page"), book).finding is RatingFinding.STILL_UNPRICED


def test_begun_units_are_charged_whole_and_then_stay(tmp_path: Path) -> None:
    """Characters of an operation that had no price become begun hundreds, as if it had had one."""
    record = tracked("aws-comprehend", "detectToxicity", 250, unit="character")
    assert (record["amount"], record["unit"]) == (None, "character")
    book = book_of(
        tmp_path,
        entry(
            "aws-comprehend",
            "detectToxicity",
            "0.0001",
            "100 characters",
            "counted_in = { character = 100 }",
            "rounded_up = true",
        ),
    )
    _, new = corrected(record, book)
    assert (new["quantity"], new["unit"], new["amount"]) == (3 * 10**9, "100 characters", 3 * 10**8)
    assert rerate(new, book).finding is RatingFinding.UNCHANGED


def test_what_a_price_depends_on_besides_is_in_the_metadata(tmp_path: Path) -> None:
    """A share of a charge and GB hours of memory are rated again from the event alone."""
    recorder = Recorder(SHIPPED)
    recorder.track_stripe_charge("ann", "100", occurred_at=NOW)
    recorder.track_processing("ann", 2, 10, occurred_at=NOW)
    charge, work = recorder.records
    assert (charge["amount"], work["amount"]) == (32 * 10**11, 3 * 10**11)
    book = book_of(
        tmp_path,
        entry(
            "stripe",
            "charge",
            "0.25",
            "transaction",
            'additions = [{ metadata = "charge_usd", price = "0.015", required = true }]',
        ),
        entry(
            "internal",
            "processing",
            "0.20",
            "CPU hour",
            'additions = [{ metadata = "memory_gb_hours", price = "0.03", required = false }]',
        ),
    )
    assert corrected(charge, book).entry["amount"] == 175 * 10**10
    assert corrected(work, book).entry["amount"] == 7 * 10**11


def test_full_metadata_is_no_reason_to_lose_anything(tmp_path: Path) -> None:
    """Where the id of the original finds no room, the entry is left as it is, with the reason."""
    book = book_of(tmp_path, entry("maps", "geocode", "0.005", "call"))
    full = {f"k{number}": "" for number in range(METADATA_KEYS_MAX)}
    rating = rerate(tracked("maps", "geocode", 3, metadata=full), book)
    assert rating.finding is RatingFinding.CANNOT_BE_CORRECTED
    assert rating.correction is None
    assert "metadata is '33 keys'" in rating.reason
    long = {"k": "x" * (METADATA_BYTES_MAX - 1)}
    assert rerate(tracked("maps", "geocode", 3, metadata=long), book).finding is RatingFinding.CANNOT_BE_CORRECTED


def test_an_unfinished_correction_is_completed(tmp_path: Path) -> None:
    """With the book's price where it has one, else with the one that the original had: it is never left taken back."""
    book = book_of(tmp_path, entry("maps", "geocode", "0.005", "call"))
    unpriced = tracked("maps", "geocode", 3, unit="call")
    assert completed(unpriced, book) == corrected(unpriced, book).entry
    owed = completed(unpriced, SHIPPED)
    assert owed["event_id"] == str(new_entry_id(unpriced))
    assert (owed["amount"], owed["quantity"], owed["reverses_event_id"]) == (None, 3 * 10**9, None)
    priced = tracked("maps", "geocode", 3, book)
    assert completed(priced, SHIPPED)["amount"] == 15 * 10**9


@given(
    quantity=st.decimals(0, 10**6, places=9),
    tokens=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    before=st.decimals(0, 8, places=18),
    after=st.decimals(0, 8, places=18),
    rounded_up=st.booleans(),
    counted_in=st.booleans(),
)
@example(
    quantity=Decimal("0.5"),
    tokens=(3, 3),
    before=Decimal("1e-18"),
    after=Decimal("5e-13"),
    rounded_up=True,
    counted_in=True,
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_rated_again_stays(
    tmp_path: Path,
    quantity: Decimal,
    tokens: tuple[int, int],
    before: Decimal,
    after: Decimal,
    rounded_up: bool,
    counted_in: bool,
) -> None:
    """Between any two prices, units and roundings: original and reversal are zero, and a second time changes nothing."""

    def book(price: Decimal, *more: str) -> PriceBook:
        entries = [entry("maps", "geocode", f"{price:f}", "page", *more)]
        entries += [entry("openai", kind, f"{price:f}", "token") for kind in ("input-tokens", "output-tokens")]
        return book_of(tmp_path, *entries)

    old = book(before)
    new = book(
        after,
        *(["rounded_up = true"] if rounded_up else []),
        *(["counted_in = { call = 7 }"] if counted_in else []),
    )
    recorder = Recorder(old)
    recorder.track("maps", "geocode", quantity)
    recorder.track("maps", "geocode", quantity, unit="call")
    recorder.track("maps", "geocode", quantity, unit_price="1")
    recorder.track_chat("ann", "gpt-4", *tokens, occurred_at=NOW)
    for record in recorder.records:
        rating = rerate(record, new)
        if rating.correction is None:
            continue
        reversal, made = rating.correction
        assert record["quantity"] + reversal["quantity"] == 0
        assert (record["amount"] or 0) + (reversal["amount"] or 0) == 0
        assert made["amount"] is not None
        assert rerate(made, new).finding is RatingFinding.UNCHANGED


def test_what_makes_the_charges_of_a_chat_add_up_is_no_other_price() -> None:
    """A chat has up to twelve charges, each rounded by at most half a picodollar; one more is another price."""
    record = tracked("aws-rekognition", "detectLabels", 7)
    for rest, wanted in ((6, RatingFinding.UNCHANGED), (-6, RatingFinding.UNCHANGED), (7, RatingFinding.CORRECTED)):
        assert rerate({**record, "amount": record["amount"] + rest}, SHIPPED).finding is wanted
