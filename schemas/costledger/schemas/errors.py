"""Every error that costledger raises on purpose.

::

    CostledgerError
    ├── SettingsError            a setting is unknown, missing or out of bounds
    ├── InvalidValue             a field is out of its bounds (names field, value, limit)
    │   └── InvalidEvent         the same, of a cost event: `reason` is its stable code
    ├── DecodeError              bytes from a topic are not what the contract says
    │   ├── MalformedMessage     truncated, trailing bytes, wrong marker, not Avro
    │   ├── UnknownSchema        a fingerprint or schema id that nobody released
    │   └── OversizeMessage      more bytes than a message may have
    ├── PriceError               the price book is wrong or has no such price
    └── Unavailable              a broker, database or cache cannot be reached now

`InvalidEvent` and `DecodeError` are *permanent*: the same bytes fail again, so they go to quarantine.
`Unavailable` is *passing*: the caller waits and tries again. Anything else is a defect and stops the process.
"""

from __future__ import annotations

from decimal import Decimal

_SHOWN_CHARACTERS_MAX = 120


def shown(value: object) -> str:
    """`repr` of a value (a Decimal as its number), cut to a length that fits in a log line and a header.

    Raises nothing, whatever the value: it explains what is wrong with arguments of others.
    """
    try:
        text = str(value) if isinstance(value, Decimal) else repr(value)
    except ValueError:  # Python writes out no integer of more than 4300 digits
        return f"a value of type {type(value).__name__} too long to show"
    except Exception as error:  # noqa: BLE001 - nested too deeply, or a `__repr__` that fails
        return f"a value of type {type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}… ({len(text)} characters)"


class CostledgerError(Exception):
    """The root of the errors raised on purpose."""


class SettingsError(CostledgerError):
    """A setting is unknown, missing or out of bounds."""


class InvalidValue(CostledgerError, ValueError):
    """A field is out of its bounds.

    `field` is the name of the field, `value` what it held, `limit` what it may hold, in words.
    """

    def __init__(self, field: str, value: object, limit: str) -> None:
        super().__init__(field, value, limit)
        self.field = field
        self.value = value
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.field} is {shown(self.value)}; it must be {self.limit}"


class InvalidEvent(InvalidValue):
    """A cost event with a field out of bounds; `reason` is a stable code for quarantine and metrics."""

    @property
    def reason(self) -> str:
        """`invalid_<field>`, for example `invalid_user_id`."""
        return f"invalid_{self.field.split('[')[0]}"


class DecodeError(CostledgerError):
    """Bytes from a topic cannot be read; `reason` is a stable code for quarantine and metrics."""

    reason = "undecodable"


class MalformedMessage(DecodeError):
    """The bytes are not a message of the contract: wrong marker, truncated or with bytes left over."""

    reason = "undecodable"


class UnknownSchema(DecodeError):
    """The message names a schema that no release of costledger has published."""

    reason = "unknown_schema"


class OversizeMessage(DecodeError):
    """The message has more bytes than the contract allows."""

    reason = "oversize"


class PriceError(CostledgerError):
    """The price book is inconsistent, or a price was asked for that it cannot give."""


class Unavailable(CostledgerError):
    """A dependency cannot be reached at the moment; trying again later may succeed."""
