"""The keys of the real-time totals in Redis."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from costledger.schemas.periods import PeriodKind
from costledger.schemas.redis_keys import (
    GUARD_EPOCH_KEY,
    TOTAL_KINDS,
    TOTALS_PATTERN,
    cache_prefix,
    guard_keys,
    lookups_key,
    parse_totals_key,
    totals_key,
)


def test_a_key_is_what_the_contract_says() -> None:
    """User in braces, kind and label of the period."""
    assert totals_key("ann", PeriodKind.HOUR, "2026-11-23T09") == "costledger:{ann}:total:hour:2026-11-23T09"


@pytest.mark.parametrize("user", ["ann", "a}:total:day:b", "}{", "a:b c", "用户"])
@pytest.mark.parametrize("kind", TOTAL_KINDS)
def test_keys_of_odd_users_are_understood(user: str, kind: PeriodKind) -> None:
    """A user may be called anything."""
    assert parse_totals_key(totals_key(user, kind, "2026-11")) == (user, kind, "2026-11")


@pytest.mark.parametrize(
    "key",
    [
        "costledger:{u}:total:week:2026-W48",
        "costledger:epoch",
        "other:{u}:total:day:2026-11-23",
        "costledger:{u}:total:day",
    ],
)
def test_other_keys_are_none_of_ours(key: str) -> None:
    """What somebody else keeps in the same Redis is left alone."""
    assert parse_totals_key(key) is None


@pytest.mark.parametrize("user", ["ann", "a}:total:day:b", "}{", "用户"])
def test_the_guards_keys_are_on_the_users_slot(user: str) -> None:
    """All of one user share the braces with the totals that they are read with; none is taken for totals by mistake."""
    *own, total = guard_keys(user, "2026-11")
    assert own == [
        f"costledger:guard:{{{user}}}{end}" for end in ("", ":items", ":expiry", ":done", ":offsets:2026-11")
    ]
    assert total == totals_key(user, PeriodKind.MONTH, "2026-11")
    for key in [*own, GUARD_EPOCH_KEY]:
        assert parse_totals_key(key) is None
        assert not fnmatchcase(key, TOTALS_PATTERN)


@pytest.mark.parametrize("user", ["ann", "a}:total:day:b", "}{", "用户"])
def test_the_keys_of_caches_are_none_of_totals(user: str) -> None:
    """Whatever a user is called, reconcile and the guard take none of them for totals, and no user's for shared ones."""
    assert cache_prefix("thumbnails", user) == f"costledger:dedup:{{{user}}}:thumbnails"
    assert lookups_key(user, "2026-11-23") == f"costledger:lookups:{{{user}}}:2026-11-23"
    ends = (":entries", ":entry:00ff", ":lease:00ff", ":band:00ff:00ff", ":entry:total:day:x")
    prefixes = [cache_prefix("thumbnails", user), cache_prefix("thumbnails", None)]
    assert not prefixes[0].startswith("costledger:dedup-shared:")
    for key in [*(prefix + end for prefix in prefixes for end in ends), lookups_key(user, "2026-11-23")]:
        assert parse_totals_key(key) is None
        assert not fnmatchcase(key, TOTALS_PATTERN)
