"""Processing plans by tier: what a user's work may comprise. Data in `plans.toml` and a user's file over it.

The shipped plans have one embedding model for all tiers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Protocol

from costledger.schemas.budgets import DEFAULT_TIER
from costledger.schemas.errors import SettingsError, shown
from costledger.schemas.events import NAME_CHARACTERS_MAX

#: Names in one list of a plan; Rekognition and Comprehend have fewer operations.
NAMES_MAX: Final = 64
TIERS_MAX: Final = 1000
SECONDS_MAX_LIMIT: Final = 7 * 86_400

_LISTS: Final = ("rekognition", "comprehend", "embedding")
_FIELDS: Final = (*_LISTS, "seconds_max")


class _Readable(Protocol):
    @property
    def name(self) -> str: ...

    def read_text(self, encoding: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What work may comprise.

    `rekognition` and `comprehend` are operations of these services, `embedding` models in order of preference,
    `seconds_max` how much of a video is worked on. `tier` is whose plan it is.
    """

    tier: str
    rekognition: tuple[str, ...]
    comprehend: tuple[str, ...]
    embedding: tuple[str, ...]
    seconds_max: int

    @property
    def embedding_model(self) -> str | None:
        """The model that embeds, None where none may."""
        return self.embedding[0] if self.embedding else None

    def limited_by(self, other: Plan) -> Plan:
        """What both plans have, in this one's order and under its tier: never more than this plan."""
        return Plan(
            tier=self.tier,
            rekognition=tuple(name for name in self.rekognition if name in other.rekognition),
            comprehend=tuple(name for name in self.comprehend if name in other.comprehend),
            embedding=tuple(name for name in self.embedding if name in other.embedding),
            seconds_max=min(self.seconds_max, other.seconds_max),
        )


class Plans:
    """The plans of all tiers. Immutable; safe to share between threads."""

    def __init__(self, by_tier: Mapping[str, Plan]) -> None:
        if DEFAULT_TIER not in by_tier:
            raise SettingsError(f"plans: there must be a plan of the tier {DEFAULT_TIER!r}")
        self._by_tier = dict(by_tier)

    @classmethod
    def load(cls, path: Path | str | None = None) -> Plans:
        """The shipped plans, with those of a TOML file over them.

        `SettingsError` names the file, the tier, the field, its value and its limit.
        """
        by_tier = _read(files(__package__) / "plans.toml", {})
        return cls(by_tier if path is None else _read(Path(path), by_tier))

    def of(self, tier: str | None) -> Plan:
        """The plan of a tier; a tier without a plan of its own, and None, have the plan `default`, as their own."""
        if tier is None:
            return self._by_tier[DEFAULT_TIER]
        plan = self._by_tier.get(tier)
        return replace(self._by_tier[DEFAULT_TIER], tier=tier) if plan is None else plan

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers that have a plan of their own, in the order of the files."""
        return tuple(self._by_tier)


def _read(path: _Readable, below: Mapping[str, Plan]) -> dict[str, Plan]:
    """The plans of a file over those below it."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path.name} cannot be read as a file of plans: {error}") from error
    for name in table:
        if name != "plan":
            raise SettingsError(f"{path.name}: a table is {shown(name)}; it must be plan.TIER")
    plans = table.get("plan", {})
    if not isinstance(plans, dict) or not all(isinstance(row, dict) for row in plans.values()):
        raise SettingsError(f"{path.name}: plan is {shown(plans)}; it must be a table for each tier, [plan.TIER]")
    if len(plans) > TIERS_MAX:
        raise SettingsError(f"{path.name}: plan has {len(plans)} tiers; it must be at most {TIERS_MAX}")
    by_tier = dict(below)
    for tier, row in plans.items():
        by_tier[tier] = _plan(f"{path.name}, tier {shown(tier)}", tier, row, below.get(tier))
    return by_tier


def _plan(place: str, tier: str, row: dict[str, Any], below: Plan | None) -> Plan:
    if not _is_name(tier):
        raise SettingsError(f"{place}: {_name_limit('the tier')}")
    for name in row:
        if name not in _FIELDS:
            raise SettingsError(f"{place}: a field is {shown(name)}; it must be one of {', '.join(_FIELDS)}")
    given: dict[str, Any] = {}
    for name in _FIELDS:
        if name in row:
            given[name] = _names(place, name, row[name]) if name in _LISTS else _seconds(place, name, row[name])
        elif below is None:
            raise SettingsError(f"{place}: {name} is missing; a tier that is not shipped needs {', '.join(_FIELDS)}")
    kept = {} if below is None else {part.name: getattr(below, part.name) for part in fields(below)}
    return Plan(**{**kept, **given, "tier": tier})


def _names(place: str, field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > NAMES_MAX:
        raise SettingsError(f"{place}: {field} is {shown(value)}; it must be a list of at most {NAMES_MAX} names")
    for name in value:
        if not _is_name(name):
            raise SettingsError(f"{place}: {field} has {shown(name)}; {_name_limit('each name')}")
        if value.count(name) > 1:
            raise SettingsError(f"{place}: {field} has {shown(name)} {value.count(name)} times; it must be there once")
    return tuple(value)


def _seconds(place: str, field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= SECONDS_MAX_LIMIT:
        limit = f"a whole number of seconds from 0 to {SECONDS_MAX_LIMIT}"
        raise SettingsError(f"{place}: {field} is {shown(value)}; it must be {limit}")
    return value


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_CHARACTERS_MAX and value.isprintable()


def _name_limit(what: str) -> str:
    return f"{what} must be text of 1 to {NAME_CHARACTERS_MAX} printable characters"
