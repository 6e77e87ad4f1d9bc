"""The published JSON Schema of price files says what the reader does, as far as a schema can."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.producers.prices.pricing import noon, price_file, storage

from costledger.producers.prices import PriceBook, check_prices, price_file_schema
from costledger.producers.prices.entries import (
    ENTRIES_MAX,
    SOURCE_CHARACTERS_MAX,
    VERSION_CHARACTERS_MAX,
    read_book_file,
)
from costledger.producers.prices.fields import PER_MAX
from costledger.schemas.errors import PriceError
from costledger.schemas.events import NAME_CHARACTERS_MAX, PRICE_CHARACTERS_MAX, UNIT_CHARACTERS_MAX

SCHEMA = price_file_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker(["date"]))
SHIPPED = files("costledger.producers.prices") / "shipped.toml"
UNITS = frozenset({"GB-month", "GB"})

#: Every field of an entry, with values that fit.
FULL: dict[str, Any] = storage(
    model="m",
    counted_in={"GB": 30},
    per=1000,
    rounded_up=True,
    additions=[{"metadata": "charge_usd", "price": "0.029", "required": False}],
    effective_to="2025-01-01",
    reviewed="as agreed",
)
DOCUMENT: dict[str, Any] = {
    "$schema": "price_file.schema.json",
    "version": "own-1",
    "currency": "USD",
    "units": ["page"],
    "price": [FULL],
}


def as_json(table: Any) -> Any:
    """A TOML table as a JSON document: days become text."""
    return json.loads(json.dumps(table, default=lambda value: value.isoformat()))


def read(directory: Path, document: Any) -> None:
    """Have the reader read a document."""
    path = directory / "own.json"
    path.write_text(json.dumps(document))
    read_book_file(path, UNITS)


def accepted(directory: Path, document: Any) -> bool:
    """Does the reader accept the document? And: the schema must say the same."""
    try:
        read(directory, document)
        by_reader = True
    except PriceError:
        by_reader = False
    by_schema = VALIDATOR.is_valid(document)
    assert by_reader == by_schema, f"reader {by_reader}, schema {by_schema}: {document}"
    return by_reader


def test_the_schema_is_a_schema() -> None:
    """It is valid draft 2020-12, and every field of a file is described."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    definitions = SCHEMA["$defs"]
    for table in (SCHEMA, definitions["entry"], definitions["addition"]):
        assert all(field["description"] for field in table["properties"].values())


def test_the_shipped_prices_satisfy_it() -> None:
    """As an editor sees them."""
    VALIDATOR.validate(as_json(tomllib.loads(SHIPPED.read_text())))


def test_the_shipped_prices_are_the_same_in_json(tmp_path: Path) -> None:
    """The two forms of a file give the same entries, but for the file's name."""
    path = tmp_path / "shipped.json"
    path.write_text(json.dumps(as_json(tomllib.loads(SHIPPED.read_text()))))
    ours, theirs = read_book_file(path), read_book_file(SHIPPED)
    assert [each.version for each in ours.entries] == [each.version for each in theirs.entries]
    assert [(each.key, each.rate, each.additions, each.counted_in) for each in ours.entries] == [
        (each.key, each.rate, each.additions, each.counted_in) for each in theirs.entries
    ]


def test_its_bounds_are_those_of_the_reader() -> None:
    """Numbers that stand in both places are the same."""
    definitions = SCHEMA["$defs"]
    entry = definitions["entry"]["properties"]
    assert SCHEMA["properties"]["version"]["maxLength"] == VERSION_CHARACTERS_MAX
    assert SCHEMA["properties"]["price"]["maxItems"] == ENTRIES_MAX
    assert SCHEMA["properties"]["units"]["items"]["maxLength"] == entry["unit"]["maxLength"] == UNIT_CHARACTERS_MAX
    assert definitions["name"]["maxLength"] == NAME_CHARACTERS_MAX
    assert definitions["money"]["maxLength"] == PRICE_CHARACTERS_MAX
    assert definitions["count"]["maximum"] == PER_MAX
    assert entry["source"]["maxLength"] == entry["reviewed"]["maxLength"] == SOURCE_CHARACTERS_MAX


def test_a_file_with_every_field_is_accepted(tmp_path: Path) -> None:
    """By both; `$schema` is for editors."""
    assert accepted(tmp_path, DOCUMENT)


