# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of `packing.pack_read`: the same bytes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy

from costledger.schemas.money import QUANTITY_DECIMALS, USD_DECIMALS
from costledger.sinks.packing_fields import EMPTY_METADATA, pack_metadata, pack_repeating

cdef enum:
    FIELDS = 19
    ID_CHARACTERS = 36
    ID_BYTES = 16
    NOT_HEXADECIMAL = 16
    # Number of fields, id, times, place: what always comes first, at its longest.
    HEAD_BYTES = 2 + 4 + ID_BYTES + 4 + 8 + 4 + 4 + 4 + 8 + 4 + 8
    # 64 bits of 1e-9 units have three digits in base 10,000 before the point and three after it.
    WHOLE_GROUPS = 3
    FRACTION_GROUPS = 3
    GROUPS = WHOLE_GROUPS + FRACTION_GROUPS
    NUMERIC_BYTES_MAX = 4 + 8 + 2 * GROUPS
    NEGATIVE = 0x4000
    REMEMBERED_MAX = 16_384

cdef long long POSTGRES_EPOCH_US = 946_684_800_000_000
cdef unsigned long long TRILLION = 1_000_000_000_000
cdef unsigned long long BILLION = 1_000_000_000
#: Amounts from here on have more than one digit in base 10,000 before the point.
cdef unsigned long long AMOUNT_SHORT_END = 10_000_000_000_000_000
cdef int AMOUNT_DECIMALS = USD_DECIMALS
cdef int QUANTITY_SHOWN = QUANTITY_DECIMALS
cdef bytes _no_metadata = EMPTY_METADATA

#: The value of a lower-case hexadecimal digit by its character.
cdef unsigned char[256] HEXADECIMAL
cdef int _character
for _character in range(256):
    HEXADECIMAL[_character] = NOT_HEXADECIMAL
for _character in range(16):
    HEXADECIMAL[b"0123456789abcdef"[_character]] = _character

#: (charge, pricing, source, topic) -> the fields that are the same for many events. By the charge itself: there is one
#: object for the same names.
cdef dict _repeating = {}


def pack_read(str topic not None, int partition, long long offset, received_us, tuple event not None):
    """One row in binary COPY format, from a `ReadEvent`; times are Unix microseconds."""
    cdef char[HEAD_BYTES] head
    cdef char[2 * NUMERIC_BYTES_MAX] numbers
    cdef char* p
    cdef Py_ssize_t head_bytes, numbers_bytes, user_bytes
    cdef bytes quantity, same, metadata_field
    event_id, user_id, charge, quantity, pricing, amount, occurred_at, tail = event
    source, reverses, metadata = tail
    same = _same_fields(charge, pricing, source, topic)
    metadata_field = pack_metadata(metadata) if metadata else _no_metadata

    p = _put16(head, FIELDS)
    p = _put_id(p, event_id)
    p = _put64(_put32(p, 8), <long long>occurred_at - POSTGRES_EPOCH_US)
    p = _put32(_put32(p, 4), partition)
    p = _put64(_put32(p, 8), offset)
    p = _put32(p, -1) if received_us is None else _put64(_put32(p, 8), <long long>received_us - POSTGRES_EPOCH_US)
    head_bytes = p - head

    p = _put_quantity(numbers, quantity)
    p = _put32(p, -1) if amount is None else _put_amount(p, amount)
    numbers_bytes = p - numbers

    cdef const char* user = PyUnicode_AsUTF8AndSize(user_id, &user_bytes)
    cdef Py_ssize_t reverses_bytes = 4 if reverses is None else 4 + ID_BYTES
    row = PyBytes_FromStringAndSize(
        NULL,
        head_bytes + 4 + user_bytes + numbers_bytes + reverses_bytes
        + PyBytes_GET_SIZE(metadata_field) + PyBytes_GET_SIZE(same),
    )
    p = _copy(PyBytes_AS_STRING(row), head, head_bytes)
    p = _copy(_put32(p, <int>user_bytes), user, user_bytes)
    p = _copy(p, numbers, numbers_bytes)
    p = _put32(p, -1) if reverses is None else _put_id(p, reverses)
    p = _copy(p, PyBytes_AS_STRING(metadata_field), PyBytes_GET_SIZE(metadata_field))
    _copy(p, PyBytes_AS_STRING(same), PyBytes_GET_SIZE(same))
    return row


cdef bytes _same_fields(charge, pricing, source, topic):
    key = (charge, pricing, source, topic)
    found = _repeating.get(key)
    if found is None:
        if len(_repeating) >= REMEMBERED_MAX:
            _repeating.clear()
        found = _repeating[key] = pack_repeating(charge.key, charge.category, pricing, source, topic)
    return found


