"""Which data the installed genai-prices library carries: its version, and the SHA-256 of its data module.

The version alone does not say what a price was: a patched or rebuilt package has the same one. So the hash goes
into the version of every price of a language model, and `known_snapshots.json` lists those that were looked at.
Reading and hashing the module's 1.6 MB takes 3 ms, once per process; importing it takes fifty times that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import genai_prices
from genai_prices import data as genai_data

from costledger.producers.prices.finding import Finding

LIBRARY: Final = "genai-prices"
#: What stands for the hash where the module's source cannot be read, as in a frozen program.
UNREADABLE: Final = "unknown"
#: Of the 64 hexadecimal digits, those that a price version shows: enough to tell snapshots apart.
_SHOWN_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The data of one installation of the library; `sha256` is 64 hexadecimal digits, or "unknown"."""

    version: str
    sha256: str
    known: bool

    @property
    def label(self) -> str:
        """For example `genai-prices-0.2.3+5f4d8e175a91`: how every price from this data begins its version."""
        return f"{LIBRARY}-{self.version}+{self.sha256[:_SHOWN_DIGITS]}"


@cache
def installed_snapshot() -> Snapshot:
    """The snapshot of this process; the same object every time."""
    return snapshot_of(genai_prices.__version__, _data_sha256())


def snapshot_of(version: str, sha256: str) -> Snapshot:
    """A snapshot, known or not."""
    return Snapshot(version, sha256, known_snapshots().get(version) == sha256)


def known_snapshots() -> Mapping[str, str]:
    """The snapshots that costledger was tried with: version of the library -> SHA-256 of its data module."""
    known: dict[str, str] = json.loads((files(__package__) / "known_snapshots.json").read_text(encoding="utf-8"))
    return known


def find_unknown_snapshot(snapshot: Snapshot) -> list[Finding]:
    """A warning when the installed data is none of the known snapshots."""
    if snapshot.known:
        return []
    expected = known_snapshots()
    known = ", ".join(f"{version} with {sha256}" for version, sha256 in sorted(expected.items()))
    message = (
        f"the data of version {snapshot.version} has SHA-256 {snapshot.sha256}; it must be one of: {known}. Prices of "
        "language models come from data that nobody has looked at here"
    )
    return [Finding("warning", LIBRARY, message, field="sha256")]


def _data_sha256() -> str:
    spec = genai_data.__spec__
    try:
        data = spec.loader.get_data(spec.origin)  # type: ignore[union-attr, unused-ignore]  # caught below
    except (AttributeError, OSError, TypeError):
        return UNREADABLE
    return hashlib.sha256(data).hexdigest()
