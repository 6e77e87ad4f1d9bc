"""What a check finds: the invariants that do not hold, each with what it saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: The promises, one line each; the numbers are those that scenarios, reports and RELIABILITY.md use.
INVARIANTS: Final = {
    "I1": "sums by user, service and day in the ledger equal those of the oracle, to 1e-12 USD",
    "I2": "what was acknowledged is in ledger or quarantine; the ledger has nothing else, and no id twice",
    "I3": "roll-ups equal the GROUP BY of the ledger, also in snapshots taken during the faults",
    "I4": "inserted + duplicates + quarantined + gaps = offsets consumed, and nothing is between them",
    "I5": "the totals in Redis equal those of the ledger",
    "I6": "alerts equal those of a replay; each id once in the database, repeats on the topic carry the same content",
    "I7": "each poison message is in quarantine once, and among the dead letters as it came",
    "I8": "all consumers are at the end of their topics 60 s after the heal and the end of the load; memory stays bounded",
    "I9": "the hash chain of the ledger verifies",
    "I10": "the stream's state equals the oracle",
}


@dataclass(slots=True)
class Findings:
    """By invariant what does not hold; empty where everything does."""

    broken: dict[str, list[str]] = field(default_factory=dict)
    #: Figures of the run, for reports.
    figures: dict[str, float] = field(default_factory=dict)

    def found(self, invariant: str, what: str) -> None:
        """Note that an invariant does not hold."""
        if invariant not in INVARIANTS:
            raise KeyError(invariant)
        self.broken.setdefault(invariant, []).append(what)

    def expect(self, invariant: str, holds: bool, what: str) -> None:
        """Note it where it does not hold."""
        if not holds:
            self.found(invariant, what)

    def describe(self) -> str:
        """For people: every finding with its promise."""
        lines = []
        for invariant, found in sorted(self.broken.items()):
            lines.append(f"{invariant} does not hold: {INVARIANTS[invariant]}")
            lines += [f"    {one}" for one in found]
        return "\n".join(lines)