@pytest.mark.parametrize("field", ["version", "service", "operations", "unit", "price", "effective_from", "source"])
def test_a_field_that_must_be_there(tmp_path: Path, field: str) -> None:
    """Without it neither accepts the file."""
    document = copy.deepcopy(DOCUMENT)
    del (document if field == "version" else document["price"][0])[field]
    assert not accepted(tmp_path, document)


OPTIONAL = ("model", "counted_in", "per", "rounded_up", "additions", "effective_to", "reviewed")


@pytest.mark.parametrize("field", OPTIONAL)
def test_a_field_that_may_be_left_out(tmp_path: Path, field: str) -> None:
    """Without it both accept the file."""
    document = copy.deepcopy(DOCUMENT)
    del document["price"][0][field]
    assert accepted(tmp_path, document)


WRONG: list[tuple[str, Any]] = [
    *(("price", value) for value in ("-1", "", "dear", " 1", "1_000", "1\n", ".5", "1.", "+1", "NaN", "Infinity")),
    *(("price", value) for value in ("1000000.01", "10000000", "0x10", "1e9999", "٣", 0.5, 1, None, True, "0" * 65)),
    *(("per", value) for value in (0, -1, 1.5, "1", True, 10**12 + 1)),
    *(("operations", value) for value in ([], "storage", [""], [1], None, ["x" * 129], ["*"], "*", ["a", "*"])),
    *(("effective_from", value) for value in ("2024-13-01", "2024-1-1", "20240101", "2024-02-30", 20240101, "")),
    *(("effective_from", value) for value in ("2024-01-01\n", "2024-01-01T00:00:00Z", None, ["2024-01-01"])),
    *((name, value) for name in ("service", "model", "unit", "source") for value in ("", "a\nb", "x" * 1001, 1, None)),
    *(("counted_in", value) for value in ({"GB": 0}, {"GB": "1"}, ["GB"], {"GB": 1.5}, {"GB": True}, None)),
    *(("rounded_up", value) for value in ("yes", 1, None)),
    *(("reviewed", value) for value in ("", True, 1, "x" * 1001)),
    *(("additions", value) for value in ({}, [1], [{}], [{"metadata": "a"}], [{"price": "1"}], "none", None)),
    ("additions", [{"metadata": "a", "price": "1", "required": "no"}]),
    ("additions", [{"metadata": "a", "price": "1", "per": 5}]),
    ("additions", [{"metadata": "a", "price": 1}]),
    ("discount", "1"),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_a_wrong_entry_is_refused_by_both(tmp_path: Path, field: str, value: object) -> None:
    """One wrong field in an entry that is right otherwise."""
    document = copy.deepcopy(DOCUMENT)
    document["price"][0][field] = value
    assert not accepted(tmp_path, document)


RIGHT: list[tuple[str, Any]] = [
    *(("price", value) for value in ("0", "0.00", "1000000", "0001", "1000000.000", "1.5e-07", "1E+3", "0.023")),
    *(("per", value) for value in (1, 10**12)),
    *(("operations", value) for value in (["a", "b"], ["x" * 128])),
    ("service", "ü" * 128),
    ("additions", []),
    ("counted_in", {}),
    ("effective_from", "0001-01-01"),
]


@pytest.mark.parametrize(("field", "value"), RIGHT, ids=lambda value: repr(value)[:30])
def test_a_right_entry_is_accepted_by_both(tmp_path: Path, field: str, value: object) -> None:
    """Bounds are inclusive."""
    document = copy.deepcopy(DOCUMENT)
    document["price"][0][field] = value
    if field == "price":
        del document["price"][0]["per"]
    assert accepted(tmp_path, document)


def test_an_entry_for_all_operations_has_no_model(tmp_path: Path) -> None:
    """With a model it would never apply: both refuse that, and accept it without."""
    assert accepted(tmp_path, {"version": "x", "price": [storage(operations="*")]})
    assert accepted(tmp_path, {"version": "x", "price": [storage(operations=["*"])]})
    assert not accepted(tmp_path, {"version": "x", "price": [storage(operations="*", model="m")]})


@pytest.mark.parametrize(
    "document",
    [
        [],
        "price",
        None,
        {},
        {"version": ""},
        {"version": "x" * 101},
        {"version": 1},
        {"version": "x", "currency": "EUR"},
        {"version": "x", "units": []},
        {"version": "x", "units": "page"},
        {"version": "x", "units": [""]},
        {"version": "x", "price": {}},
        {"version": "x", "price": [1]},
        {"version": "x", "prices": []},
        {"version": "x", "$schema": 1},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_file_is_refused_by_both(tmp_path: Path, document: object) -> None:
    """What is wrong with the file as a whole."""
    assert not accepted(tmp_path, document)


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**13), 10**13),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()),
    st.text(st.characters(codec="ascii"), max_size=8),
    st.sampled_from(["*", "USD", "GB", "GB-month", "2024-01-01", "9", "0.5", "1e3", "x" * 129, ["*"], ["GB"], {}, []]),
)


