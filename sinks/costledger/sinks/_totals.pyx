# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `totals.add_hourly`: the same sums."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from costledger.schemas.periods import MICROSECONDS_PER_HOUR

cdef long long HOUR_US = MICROSECONDS_PER_HOUR


def add_hourly(dict totals not None, events, no_maximum):
    """As `totals.add_hourly`; `no_maximum` is below every amount that an event can have.

    Sums are Python's integers: many quantities and amounts may come to more than 64 bits.
    """
    cdef long long occurred_at
    cdef tuple event
    cdef list sums
    cdef int count
    for event in events:
        _, user_id, charge, quantity, _, amount, occurred, tail = event
        # Not before 1970: the division rounds as Python's does.
        occurred_at = occurred
        key = (user_id, occurred_at // HOUR_US, charge.service, charge.operation)
        found = totals.get(key)
        if found is None:
            found = totals[key] = [0, 0, 0, 0, no_maximum]
        sums = <list>found
        count = 1 if tail.reverses_event_id is None else -1
        sums[0] += count
        sums[2] += _integer(quantity)
        if amount is None:
            sums[1] += count
        else:
            sums[3] += amount
            if count > 0 and amount > sums[4]:
                sums[4] = amount


cdef long long _integer(bytes data) except? -1:
    """A quantity as it stands in an event's bytes: groups of 7 bits, the least first, zig-zag; within 64 bits."""
    cdef unsigned long long zigzag = 0
    cdef Py_ssize_t place
    if data is None:
        raise TypeError("the quantity of an event is bytes")
    for place in range(PyBytes_GET_SIZE(data)):
        zigzag |= <unsigned long long>(<unsigned char>PyBytes_AS_STRING(data)[place] & 127) << (7 * place)
    return <long long>(zigzag >> 1) ^ -<long long>(zigzag & 1)
