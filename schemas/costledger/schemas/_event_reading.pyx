# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of `event_reading`'s short way: the same answer for the same bytes, or None.

Every place is held against the end of the data before it is read. Where the Python way would raise an IndexError, this one
returns None; either means the long way.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp

from costledger.schemas.codec import SINGLE_OBJECT_MARKER, current_schema, schema_fingerprint
from costledger.schemas.events import (
    ID_TIME_TOLERANCE_MILLISECONDS,
    METADATA_KEYS_MAX,
    OCCURRED_AT_END_US,
    OCCURRED_AT_MIN_US,
)

ctypedef const unsigned char* Place

cdef enum:
    HEAD_BYTES = 11
    ID_BYTES = 36
    USER = HEAD_BYTES + ID_BYTES
    USD_BYTES = 4
    TIME_BYTES = 8
    # Integers of so many bytes, 7 bits each, are within the bounds of quantity and amount.
    INTEGER_BYTES_MAX = 9
    NOT_HEXADECIMAL = 16

cdef bytes _head = SINGLE_OBJECT_MARKER + schema_fingerprint(current_schema("cost_event")) + b"\x48"
if len(_head) != HEAD_BYTES:
    raise ImportError(f"the header of an event has {len(_head)} bytes, this module was made for {HEAD_BYTES}")

cdef long long TOLERANCE_MILLISECONDS = ID_TIME_TOLERANCE_MILLISECONDS
cdef long long TIME_MIN_US = OCCURRED_AT_MIN_US
cdef long long TIME_END_US = OCCURRED_AT_END_US
cdef int TEXTS_MAX = 2 * METADATA_KEYS_MAX

#: The value of a lower-case hexadecimal digit by its character.
cdef unsigned char[256] HEXADECIMAL
cdef int _character
for _character in range(256):
    HEXADECIMAL[_character] = NOT_HEXADECIMAL
for _character in range(16):
    HEXADECIMAL[b"0123456789abcdef"[_character]] = _character


def read_known(bytes data not None, dict charges not None, dict tails not None, tail_type):
    """The `ReadEvent` of an event like those that are remembered, or None: then the long way tells what it is.

    Raises UnicodeDecodeError where the user or the metadata are no UTF-8. `charges` and `tails` are what is remembered.
    """
    cdef Place p = <Place>PyBytes_AS_STRING(data)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t at, begin
    cdef long long occurred_at, id_milliseconds
    cdef object amount = None
    cdef object pricing = None
    if end < USER + 2 or memcmp(p, PyBytes_AS_STRING(_head), HEAD_BYTES):
        return None
    id_milliseconds = _milliseconds_of_id(p + HEAD_BYTES)
    if id_milliseconds < 0:
        return None

    # One byte of length: up to 63 bytes, and so up to as many characters.
    begin = USER + 1
    at = begin + (p[USER] >> 1)
    if p[USER] & 129 or at >= end:
        return None
    user_id = PyUnicode_DecodeUTF8(<const char*>p + begin, at - begin, NULL)
    if not _is_plain(p + begin, at - begin) and not (user_id.isprintable() and user_id.strip()):
        return None

    begin = at
    at += 1 + (p[at] >> 1)
    if at >= end:
        return None
    at += 2 + (p[at] >> 1)
    if at >= end:
        return None
    charge = charges.get(PyBytes_FromStringAndSize(<const char*>p + begin, at - begin))
    if charge is None:
        return None

    begin = at
    at = _end_of_integer(p, at, end)
    if at < 0:
        return None
    quantity = PyBytes_FromStringAndSize(<const char*>p + begin, at - begin)

    for pricing_bytes, known in (<dict>charge.pricings).items():
        if _begins_with(p + at, end - at, <bytes>pricing_bytes):
            at += PyBytes_GET_SIZE(<bytes>pricing_bytes)
            pricing = known
            break
    if pricing is None or at >= end:
        return None

    if p[at] == 2:
        begin = at + 1
        at = _end_of_integer(p, begin, end)
        if at < 0:
            return None
        amount = _integer(p + begin, at - begin)
    elif p[at] == 0:
        at += 1
    else:
        return None

    if end - at < USD_BYTES + TIME_BYTES + 1 or memcmp(p + at, b"\x06USD", USD_BYTES):
        return None
    at += USD_BYTES
    if _end_of_integer(p, at, end) != at + TIME_BYTES:
        return None
    occurred_at = _integer(p + at, TIME_BYTES)
    at += TIME_BYTES
    if not TIME_MIN_US <= occurred_at < TIME_END_US:
        return None
    if not -TOLERANCE_MILLISECONDS <= id_milliseconds - occurred_at // 1000 <= TOLERANCE_MILLISECONDS:
        return None

    tail = tails.get(PyBytes_FromStringAndSize(<const char*>p + at, end - at))
    if tail is None:
        tail = _tail_with_metadata(p, at, end, tails, tail_type)
        if tail is None:
            return None
    event_id = PyUnicode_DecodeASCII(<const char*>p + HEAD_BYTES, ID_BYTES, NULL)
    return event_id, user_id, charge, quantity, pricing, amount, occurred_at, tail


