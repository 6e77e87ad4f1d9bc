"""Reading fields of what a provider answered, whether that is a dictionary or an object; needs no provider's package."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Concatenate, Final, ParamSpec
from uuid import UUID

from costledger.producers.errors import EventDropped
from costledger.producers.records import whole_number
from costledger.producers.services import ServiceMethods
from costledger.schemas.errors import InvalidValue, shown

logger = logging.getLogger(__name__)

P = ParamSpec("P")
#: A user's id, or what says whose work the current one is, for example `current_user.get` of a context variable.
User = str | Callable[[], str]
#: Longer texts of a provider are cut before they go into an event's metadata.
TEXT_CHARACTERS_MAX: Final = 200


class Disagreement(InvalidValue):
    """One count under several names, and not the same under each: nobody knows which is right.

    `counts` is what each name says; `why` says it without the numbers.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        first = next(iter(counts))
        other = next(name for name in counts if counts[name] != counts[first])
        super().__init__(other, counts[other], f"{shown(counts[first])}, as {first} is")
        self.counts = dict(counts)
        self.why = f"contradicts itself: {first} and {other} are not the same"


def field(source: object, *names: str) -> Any:
    """The value under a path of names, in mappings or objects; None where it ends early."""
    for name in names:
        if source is None:
            return None
        source = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
    return source


def count(source: object, *names: str) -> int:
    """A whole number of 0 or more under a path; 0 where nothing is said. Raises `InvalidValue` for anything else."""
    value = field(source, *names)
    if value is None:
        return 0
    number = whole_number(value, ".".join(names))
    if number < 0:
        raise InvalidValue(".".join(names), number, "0 or more")
    return number


def agreed(source: object, *paths: tuple[str, ...]) -> int | None:
    """The count that is told under any of these paths; None where none of them has a value, which is not 0.

    Raises `Disagreement` where two have different ones, else what `count` raises.
    """
    counts = {".".join(path): count(source, *path) for path in paths if field(source, *path) is not None}
    if len(set(counts.values())) > 1:
        raise Disagreement(counts)
    return next(iter(counts.values()), None)


def text(source: object, *names: str) -> str | None:
    """Text under a path, None where there is none."""
    value = field(source, *names)
    return value[:TEXT_CHARACTERS_MAX] if isinstance(value, str) and value else None


def unix_time(source: object, *names: str) -> datetime | None:
    """Unix seconds under a path as an aware datetime; None where there are none."""
    value = field(source, *names)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise InvalidValue(".".join(names), value, "Unix seconds") from None


def told(**values: object) -> dict[str, Any]:
    """Metadata of what there is: None, zero and empty text say nothing."""
    return {name: value for name, value in values.items() if value not in (None, 0, "")}


def user_id_of(user: User) -> str:
    """The user that is asked for now."""
    return user() if callable(user) else user


def refusing(
    adapter: Callable[Concatenate[ServiceMethods, P], list[UUID]],
) -> Callable[Concatenate[ServiceMethods, P], list[UUID]]:
    """An adapter that never raises: what it cannot read is one rejected event, counted, logged and reported.

    (Unless the tracker is strict.)
    """

    @functools.wraps(adapter)
    def adapted(tracker: ServiceMethods, /, *args: P.args, **kwargs: P.kwargs) -> list[UUID]:
        try:
            return adapter(tracker, *args, **kwargs)
        except EventDropped:  # a strict tracker has counted it already
            raise
        except Exception as error:  # noqa: BLE001 - whatever a response looks like, the host must live
            return [tracker.reject(error)]

    return adapted
