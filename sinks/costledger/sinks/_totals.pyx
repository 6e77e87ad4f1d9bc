# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `totals.hourly`: the same sums."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from costledger.schemas.periods import MICROSECONDS_PER_HOUR

cdef long long HOUR_US = MICROSECONDS_PER_HOUR


cdef class _Sums:
    """What one key has come to. Quantities and amounts are Python's integers: many of them may be beyond 64 bits."""

    cdef long long events
    cdef long long unpriced
    cdef object quantity
    cdef object amount
    cdef long long maximum

    def __cinit__(self, long long maximum):
        self.quantity = 0
        self.amount = 0
        self.maximum = maximum


def hourly(events, long long no_maximum):
    """The events summed by hour, as `totals.hourly`; `no_maximum` is below every amount that an event can have."""
    cdef dict totals = {}
    cdef _Sums sums
    cdef long long occurred_at, amount
    cdef tuple event
    cdef int count
    for event in events:
        _, user_id, charge, quantity, _, priced, occurred, tail = event
        # Not before 1970: the division rounds as Python's does.
        occurred_at = occurred
        key = (user_id, occurred_at // HOUR_US, charge.service, charge.operation)
        found = totals.get(key)
        if found is None:
            found = totals[key] = _Sums(no_maximum)
        sums = <_Sums>found
        count = 1 if tail.reverses_event_id is None else -1
        sums.events += count
        sums.quantity += _integer(quantity)
        if priced is None:
            sums.unpriced += count
        else:
            amount = priced
            sums.amount += priced
            if count > 0 and amount > sums.maximum:
                sums.maximum = amount
    return {key: _listed(<_Sums>one) for key, one in totals.items()}


cdef list _listed(_Sums sums):
    return [sums.events, sums.unpriced, sums.quantity, sums.amount, sums.maximum]


cdef long long _integer(bytes data) except? -1:
    """A quantity as it stands in an event's bytes: groups of 7 bits, the least first, zig-zag; within 64 bits."""
    cdef unsigned long long zigzag = 0
    cdef Py_ssize_t place
    if data is None:
        raise TypeError("the quantity of an event is bytes")
    for place in range(PyBytes_GET_SIZE(data)):
        zigzag |= <unsigned long long>(<unsigned char>PyBytes_AS_STRING(data)[place] & 127) << (7 * place)
    return <long long>(zigzag >> 1) ^ -<long long>(zigzag & 1)
