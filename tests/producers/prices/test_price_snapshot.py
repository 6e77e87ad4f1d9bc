"""The data of language models: pinned by its hash, which every price from it carries."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import genai_prices
import pytest
from genai_prices import data as genai_data
from genai_prices.data import providers

from costledger.producers.prices import PriceBook, check_prices, installed_snapshot
from costledger.producers.prices.snapshot import Snapshot, find_unknown_snapshot, known_snapshots, snapshot_of
from costledger.schemas.events import NAME_CHARACTERS_MAX

BOOK = PriceBook.load()
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


def test_the_snapshot_is_the_hash_of_the_librarys_data() -> None:
    """The whole data module, byte for byte."""
    assert genai_data.__file__ is not None
    snapshot = installed_snapshot()
    assert snapshot.sha256 == hashlib.sha256(Path(genai_data.__file__).read_bytes()).hexdigest()
    assert snapshot.version == genai_prices.__version__
    assert installed_snapshot() is snapshot


def test_the_installed_snapshot_is_known() -> None:
    """The pinned version carries the data that was looked at: nothing is found."""
    assert installed_snapshot().known
    assert known_snapshots()[genai_prices.__version__] == installed_snapshot().sha256
    assert check_prices([]) == []


def test_every_price_of_a_model_names_the_snapshot() -> None:
    """Version of the library and twelve digits of the hash, then provider and model."""
    label = f"genai-prices-{genai_prices.__version__}+{installed_snapshot().sha256[:12]}"
    priced = BOOK.price("openai", "input-tokens", 1, NOW, metadata={"model": "gpt-4"})
    assert priced.price_version == f"{label}/openai/gpt-4"
    assert label in BOOK.version


def test_no_version_of_a_price_is_cut() -> None:
    """Also the longest name of a model fits into the version with the snapshot and a date."""
    label = installed_snapshot().label
    lengths = {
        (provider.id, model.id): len(f"{label}/{provider.id}/{model.id}@2026-11-23")
        for provider in providers
        for model in provider.models
    }
    assert max(lengths.values()) <= NAME_CHARACTERS_MAX


@pytest.mark.parametrize(("version", "sha256"), [("0.2.3", "0" * 64), ("9.9.9", installed_snapshot().sha256)])
def test_a_snapshot_is_known_by_version_and_hash(version: str, sha256: str) -> None:
    """Other data under a known version is not known, nor known data under another version."""
    assert not snapshot_of(version, sha256).known


@pytest.mark.parametrize("snapshot", [snapshot_of("0.2.3", "0" * 64), snapshot_of("9.9.9", "unknown")])
def test_unknown_data_is_a_warning(snapshot: Snapshot) -> None:
    """It names the hash that was found and those that are known, and does not make the book unusable."""
    (finding,) = find_unknown_snapshot(snapshot)
    assert (finding.severity, finding.file, finding.field) == ("warning", "genai-prices", "sha256")
    assert snapshot.sha256 in finding.message
    assert all(sha256 in finding.message for sha256 in known_snapshots().values())


def test_other_data_under_the_same_version_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patched package: the check says so, and the prices carry its own hash."""
    other = Snapshot(genai_prices.__version__, "f" * 64, known=False)
    monkeypatch.setattr("costledger.producers.prices.llm.installed_snapshot", lambda: other)
    monkeypatch.setattr("costledger.producers.prices.book.installed_snapshot", lambda: other)
    assert [finding.severity for finding in check_prices([])] == ["warning"]
    priced = PriceBook.load().price("openai", "input-tokens", 1, NOW, metadata={"model": "gpt-4"})
    assert priced.price_version == f"genai-prices-{genai_prices.__version__}+{'f' * 12}/openai/gpt-4"
