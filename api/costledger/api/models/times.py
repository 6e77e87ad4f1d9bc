"""Times in requests."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import OCCURRED_AT_END_US, OCCURRED_AT_MIN_US
from costledger.schemas.times import from_microseconds, to_microseconds


def _check(instant: datetime) -> datetime:
    instant_us = to_microseconds(instant)
    if not OCCURRED_AT_MIN_US <= instant_us < OCCURRED_AT_END_US:
        raise InvalidValue("time", instant.isoformat(), "from 2000-01-01 up to 2099-12-31, in UTC")
    return from_microseconds(instant_us)


#: An RFC 3339 time with an offset, within what events may have; in UTC in the model.
EventTime = Annotated[AwareDatetime, AfterValidator(_check)]
