# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of what is in `lookback`: the same answers in the same order, read byte by byte.

A reader of MessagePack for what a day holds, in the sizes of its formats that a writer may choose. No byte is read beyond the end.
Of bytes that no day was stored as the twins may refuse different ones.
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcmp

#: Hours of a day: 25 where clocks go back, many more in none.
cdef enum:
    HOURS_MAX = 128
    #: Services whose names are made once.
    NAMES_MAX = 16


#: Two such numbers have a sum of 64 bits.
cdef long long SMALL_MAX = 1LL << 62


cdef struct Span:
    const unsigned char* at
    const unsigned char* end


cdef struct Hour:
    long long key
    Span span


cdef int fail() except -1:
    raise ValueError("not the stored form of a day")


cdef int need(Span* span, Py_ssize_t count) except -1:
    if span.end - span.at < count:
        fail()
    return 0


cdef unsigned long long big_endian(Span* span, int width) except? 0xFFFFFFFFFFFFFFFF:
    """The unsigned number of the next bytes."""
    cdef unsigned long long value = 0
    cdef int index
    need(span, width)
    for index in range(width):
        value = value << 8 | span.at[index]
    span.at += width
    return value


cdef int first(Span* span) except -1:
    """The next byte."""
    need(span, 1)
    span.at += 1
    return (span.at - 1)[0]


cdef Py_ssize_t count_of(Span* span, int fixed, int fixed_mask, int wide) except -1:
    """How many items an array or a map has: `fixed` in four bits, or `wide` in two bytes, or the next in four."""
    cdef int kind = first(span)
    if kind & fixed_mask == fixed:
        return kind & 0x0F
    if kind == wide:
        return <Py_ssize_t>big_endian(span, 2)
    if kind == wide + 1:
        return <Py_ssize_t>big_endian(span, 4)
    return fail()


cdef Py_ssize_t array_of(Span* span) except -1:
    return count_of(span, 0x90, 0xF0, 0xDC)


cdef int take_text(Span* span, int kind, Span* text) except -1:
    """Bytes or text whose first byte was `kind`; False, and nothing read, where it is another."""
    cdef Py_ssize_t size
    if kind & 0xE0 == 0xA0:
        size = kind & 0x1F
    elif kind in (0xC4, 0xD9):
        size = <Py_ssize_t>big_endian(span, 1)
    elif kind in (0xC5, 0xDA):
        size = <Py_ssize_t>big_endian(span, 2)
    elif kind in (0xC6, 0xDB):
        size = <Py_ssize_t>big_endian(span, 4)
    else:
        return False
    need(span, size)
    text.at = span.at
    text.end = span.at + size
    span.at += size
    return True


cdef int text_of(Span* span, Span* text) except -1:
    if not take_text(span, first(span), text):
        fail()
    return 0


cdef int take_small(Span* span, long long* value) except -1:
    """The next integer, where it is a signed one of 64 bits; False, and nothing read, where it is another, or text."""
    cdef const unsigned char* start = span.at
    cdef int kind = first(span)
    cdef unsigned long long wide
    if kind < 0x80:
        value[0] = kind
    elif kind >= 0xE0:
        value[0] = kind - 0x100
    elif kind == 0xCE:
        value[0] = <long long>big_endian(span, 4)
    elif kind == 0xCF:
        wide = big_endian(span, 8)
        value[0] = <long long>wide
        if value[0] < 0:
            span.at = start
            return False
    elif kind == 0xCD:
        value[0] = <long long>big_endian(span, 2)
    elif kind == 0xCC:
        value[0] = <long long>big_endian(span, 1)
    elif kind == 0xD3:
        value[0] = <long long>big_endian(span, 8)
    elif kind == 0xD2:
        value[0] = <int>big_endian(span, 4)
    elif kind == 0xD1:
        value[0] = <short>big_endian(span, 2)
    elif kind == 0xD0:
        value[0] = <signed char>big_endian(span, 1)
    else:
        span.at = start
        return False
    return True


cdef object number_of(Span* span):
    """The next integer, which beyond 64 bits is text."""
    cdef long long value
    cdef Span text
    cdef int kind
    if take_small(span, &value):
        return value
    kind = first(span)
    if kind == 0xCF:
        return big_endian(span, 8)
    if take_text(span, kind, &text):
        return int((<const char*>text.at)[: text.end - text.at])
    fail()


cdef class _Names:
    """The names of services: those met lately are not made again, nor their hashes. What they were read from has to live as long."""

    cdef Span spans[NAMES_MAX]
    cdef list names

    def __cinit__(self):
        self.names = []

    cdef object name(self, Span text):
        cdef Py_ssize_t index, size = text.end - text.at
        for index in range(len(self.names)):
            if self.spans[index].end - self.spans[index].at == size and not memcmp(self.spans[index].at, text.at, size):
                return self.names[index]
        name = PyUnicode_DecodeUTF8(<const char*>text.at, size, NULL)
        if len(self.names) < NAMES_MAX:
            self.spans[len(self.names)] = text
            self.names.append(name)
        return name


cdef Span span_of(object data) except *:
    cdef Span span
    if not isinstance(data, bytes):
        raise TypeError("a stored day is bytes")
    span.at = <const unsigned char*>PyBytes_AS_STRING(data)
    span.end = span.at + PyBytes_GET_SIZE(data)
    return span