def _slots(document: Any) -> list[Callable[[Any], None]]:
    """Every place of the document, as a function that puts another value there."""
    found: list[Callable[[Any], None]] = []
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        found.append(lambda new, key=key: document.__setitem__(key, new))  # type: ignore[misc]  # key is bound early
        if isinstance(value, (dict, list)):
            found += _slots(value)
    return found


@given(st.integers(0, 10**6), ANYTHING)
def test_any_value_in_any_place_is_judged_alike(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: object
) -> None:
    """Reader and schema agree, except for what a schema cannot say: which units are named, which day is first,
    and whether a price has an end as a decimal."""
    document = copy.deepcopy(DOCUMENT)
    slots = _slots(document)
    slots[place % len(slots)](value)
    prices = document["price"]
    entries = [entry for entry in prices if isinstance(entry, dict)] if isinstance(prices, list) else []
    for entry in entries:
        entry.pop("effective_to", None)
        entry["unit"] = entry.get("unit") if not isinstance(entry.get("unit"), str) else "GB" if entry["unit"] else ""
        if entry.get("per") != 1000:  # 0.02 for 3 units has no end as a decimal
            entry["price"] = "0"
    accepted(tmp_path_factory.mktemp("files"), document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": "x", "version": "y"}', "the field 'version' stands twice"),
        ('{"version": "x", "price": [{"per": NaN}]}', "NaN is no number"),
        ("[" * 100_000, "own.json: cannot be read as a price book"),
        ('{"version": "x", "price": [{"per": ' + "9" * 5000 + "}]}", "own.json: cannot be read as a price book"),
        ("\N{BYTE ORDER MARK}{}", "own.json: cannot be read as a price book"),
    ],
    ids=["twice", "NaN", "deep", "long", "mark"],
)
def test_json_that_means_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """A field that stands twice, numbers that are none, nesting without end: an error that names the file."""
    path = tmp_path / "own.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PriceError, match=message):
        PriceBook.load(path)
    (finding,) = check_prices([path])
    assert (finding.severity, finding.file, finding.entry) == ("error", "own.json", None)


def test_money_in_json_is_text(tmp_path: Path) -> None:
    """A number would be a float by the time it is read: it is refused, and the error says so."""
    path = price_file(tmp_path, storage(price=0.02))
    with pytest.raises(PriceError, match=r"own\.json, entry 1: price is 0\.02; it must be decimal text .* in quotes"):
        PriceBook.load(path)


def test_a_day_in_toml_may_stand_in_quotes(tmp_path: Path) -> None:
    """As it must in JSON, so that one schema fits both."""
    path = tmp_path / "own.toml"
    path.write_text(
        'version = "q"\n[[price]]\nservice = "aws-s3"\noperations = ["storage"]\nunit = "GB-month"\nprice = "0.02"\n'
        'effective_from = "2024-01-01"\nsource = "a contract"\n'
    )
    assert read_book_file(path, UNITS).entries[0].effective_from == date(2024, 1, 1)
    assert PriceBook.load(path).price("aws-s3", "storage", 1, noon("2024-01-01")).unit_price == "0.02"


def test_a_number_of_metadata_is_charged_once(tmp_path: Path) -> None:
    """The same name twice in the additions is a slip; a schema cannot say it."""
    twice = [{"metadata": "a", "price": "1"}] * 2
    with pytest.raises(PriceError, match=r"entry 1: additions is 'a'; it must be named once"):
        PriceBook.load(price_file(tmp_path, storage(additions=twice)))
