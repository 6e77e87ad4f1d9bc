"""What `verify` finds: plain data, ready for JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

EXAMPLES_MAX: Final = 100

#: changed, removed, inserted: an entry. block: a block of the chain itself. missing: entries gone before they were sealed.
#: counter: the sink's count against the entries. head: a head that was saved elsewhere.
Kind = Literal["changed", "removed", "inserted", "block", "missing", "counter", "head"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `offset` and `event_id` are None where it is no single entry, or the id is not known."""

    kind: Kind
    topic: str
    partition: int
    text: str
    offset: int | None = None
    event_id: str | None = None


@dataclass(slots=True)
class ChainReport:
    """The chain of one partition. `sealed_offset`: entries of the present topic below it are sealed (None: none yet).

    `unsealed` counts entries that are in no block yet, the oldest of them recorded at `oldest_unsealed_at`.
    """

    topic: str
    partition: int
    blocks: int = 0
    rows: int = 0
    sealed_offset: int | None = None
    sealed_at: datetime | None = None
    unsealed: int = 0
    oldest_unsealed_at: datetime | None = None
    head_number: int = 0
    head: str = ""


@dataclass(slots=True)
class VerifyReport:
    """The whole answer. `counts` has the number of findings of each kind; `findings` the first of them."""

    verified_at: datetime
    chains: list[ChainReport] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts

    def add(self, finding: Finding, number: int = 1) -> None:
        """Note a finding; only the first ones are kept, all are counted."""
        self.counts[finding.kind] += number
        if len(self.findings) < EXAMPLES_MAX:
            self.findings.append(finding)

    def total(self, name: str) -> int:
        """The sum of one number of all chains, for example `rows`."""
        return sum(getattr(chain, name) for chain in self.chains)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.ok,
            "verified_at": self.verified_at,
            **{name: self.total(name) for name in ("blocks", "rows", "unsealed")},
            "findings_by_kind": dict(self.counts),
            "findings": [asdict(one) for one in self.findings],
            "chains": [asdict(one) for one in self.chains],
        }
