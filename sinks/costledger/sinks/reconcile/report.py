"""What `reconcile` finds: plain data, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

EXAMPLES_MAX: Final = 20


@dataclass(slots=True)
class Check:
    """One comparison: how many things differ, by how much in all (1e-12 USD, magnitudes added), and some of them."""

    name: str
    meaning: str
    compared: int = 0
    differences: int = 0
    difference_picodollars: int = 0
    examples: list[str] = field(default_factory=list)

    def differs(self, example: str, picodollars: int = 0) -> None:
        """Note a difference."""
        self.differences += 1
        self.difference_picodollars += abs(picodollars)
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(example)


@dataclass(slots=True)
class PartitionReport:
    """One partition: where topic and ledger stand, and what became of its offsets.

    `missing` counts messages of the topic below `next_offset` that are neither in the ledger nor in quarantine;
    `missing_offsets` names the first of them. `lag` is not a difference: it is what the sink has still to do.
    `compared` are messages; `put_aside` of them are in quarantine.
    `unpriced` are calls that have no price yet: entries without an amount, less those taken back.
    """

    partition: int
    low_watermark: int
    high_watermark: int
    next_offset: int
    lag: int
    consumed: int = 0
    inserted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    skipped: int = 0
    unpriced: int = 0
    compared: int = 0
    put_aside: int = 0
    missing: int = 0
    missing_offsets: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Uncompared:
    """What nothing on this topic can be compared with: no difference, and to be known of.

    Entries from `earlier` than the sink's positions (of an earlier topic of this name, or while there is none), and those of `other_topics`, by topic. And how
    many offsets were, or are to be, `passed_again`: somebody has set a position back, and the counters count them twice.
    """

    earlier: int = 0
    other_topics: dict[str, int] = field(default_factory=dict)
    passed_again: int = 0


@dataclass(slots=True)
class Report:
    """The whole answer. `ok` where nothing differs; `lag` is reported beside it."""

    topic: str
    uncompared: Uncompared = field(default_factory=Uncompared)
    partitions: list[PartitionReport] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.differences == 0 for check in self.checks)

    @property
    def difference_picodollars(self) -> int:
        """What differs in all, in 1e-12 USD: magnitudes added over the checks."""
        return sum(check.difference_picodollars for check in self.checks)

    def total(self, name: str) -> int:
        """The sum of one number of all partitions, for example `missing`."""
        return sum(getattr(partition, name) for partition in self.partitions)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        totals = (
            "lag",
            "consumed",
            "inserted",
            "duplicates",
            "quarantined",
            "skipped",
            "unpriced",
            "compared",
            "missing",
        )
        return {
            "ok": self.ok,
            "topic": self.topic,
            "watermark": {str(one.partition): one.next_offset for one in self.partitions},
            **{name: self.total(name) for name in totals},
            "missing_offsets": {
                str(one.partition): one.missing_offsets for one in self.partitions if one.missing_offsets
            },
            "uncompared": asdict(self.uncompared),
            "difference_picodollars": self.difference_picodollars,
            "differences": {check.name: check.difference_picodollars for check in self.checks},
            "checks": [asdict(check) for check in self.checks],
            "partitions": [asdict(one) for one in self.partitions],
        }