cdef char* _put16(char* p, int value) noexcept:
    p[0] = <char>(value >> 8 & 255)
    p[1] = <char>(value & 255)
    return p + 2


cdef char* _put32(char* p, int value) noexcept:
    return _put16(_put16(p, value >> 16), value)


cdef char* _put64(char* p, long long value) noexcept:
    return _put32(_put32(p, <int>(value >> 32)), <int>value)


cdef char* _copy(char* p, const char* data, Py_ssize_t count) noexcept:
    memcpy(p, data, count)
    return p + count


cdef char* _put_id(char* p, str text) except NULL:
    """The 16 bytes of a UUID in canonical form, with their length before them.

    Raises ValueError for any other text: more than 16 bytes would be written beyond their place.
    """
    cdef Py_ssize_t size
    cdef const unsigned char* digits = <const unsigned char*>PyUnicode_AsUTF8AndSize(text, &size)
    cdef int place = 0
    cdef unsigned char high, low
    if size != ID_CHARACTERS:
        raise _no_id(text)
    p = _put32(p, ID_BYTES)
    while place < ID_CHARACTERS:
        if place == 8 or place == 13 or place == 18 or place == 23:
            if digits[place] != c"-":
                raise _no_id(text)
            place += 1
            continue
        high, low = HEXADECIMAL[digits[place]], HEXADECIMAL[digits[place + 1]]
        if high == NOT_HEXADECIMAL or low == NOT_HEXADECIMAL:
            raise _no_id(text)
        p[0] = <char>(high << 4 | low)
        p += 1
        place += 2
    return p


cdef object _no_id(str text):
    return ValueError(f"{text!r} is no UUID in canonical form")


cdef char* _put_quantity(char* p, bytes data) except NULL:
    """From the quantity's own bytes in the event: groups of 7 bits, the least first, zig-zag."""
    cdef unsigned long long zigzag = 0, magnitude
    cdef Py_ssize_t place
    if data is None:
        raise TypeError("the quantity of an event is bytes")
    for place in range(PyBytes_GET_SIZE(data)):
        zigzag |= <unsigned long long>(<unsigned char>PyBytes_AS_STRING(data)[place] & 127) << (7 * place)
    magnitude = (zigzag >> 1) + (zigzag & 1)
    return _put_numeric(p, zigzag & 1, magnitude // BILLION, magnitude % BILLION * 1_000, QUANTITY_SHOWN)


cdef char* _put_amount(char* p, long long picodollars) except NULL:
    """Below 10,000 USD with the digits that are zero, which PostgreSQL drops."""
    cdef unsigned long long magnitude = -<unsigned long long>picodollars if picodollars < 0 else picodollars
    cdef unsigned long long fraction = magnitude % TRILLION
    cdef bint is_negative = picodollars < 0
    if magnitude >= AMOUNT_SHORT_END:
        return _put_numeric(p, is_negative, magnitude // TRILLION, fraction, AMOUNT_DECIMALS)
    p = _put16(_put16(_put32(p, 16), 4), 0)
    p = _put16(_put16(p, NEGATIVE if is_negative else 0), AMOUNT_DECIMALS)
    p = _put16(_put16(p, <int>(magnitude // TRILLION)), <int>(fraction // 100_000_000))
    return _put16(_put16(p, <int>(fraction // 10_000 % 10_000)), <int>(fraction % 10_000))


cdef char* _put_numeric(
    char* p, bint is_negative, unsigned long long whole, unsigned long long fraction, int decimals
) noexcept:
    """A numeric field: `whole` below 1e12, `fraction` in 1e-12. No digit in base 10,000 at either end is zero."""
    cdef int[GROUPS] groups
    cdef int first = 0, last = GROUPS, place
    groups[0] = <int>(whole // 100_000_000)
    groups[1] = <int>(whole // 10_000 % 10_000)
    groups[2] = <int>(whole % 10_000)
    groups[3] = <int>(fraction // 100_000_000)
    groups[4] = <int>(fraction // 10_000 % 10_000)
    groups[5] = <int>(fraction % 10_000)
    while first < GROUPS and not groups[first]:
        first += 1
    while last > first and not groups[last - 1]:
        last -= 1
    p = _put16(_put32(p, 8 + 2 * (last - first)), last - first)
    p = _put16(p, WHOLE_GROUPS - 1 - first if first < GROUPS else 0)
    p = _put16(_put16(p, NEGATIVE if is_negative else 0), decimals)
    for place in range(first, last):
        p = _put16(p, groups[place])
    return p
