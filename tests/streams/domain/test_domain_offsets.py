"""The offset beside a period's totals: what it promises to those who wait for an event to be counted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from costledger.schemas.ids import derived_event_id
from costledger.schemas.periods import PeriodKind, period_at
from costledger.streams.domain.partition import PartitionTotals
from costledger.streams.domain.rules import Rules

NOW = 1_795_000_000_000_000  # 18 November 2026
DAY = 86_400_000_000
RULES = Rules(recent_events_max=1000)

#: (user, amount or None for unpriced, days ago, number: the same number again is a repeat), or None for a flush
Step = tuple[str, int | None, int, int] | None
STEPS = st.lists(
    st.one_of(
        st.none(),
        st.tuples(
            st.sampled_from(["ann", "bob"]),
            st.one_of(st.none(), st.integers(-(10**12), 10**12)),
            st.sampled_from([0, 1, 25]),
            st.integers(0, 8),
        ),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(0, 40))
def test_a_months_offset_says_which_events_its_total_has(steps: list[Step], restart_after: int) -> None:
    """In every view that is written, the total is that of the user's events up to its offset, neither more nor less;
    and after a flush the month of every event of the user, if it has a total, has reached the event's offset."""
    partition = PartitionTotals(RULES)
    state: dict[bytes, tuple[int, bytes]] = {}
    counted: dict[tuple[str, str], list[tuple[int, int]]] = {}
    shown: dict[tuple[str, str], int] = {}
    newest: dict[tuple[str, str], int] = {}
    seen: set[str] = set()

    def check(views) -> None:
        for view in views:
            if view.kind is PeriodKind.MONTH:
                key = (view.user_id, view.label)
                total = sum(amount for offset, amount in counted.get(key, []) if offset <= view.offset)
                assert sum(view.amounts.values()) == total
                assert view.offset >= shown.get(key, -1)
                shown[key] = view.offset

    for offset, step in enumerate([*steps, None]):
        if step is None:
            flush = partition.flush()
            check(flush.views)
            for group in flush.groups:
                state.update({key: (flush.source_offset, value) for key, value in group})
            assert all(shown[key] >= offset_of for key, offset_of in newest.items() if key in counted)
        else:
            user, amount, days_ago, number = step
            at = NOW - days_ago * DAY
            event_id = str(derived_event_id(at, user, str(number)))
            record = {"event_id": event_id, "user_id": user, "service": "s", "operation": "o", "amount": amount}
            record["reverses_event_id"] = None
            partition.add_event({**record, "occurred_at": at}, offset, NOW)
            key = (user, period_at(PeriodKind.MONTH, at).label)
            newest[key] = offset
            if event_id not in seen and amount is not None:
                counted.setdefault(key, []).append((offset, amount))
            seen.add(event_id)
        if offset == restart_after and step is None:
            partition = PartitionTotals(RULES)
            partition.restore((key, at_offset, value) for key, (at_offset, value) in state.items())
            check(view for views in partition.views() for view in views)
