"""The bookkeeping of a spool file's rows against a naive model that remembers a state for every row."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from costledger.producers.spool.book import (
    DELETE_ROWS,
    PARK_SECONDS,
    PARKED_ROWS_MAX,
    RETRY_SECONDS,
    RETRY_SECONDS_MAX,
    Book,
    ranges,
    retry_seconds,
)

HELD_MAX = 6
PICKS = st.sets(st.integers(0, HELD_MAX))


class BookAgainstModel(RuleBasedStateMachine):
    """The model: a state for each row that was written, with the time of its next attempt where it has one."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.now = 0.0
        self.states: dict[int, str] = {}
        self.due: dict[int, float] = {}
        self.attempts: dict[int, int] = {}
        self.deleted: set[int] = set()
        self.alone: int | None = None

    def rows(self, state: str) -> list[int]:
        return sorted(row for row, its in self.states.items() if its == state)

    def picked(self, picks: Iterable[int]) -> list[int]:
        """Some of the rows in flight."""
        return [row for number, row in enumerate(self.rows("in flight")) if number in picks]

    def held(self) -> int:
        """Few rows are acknowledged here: none of them is too many."""
        return len(self.rows("in flight")) + len(self.rows("returned"))

    @rule()
    def write(self) -> None:
        """A row is sent at once exactly when no other waits unread and there is room."""
        row = self.book.reserve()
        assert row not in self.states
        expected = not self.rows("unread") and self.book.unread[0] == row and self.held() < HELD_MAX
        direct = self.book.written(row, HELD_MAX)
        assert direct == expected
        self.states[row] = "in flight" if direct else "unread"

    @rule()
    def fail_to_write(self) -> None:
        """An id that is never written is a gap."""
        self.book.reserve()

    @precondition(lambda self: self.held() < HELD_MAX)
    @rule(rows_max=st.integers(1, 4))
    def read(self, rows_max: int) -> None:
        """What the file would give: rows that exist, in order."""
        rows_max = min(rows_max, HELD_MAX - self.held())
        first, end = self.book.unread
        there = [row for row in sorted(self.states) if row >= first][:rows_max]
        assert there == self.rows("unread")[:rows_max]
        self.book.read(there, there[-1] + 1 if len(there) == rows_max else end)
        self.states.update(dict.fromkeys(there, "in flight"))

    @rule()
    def write_after_a_reader_has_passed(self) -> None:
        """A row that is written late, by an interrupted thread, is neither lost nor sent twice."""
        row = self.book.reserve()
        self.book.read([r for r in self.rows("unread") if r < row], row + 1)
        self.states.update(dict.fromkeys(self.rows("unread"), "in flight"))
        assert not self.book.written(row, HELD_MAX)
        self.states[row], self.due[row] = "returned", 0.0

    @rule(picks=PICKS)
    def fail(self, picks: set[int]) -> None:
        rows = self.picked(picks)
        self.book.fail(rows, self.now)
        self.no_longer_alone(rows)
        for row in rows:
            self.attempts[row] = self.attempts.get(row, 0) + 1
            self.states[row], self.due[row] = "returned", self.now + retry_seconds(self.attempts[row])

    @rule(picks=PICKS)
    def give_back(self, picks: set[int]) -> None:
        rows = self.picked(picks)
        self.book.give_back(rows, self.now + 1)
        self.no_longer_alone(rows)
        for row in rows:
            self.states[row], self.due[row] = "returned", self.now + 1

    @rule(picks=PICKS)
    def park(self, picks: set[int]) -> None:
        """What Kafka refuses takes nobody's place; it waits long only if it was tried alone."""
        for row in self.picked(picks):
            self.book.park([row], self.now)
            wait_seconds = PARK_SECONDS if row == self.alone else RETRY_SECONDS
            self.alone = None if row == self.alone else self.alone
            self.states[row], self.due[row] = "parked", self.now + wait_seconds

    def no_longer_alone(self, rows: list[int]) -> None:
        self.alone = None if self.alone in rows else self.alone

    @rule(picks=PICKS)
    def acknowledge(self, picks: set[int]) -> None:
        rows = self.picked(picks)
        self.book.acknowledge(rows)
        self.no_longer_alone(rows)
        self.states.update(dict.fromkeys(rows, "acknowledged"))

    @rule(seconds=st.floats(0, 40), rows_max=st.integers(1, 4))
    def time_passes(self, seconds: float, rows_max: int) -> None:
        """Returned rows come when they are due, the longest due first."""
        self.now += seconds
        due = [row for row in self.rows("returned") if self.due[row] <= self.now]
        parked = [row for row in self.rows("parked") if self.due[row] <= self.now]
        rows = self.book.due(self.now, rows_max)
        assert rows == sorted(rows)
        tried = [row for row in rows if self.states[row] == "parked"]
        assert len(tried) == (1 if parked and self.alone is None and len(due) < rows_max else 0)
        if tried:
            self.alone = tried[0]
            assert self.due[self.alone] == min(self.due[row] for row in parked)
            self.states[self.alone] = "in flight"
            rows.remove(self.alone)
        assert set(rows) <= set(due)
        assert len(rows) == min(rows_max, len(due))
        left = [self.due[row] for row in due if row not in rows]
        assert not rows or not left or max(self.due[row] for row in rows) <= min(left)
        self.states.update(dict.fromkeys(rows, "in flight"))

    @rule()
    def delete(self) -> None:
        """What may be deleted is exactly what was acknowledged."""
        acknowledged = self.rows("acknowledged")
        found = self.book.deletable()
        assert [row for first, last in found for row in range(first, last + 1)] == acknowledged
        self.book.deleted()
        for row in acknowledged:
            del self.states[row]
        self.deleted.update(acknowledged)

    @invariant()
    def counts_are_the_models(self) -> None:
        assert self.book.in_flight == len(self.rows("in flight"))
        assert self.book.acknowledged == len(self.rows("acknowledged"))
        assert self.book.held == self.held()
        assert self.book.parked == len(self.rows("parked"))
        first, end = self.book.unread
        assert all(first <= row < end for row in self.rows("unread"))

    def teardown(self) -> None:
        """With a Kafka that takes everything, every row that was written is acknowledged and deleted, none is left."""
        written = set(self.states) | self.deleted
        while self.states:
            self.acknowledge(set(range(len(self.states) + 1)))
            self.delete()
            self.time_passes(PARK_SECONDS, 4)
            if self.held() < HELD_MAX:
                self.read(4)
        assert self.deleted == written
        self.book.read([], self.book.unread[1])
        assert self.book.held == 0


BookAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBook = BookAgainstModel.TestCase


def test_neighbouring_ids_are_one_range() -> None:
    """Deleting works on ranges: most acknowledged rows are neighbours."""
    assert ranges([]) == []
    assert ranges([3]) == [(3, 3)]
    assert ranges([1, 2, 3, 5, 7, 8]) == [(1, 3), (5, 5), (7, 8)]


def test_the_wait_doubles_up_to_its_limit() -> None:
    """However often an event fails, it is tried again, and never more than half a minute later."""
    assert [retry_seconds(attempts) for attempts in (1, 2, 3, 4)] == [RETRY_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert retry_seconds(100_000) == RETRY_SECONDS_MAX


def test_rows_that_cannot_be_deleted_hold_up_new_ones() -> None:
    """A disk that is full may refuse deletes, too: what is remembered stays bounded all the same."""
    book = Book()
    for _ in range(DELETE_ROWS + HELD_MAX):
        row = book.reserve()
        assert book.written(row, HELD_MAX)
        book.acknowledge([row])
    assert not book.written(book.reserve(), HELD_MAX)
    book.deleted()
    assert book.held == 0


def test_parked_rows_are_bounded() -> None:
    """What is refused beyond the bound is left on disk, counted, and takes neither memory nor another's place."""
    book = Book()
    for _ in range(PARKED_ROWS_MAX + HELD_MAX):
        row = book.reserve()
        assert book.written(row, HELD_MAX)
        book.park([row], 0.0)
    assert (book.parked, book.held) == (PARKED_ROWS_MAX + HELD_MAX, 0)
    tried = 0
    while rows := book.due(PARK_SECONDS, 500):
        (row,) = rows
        book.park(rows, PARK_SECONDS)
        tried += 1
    assert tried == PARKED_ROWS_MAX
    assert book.parked == PARKED_ROWS_MAX + HELD_MAX


def test_a_row_that_is_told_twice_counts_once() -> None:
    """Nor does it keep those told with it from being counted, or make others look as if they could be deleted."""
    book = Book()
    for row in (1, 2, 3):
        assert book.reserve() == row
        assert book.written(row, 10)
    assert book.acknowledge([1, 1, 3]) == 2
    assert book.acknowledge([1]) == 0
    assert book.deletable() == [(1, 1), (3, 3)]
    assert book.in_flight == 1
