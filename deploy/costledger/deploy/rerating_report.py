"""What rating entries again comes to: by user and service, and what is left without a price. Plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from costledger.producers.rerating import Rating, RatingFinding
from costledger.schemas.events import EventRecord
from costledger.schemas.money import usd_text
from costledger.schemas.times import rfc3339, to_microseconds
from costledger.sinks.candidates import Window

_EXAMPLES_MAX: Final = 20


class Unrated(NamedTuple):
    """A kind of entry that the price book has no price for; `model` is the language model's, where it has one."""

    finding: RatingFinding
    service: str
    operation: str
    unit: str
    model: str | None


@dataclass(slots=True)
class Change:
    """What changes for one user and service. Amounts are in 1e-12 USD, of the entries that change.

    `unpriced_before` and `unpriced_after` count also the entries that stay unpriced.
    """

    entries: int = 0
    unpriced_before: int = 0
    unpriced_after: int = 0
    amount_before: int = 0
    amount_after: int = 0

    @property
    def difference(self) -> int:
        """In 1e-12 USD."""
        return self.amount_after - self.amount_before


@dataclass(slots=True)
class Rerating:
    """The result. `lag_before` and `lag_after` are offsets of the topic that the ledger lacked.

    `corrections` are entries that are (or in a dry run would be) corrected, `completed` those of an earlier run that
    did not come to its end. `posted` counts events, two for a correction; `recorded` those that the ledger has got
    since the run began.
    """

    window: Window
    price_book: str
    dry_run: bool
    examined: int = 0
    corrections: int = 0
    completed: int = 0
    posted: int = 0
    recorded: int = 0
    lag_before: int = 0
    lag_after: int = 0
    stopped: bool = False
    changes: dict[tuple[str, str], Change] = field(default_factory=dict)
    unrated: Counter[Unrated] = field(default_factory=Counter)
    uncorrectable: int = 0
    uncorrectable_examples: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing was left to do: no entry refused, no stop, and the ledger has what was posted."""
        return not (self.uncorrectable or self.stopped or self.lag_after)

    def asked_to_stop(self, stop: Callable[[], bool]) -> bool:
        """Whether to end early; remembers it."""
        self.stopped = self.stopped or stop()
        return self.stopped

    def note(self, record: EventRecord, rating: Rating) -> None:
        """One entry was rated."""
        self.examined += 1
        finding, amount = rating.finding, record["amount"]
        if finding is RatingFinding.UNCHANGED:
            return
        if finding is RatingFinding.NO_LONGER_PRICED or finding is RatingFinding.STILL_UNPRICED:
            model = record["metadata"].get("model")
            self.unrated[Unrated(finding, record["service"], record["operation"], record["unit"], model)] += 1
        elif finding is RatingFinding.CANNOT_BE_CORRECTED:
            self.uncorrectable += 1
            if len(self.uncorrectable_examples) < _EXAMPLES_MAX:
                self.uncorrectable_examples.append(f"{record['event_id']}: {rating.reason}")
        if amount is None:
            change = self._change(record)
            change.unpriced_before += 1
            change.unpriced_after += rating.correction is None
        if rating.correction is not None:
            self.corrections += 1
            change = self._change(record)
            change.entries += 1
            change.amount_before += amount or 0
            change.amount_after += rating.correction.entry["amount"]

    def note_completed(self, entry: EventRecord) -> None:
        """A new entry that an earlier run owes: until now its call is taken back."""
        self.completed += 1
        change = self._change(entry)
        change.entries += 1
        change.unpriced_after += entry["amount"] is None
        change.amount_after += entry["amount"] or 0

    def to_document(self) -> dict[str, Any]:
        """For `--json`: amounts as decimal text in USD."""
        window = self.window
        return {
            "ok": self.ok,
            "dry_run": self.dry_run,
            "from": rfc3339(to_microseconds(window.start, "from")),
            "to": rfc3339(to_microseconds(window.end, "to")),
            "price_book": self.price_book,
            "examined": self.examined,
            "corrections": self.corrections,
            "completed": self.completed,
            "posted": self.posted,
            "recorded": self.recorded,
            "lag_before": self.lag_before,
            "lag_after": self.lag_after,
            "stopped": self.stopped,
            "difference_usd": usd_text(sum(change.difference for change in self.changes.values())),
            "changes": [
                {
                    "user_id": user,
                    "service": service,
                    "entries": change.entries,
                    "unpriced_before": change.unpriced_before,
                    "unpriced_after": change.unpriced_after,
                    "amount_before_usd": usd_text(change.amount_before),
                    "amount_after_usd": usd_text(change.amount_after),
                    "difference_usd": usd_text(change.difference),
                }
                for (user, service), change in sorted(self.changes.items())
            ],
            "unrated": [
                {**kind._asdict(), "finding": str(kind.finding), "entries": count} for kind, count in self.by_number()
            ],
            "uncorrectable": self.uncorrectable,
            "uncorrectable_examples": self.uncorrectable_examples,
        }

    def by_number(self) -> list[tuple[Unrated, int]]:
        """What has no price, the most frequent first."""
        return sorted(self.unrated.items(), key=lambda item: (-item[1], item[0].finding, *item[0][1:4]))

    def _change(self, record: EventRecord) -> Change:
        return self.changes.setdefault((record["user_id"], record["service"]), Change())
