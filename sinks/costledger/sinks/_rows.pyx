# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `rows.read_run`: the same rows."""

from costledger.schemas.errors import DecodeError, InvalidEvent, Unavailable
from costledger.schemas.event_reading import read_event
from costledger.sinks.packing import pack_read

cdef object NO_EVENT = (DecodeError, InvalidEvent)
cdef object new_row = tuple.__new__


def read_run(str topic not None, partition, offset, messages, Py_ssize_t start, list rows not None, row_class):
    """As `rows.read_run`; `row_class` is its `Row`, which this module does not import: that one imports this."""
    cdef Py_ssize_t place = start, end = len(messages), payload_bytes = 0
    cdef long long following = offset
    cdef bytes payload
    while place < end:
        message = messages[place]
        if message.error() is not None or message.partition() != partition:
            break
        offset = message.offset()
        if offset != following:
            break
        payload = message.value()
        if not payload:
            break
        kind, milliseconds = message.timestamp()
        stored_us = None if kind == 0 else milliseconds * 1_000
        try:
            event = read_event(payload, stored_us)
        except NO_EVENT:
            break
        except Unavailable as away:
            return place, payload_bytes, away
        rows.append(new_row(row_class, (partition, offset, event, pack_read(topic, partition, offset, stored_us, event), message)))
        payload_bytes += len(payload)
        following += 1
        place += 1
    return place, payload_bytes, None
