# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of `event_bytes.known_event_bytes`: the same bytes, or None as it does."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy

from costledger.schemas.events import ID_TIME_TOLERANCE_MILLISECONDS, OCCURRED_AT_END_US, OCCURRED_AT_MIN_US
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX, QUANTITY_NANOUNITS_MAX

cdef enum:
    ID_CHARACTERS = 36
    # 64 bits in groups of 7.
    INTEGER_BYTES_MAX = 10
    NOT_HEXADECIMAL = 16
    # Length and id, quantity, branch and amount, currency, time.
    OWN_BYTES_MAX = 1 + ID_CHARACTERS + INTEGER_BYTES_MAX + 1 + INTEGER_BYTES_MAX + 4 + INTEGER_BYTES_MAX

cdef long long TOLERANCE_MILLISECONDS = ID_TIME_TOLERANCE_MILLISECONDS
cdef long long TIME_MIN_US = OCCURRED_AT_MIN_US
cdef long long TIME_END_US = OCCURRED_AT_END_US
cdef long long QUANTITY_MAX = QUANTITY_NANOUNITS_MAX
cdef long long AMOUNT_MAX = AMOUNT_PICODOLLARS_MAX
cdef bytes _empty_map = b"\x00"

#: The value of a lower-case hexadecimal digit by its character.
cdef unsigned char[256] HEXADECIMAL
cdef int _character
for _character in range(256):
    HEXADECIMAL[_character] = NOT_HEXADECIMAL
for _character in range(16):
    HEXADECIMAL[b"0123456789abcdef"[_character]] = _character


def known_event_bytes(dict record not None, dict names not None, dict users not None, map_bytes):
    """The body of a record in Avro, or None: then the long way tells what is wrong, or encodes it.

    `names` and `users` are what is remembered, `map_bytes` encodes metadata that is not empty. Raises KeyError or
    TypeError where something is missing or cannot be a key.
    """
    cdef char[OWN_BYTES_MAX] own
    cdef char* p = own
    cdef char* row_at
    cdef Py_ssize_t id_size, quantity_at, amount_at, end
    cdef long long time, number
    cdef bytes before, between, after, user, metadata_bytes
    key = (
        record["service"], record["operation"], record["category"], record["unit"],
        record["unit_price"], record["price_version"], record["source"],
    )
    before, between, after = <tuple>names[key]
    user = users[record["user_id"]]
    event_id, occurred_at = record["event_id"], record["occurred_at"]
    quantity, amount, metadata = record["quantity"], record["amount"], record["metadata"]
    if record["reverses_event_id"] is not None or record["currency"] != "USD":
        return None
    if type(event_id) is not str or type(metadata) is not dict or not (<str>event_id).isascii():
        return None
    if not _is_within(occurred_at, TIME_MIN_US, TIME_END_US - 1, &time):
        return None
    cdef const char* digits = PyUnicode_AsUTF8AndSize(event_id, &id_size)
    if id_size != ID_CHARACTERS or not _is_id_of(digits, time // 1000):
        return None

    p[0] = 2 * ID_CHARACTERS
    memcpy(p + 1, digits, ID_CHARACTERS)
    quantity_at = 1 + ID_CHARACTERS
    if not _is_within(quantity, -QUANTITY_MAX, QUANTITY_MAX, &number):
        return None
    p = _put_integer(own + quantity_at, number)
    amount_at = p - own
    if amount is None:
        p[0] = 0
        p += 1
    elif _is_within(amount, -AMOUNT_MAX, AMOUNT_MAX, &number):
        p[0] = 2
        p = _put_integer(p + 1, number)
    else:
        return None
    memcpy(p, b"\x06USD", 4)
    p = _put_integer(p + 4, time)
    end = p - own

    metadata_bytes = map_bytes(metadata) if metadata else _empty_map
    row = PyBytes_FromStringAndSize(
        NULL,
        end + PyBytes_GET_SIZE(user) + PyBytes_GET_SIZE(before) + PyBytes_GET_SIZE(between)
        + PyBytes_GET_SIZE(after) + PyBytes_GET_SIZE(metadata_bytes),
    )
    row_at = _copy(PyBytes_AS_STRING(row), own, quantity_at)
    row_at = _copy_bytes(_copy_bytes(row_at, user), before)
    row_at = _copy_bytes(_copy(row_at, own + quantity_at, amount_at - quantity_at), between)
    row_at = _copy_bytes(_copy(row_at, own + amount_at, end - amount_at), after)
    _copy_bytes(row_at, metadata_bytes)
    return row


cdef bint _is_within(value, long long least, long long most, long long* number) except -1:
    """Whether it is an int, and no bool, within these bounds; then `number` is it."""
    cdef int overflow
    if type(value) is not int:
        return False
    number[0] = PyLong_AsLongLongAndOverflow(value, &overflow)
    return not overflow and least <= number[0] <= most


cdef bint _is_id_of(const char* digits, long long milliseconds) noexcept:
    """Whether it is a UUIDv7 in canonical form (RFC 9562) of this time, give or take the tolerance."""
    cdef int place
    cdef unsigned char value
    cdef long long time = 0
    for place in range(ID_CHARACTERS):
        if place == 8 or place == 13 or place == 18 or place == 23:
            if digits[place] != c"-":
                return False
            continue
        value = HEXADECIMAL[<unsigned char>digits[place]]
        if value == NOT_HEXADECIMAL:
            return False
        if place < 13:
            time = time << 4 | value
    if digits[14] != c"7" or HEXADECIMAL[<unsigned char>digits[19]] >> 2 != 2:
        return False
    return -TOLERANCE_MILLISECONDS <= time - milliseconds <= TOLERANCE_MILLISECONDS


cdef char* _put_integer(char* p, long long number) noexcept:
    """Avro's long: zig-zag, then groups of 7 bits, the least first."""
    cdef unsigned long long zigzag = (<unsigned long long>number << 1) ^ <unsigned long long>(number >> 63)
    while zigzag > 127:
        p[0] = <char>(zigzag & 127 | 128)
        zigzag >>= 7
        p += 1
    p[0] = <char>zigzag
    return p + 1


cdef char* _copy(char* p, const char* data, Py_ssize_t count) noexcept:
    memcpy(p, data, count)
    return p + count


cdef char* _copy_bytes(char* p, bytes data) noexcept:
    return _copy(p, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
