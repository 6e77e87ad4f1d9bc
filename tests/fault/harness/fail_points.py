"""Deaths at fail points: `cluster.start("sink", **fail_at("sink.before_commit", 2))`, then `worker.died_by_itself()`."""

from __future__ import annotations

from costledger.schemas.fail_points import FAIL_AT, FAIL_POINTS, FLAG, Action


def fail_at(place: str, visit: int = 1, action: Action = "kill") -> dict[str, str]:
    """The settings of a worker that kills itself, or stops, when it is at this place for the `visit`-th time."""
    assert place in FAIL_POINTS, place
    return {_setting(FLAG): "1", _setting(FAIL_AT): f"{place}:{visit}:{action}"}


def without_fail_point(settings: dict[str, str]) -> dict[str, str]:
    """The same worker as one that does not kill itself."""
    return {name: value for name, value in settings.items() if name not in (_setting(FLAG), _setting(FAIL_AT))}


def _setting(variable: str) -> str:
    return variable.removeprefix("COSTLEDGER_").lower()