cdef Py_ssize_t hours_of(object day, Hour* hours) except -1:
    """The hours of a stored day, not read yet; how many."""
    cdef Span span = span_of(day)
    cdef Py_ssize_t count, index
    if array_of(&span) != 2:
        fail()
    count = count_of(&span, 0x80, 0xF0, 0xDE)
    if count > HOURS_MAX:
        fail()
    for index in range(count):
        if not take_small(&span, &hours[index].key):
            fail()
        text_of(&span, &hours[index].span)
    return count


cdef Py_ssize_t rows_of(Span* hour) except -1:
    """Begin to read an hour: how many rows of amounts follow."""
    if array_of(hour) < 3:
        fail()
    return array_of(hour)


cdef int begin_row(Span* hour, Span* service) except -1:
    """The next row up to its amount: its service."""
    cdef Span operation
    if array_of(hour) != 3:
        fail()
    text_of(hour, service)
    text_of(hour, &operation)
    return 0


cdef object row_of(Span* hour, Span* service):
    """The next row: its service and its amount."""
    begin_row(hour, service)
    return number_of(hour)


cdef int note(dict costs, object name, object amount, Py_ssize_t costs_max) except -1:
    found = costs.get(name)
    if found is None:
        found = costs[name] = []
    cdef list known = <list>found
    if amount > 0 and len(known) < costs_max:
        known.append(amount)
    return 0


cdef dict spent_by_service(Span hour, _Names names):
    cdef Span service
    cdef dict spent = {}
    cdef Py_ssize_t index
    for index in range(rows_of(&hour)):
        amount = row_of(&hour, &service)
        name = names.name(service)
        before = spent.get(name)
        spent[name] = amount if before is None else before + amount
    return spent


cdef object total_of(Span* hour):
    cdef Span service
    cdef Py_ssize_t row
    cdef long long amount, small = 0
    total = 0
    for row in range(rows_of(hour)):
        begin_row(hour, &service)
        if not take_small(hour, &amount):
            total += number_of(hour)
        elif -SMALL_MAX < amount < SMALL_MAX and -SMALL_MAX < small < SMALL_MAX:
            small += amount
        else:
            total += amount
    return total + small


cdef object flags_in(Span* hour):
    cdef Span service
    cdef Py_ssize_t row
    cdef long long skipped
    for row in range(rows_of(hour)):
        begin_row(hour, &service)
        if not take_small(hour, &skipped):
            number_of(hour)
    return number_of(hour)


def totals_between(days, long long start, long long end):
    """As `lookback.totals_between`."""
    cdef Hour hours[HOURS_MAX]
    cdef list found = []
    cdef Py_ssize_t index
    for day in days:
        for index in range(hours_of(day, hours)):
            if start <= hours[index].key < end:
                found.append(total_of(&hours[index].span))
    return found


def flags_of(day):
    """As `lookback.flags_of`."""
    cdef Hour hours[HOURS_MAX]
    cdef list found = []
    cdef Py_ssize_t index
    for index in range(hours_of(day, hours)):
        flags = flags_in(&hours[index].span)
        if flags:
            found.append((hours[index].key, flags))
    return found


def hour_in(day, long long key):
    """As `lookback.hour_in`."""
    cdef Hour hours[HOURS_MAX]
    cdef Py_ssize_t index
    for index in range(hours_of(day, hours)):
        if hours[index].key == key:
            return (<const char*>hours[index].span.at)[: hours[index].span.end - hours[index].span.at]
    return None


def spent_at(days, keys):
    """As `lookback.spent_at`."""
    cdef Hour held[HOURS_MAX]
    cdef Py_ssize_t index, place = 0, count = len(days)
    cdef list kept = list(days)
    cdef long long key
    cdef dict costs = {}
    cdef _Names names = _Names()
    for day, wanted in zip(kept, keys, strict=True):
        if day is not None and wanted is not None:
            key = wanted
            for index in range(hours_of(day, held)):
                if held[index].key == key:
                    for service, amount in spent_by_service(held[index].span, names).items():
                        known = costs.get(service)
                        if known is None:
                            known = costs[service] = [0] * count
                        (<list>known)[place] = amount
                    break
        place += 1
    return costs


cdef void latest_first(Hour* hours, Py_ssize_t count) noexcept:
    """Put hours into the order of their keys, the largest first; mostly they are in the opposite one."""
    cdef Hour moved
    cdef Py_ssize_t index, place
    for index in range(count // 2):
        moved = hours[count - 1 - index]
        hours[count - 1 - index] = hours[index]
        hours[index] = moved
    for index in range(1, count):
        moved = hours[index]
        place = index
        while place > 0 and hours[place - 1].key < moved.key:
            hours[place] = hours[place - 1]
            place -= 1
        hours[place] = moved


def latest_costs(days, Py_ssize_t costs_max):
    """As `lookback.latest_costs`."""
    cdef Hour hours[HOURS_MAX]
    cdef Py_ssize_t index, count
    cdef Span span, service
    cdef dict costs = {}
    cdef list kept = list(days)
    cdef _Names names = _Names()
    for day in kept:
        count = hours_of(day, hours)
        latest_first(hours, count)
        for index in range(count):
            span = hours[index].span
            if rows_of(&span) == 1:
                amount = row_of(&span, &service)
                note(costs, names.name(service), amount, costs_max)
            else:
                for name, amount in spent_by_service(hours[index].span, names).items():
                    note(costs, name, amount, costs_max)
    return costs


this_module = sys.modules[__name__]