cdef long long _milliseconds_of_id(Place p) noexcept:
    """The time of a UUIDv7 in canonical form (RFC 9562); -1 where it is none."""
    cdef int place
    cdef long long time = 0
    for place in range(ID_BYTES):
        if place == 8 or place == 13 or place == 18 or place == 23:
            if p[place] != c"-":
                return -1
        elif HEXADECIMAL[p[place]] == NOT_HEXADECIMAL:
            return -1
        elif place < 13:
            time = time << 4 | HEXADECIMAL[p[place]]
    return time if p[14] == c"7" and HEXADECIMAL[p[19]] >> 2 == 2 else -1


cdef bint _is_plain(Place p, Py_ssize_t count) noexcept:
    """Whether it is a text of printable ASCII with something other than spaces."""
    cdef Py_ssize_t place
    cdef bint has_ink = False
    for place in range(count):
        if not 32 <= p[place] < 127:
            return False
        has_ink |= p[place] != 32
    return has_ink


cdef Py_ssize_t _end_of_integer(Place p, Py_ssize_t at, Py_ssize_t end) noexcept:
    """The place after an integer that begins here; -1 where it is too long, or the data ends in it."""
    cdef Py_ssize_t last = at + INTEGER_BYTES_MAX
    while at < end and at < last:
        if p[at] < 128:
            return at + 1
        at += 1
    return -1


cdef long long _integer(Place p, Py_ssize_t count) noexcept:
    """An integer of at most `INTEGER_BYTES_MAX` bytes: groups of 7 bits, the least first, zig-zag."""
    cdef unsigned long long zigzag = 0
    cdef Py_ssize_t place
    for place in range(count):
        zigzag |= <unsigned long long>(p[place] & 127) << (7 * place)
    return <long long>(zigzag >> 1) ^ -<long long>(zigzag & 1)


cdef bint _begins_with(Place p, Py_ssize_t count, bytes part) noexcept:
    cdef Py_ssize_t length = PyBytes_GET_SIZE(part)
    return length <= count and not memcmp(p, PyBytes_AS_STRING(part), length)


cdef object _tail_with_metadata(Place p, Py_ssize_t at, Py_ssize_t end, dict tails, tail_type):
    """A known source, no reversal, and a map in one block of texts that are not empty, of up to 63 bytes each.

    So many texts as there may be are within the bound of all their bytes together, if none is longer.
    """
    cdef Py_ssize_t begin = at
    cdef Py_ssize_t key_begin, key_end
    cdef int count
    at += 1 + (p[at] >> 1)
    # The union's branch, the count, and the end of the map.
    if at + 3 > end or p[at]:
        return None
    plain = tails.get(PyBytes_FromStringAndSize(<const char*>p + begin, at - begin) + b"\0\0")
    count = p[at + 1]
    # No empty text has a length of 0 in here, so the first NUL is in a text or behind the map.
    if plain is None or not count or count & 129 or count > TEXTS_MAX or p[end - 1]:
        return None
    if memchr(p + at + 2, 0, end - 1 - (at + 2)) != NULL:
        return None
    at += 2
    metadata = {}
    for _ in range(count >> 1):
        key_begin = at + 1
        key_end = _end_of_text(p, at, end)
        if key_end < 0:
            return None
        at = _end_of_text(p, key_end, end)
        if at < 0:
            return None
        key = PyUnicode_DecodeUTF8(<const char*>p + key_begin, key_end - key_begin, NULL)
        metadata[key] = PyUnicode_DecodeUTF8(<const char*>p + key_end + 1, at - key_end - 1, NULL)
    return tail_type(plain.source, None, metadata) if at + 1 == end else None


cdef Py_ssize_t _end_of_text(Place p, Py_ssize_t at, Py_ssize_t end) noexcept:
    """The place after a text of up to 63 bytes that begins here; -1 where it is longer, or reaches the end of the data."""
    if at >= end or p[at] & 129:
        return -1
    at += 1 + (p[at] >> 1)
    return at if at < end else -1
