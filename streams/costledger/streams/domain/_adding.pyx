# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of `adding.add_events`: the same totals, outcomes and count.

What a plain event changes is changed here, and only after every check: whatever else it may be is then handed over whole.
"""

from costledger.streams.domain.buckets import QUARTER_MICROSECONDS
from costledger.streams.domain.partition import Outcome
from costledger.streams.domain.rules import DAY_MICROSECONDS

cdef long long QUARTER_US = QUARTER_MICROSECONDS
cdef long long DAY_US = DAY_MICROSECONDS
cdef object APPLIED = Outcome.APPLIED


cdef class _Adder:
    """One partition while it is added to."""

    cdef object totals
    cdef object add_one
    cdef dict touched
    cdef dict offset_of
    cdef list chunks
    cdef list numbers
    cdef set dirty
    cdef long long slots
    cdef long long chunk_events
    cdef long long horizon_us
    cdef long long clock_us
    cdef long long last_offset
    cdef long long occurred_at
    cdef long long received_at

    def __cinit__(self, totals, add_one):
        recent = totals._recent
        self.totals = totals
        self.add_one = add_one
        self.touched = totals._touched
        self.offset_of = recent._offset_of
        self.chunks = recent._chunks
        self.numbers = recent._numbers
        self.dirty = recent._dirty
        self.slots = recent._slots
        self.chunk_events = recent._chunk_events
        self.horizon_us = totals._rules.horizon_us
        self.take()

    cdef take(self):
        """After Python's own code: what it knows of the last event."""
        totals = self.totals
        self.clock_us = totals._clock_us
        self.last_offset = totals._last_offset
        self.occurred_at = totals._occurred_us
        self.received_at = totals._received_us

    cdef give(self):
        """Before Python's own code: what was learned here."""
        totals = self.totals
        totals._clock_us = self.clock_us
        totals._last_offset = self.last_offset
        totals._occurred_us = self.occurred_at
        totals._received_us = self.received_at

    cdef bint is_added(self, tuple event, object offset, long long received_at) except -1:
        """Add a plain event; False, and nothing changed, where it is none."""
        cdef long long place = offset
        cdef long long number, slot
        cdef long long occurred_at
        cdef dict pending, amounts
        event_id, user_id, charge, _, _, amount, occurred, _ = event
        occurred_at = occurred
        if amount is None or occurred_at < received_at - self.horizon_us or occurred_at < 0 or event_id in self.offset_of:
            return False
        user = self.touched.get(user_id)
        if user is None or offset <= user.fence:
            return False
        # Past a fence, which is -1 at least: not negative, so that C's division is Python's, and the slot one of the ring's.
        number = place // self.chunk_events
        slot = number % self.slots
        if self.numbers[slot] != number:
            return False
        pending = user._pending
        quarter = occurred_at // QUARTER_US
        found = pending.get(quarter)
        if found is None:
            return False
        amounts = <dict>found
        operation = charge.key
        before = amounts.get(operation)
        if before is None:
            if operation[0] not in user._met[quarter]:
                return False
            before = 0
        if amount > 0:
            unsettled = user._unsettled + amount
            if unsettled >= user._room:
                return False
            user._unsettled = unsettled
        elif user._unsettled >= user._room:
            return False
        amounts[operation] = before + amount
        (<dict>self.chunks[slot])[event_id] = offset
        self.offset_of[event_id] = offset
        self.dirty.add(slot)
        self.last_offset = place
        if received_at > self.clock_us:
            self.clock_us = received_at
        self.occurred_at = occurred_at
        self.received_at = received_at
        return True


def add_events(totals, records, events, add_one):
    """As `adding.add_events`; `add_one` applies one event the long way."""
    cdef _Adder adder = _Adder(totals, add_one)
    cdef long long received_at, late = 0
    cdef list outcomes = []
    try:
        for record, event in zip(records, events, strict=True):
            offset = record.offset
            if event is None:
                adder.last_offset = offset
                continue
            received_at = record.timestamp * 1000
            if not adder.is_added(event, offset, received_at):
                adder.give()
                try:
                    outcome = add_one(totals, event, offset, received_at)
                finally:
                    adder.take()
                if outcome is not APPLIED:
                    outcomes.append(outcome)
            late += <long long>event[6] // DAY_US < received_at // DAY_US
    finally:
        # Also where an event cannot be added: those before it have been.
        adder.give()
    return outcomes, late
