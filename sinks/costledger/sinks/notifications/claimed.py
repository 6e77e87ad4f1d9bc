"""A route that this worker has claimed: the steps of delivering, each one transaction under the claim.

Two workers never deliver to one route at once. A worker that was suspended for longer than its claim finds that out
at its next step, and stops.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from costledger.sinks.database import Connection
from costledger.sinks.locks import AdvisoryLock
from costledger.sinks.notifications.alert import Alert
from costledger.sinks.notifications.deliveries import DELIVER_TASK, wake_routes
from costledger.sinks.notifications.messages import DIGEST_ALERTS_MAX, digest_id_of
from costledger.sinks.notifications.outcome import Outcome
from costledger.sinks.notifications.schedule import RetryPlan
from costledger.sinks.queries import query

#: Routes of one user that are delivered to at once: users' servers that hang must leave workers to others.
USER_CLAIMS_MAX: Final = 2
_ALERT_FIELDS: Final = tuple(field.name for field in fields(Alert))


@dataclass(frozen=True, slots=True)
class Claim:
    """A route and the right to deliver to it. `target` and `secret` are secrets."""

    token: UUID
    route_id: UUID
    channel: str
    target: str
    target_shown: str
    secret: str | None
    user_id: str | None

    def __repr__(self) -> str:
        return f"Claim({self.channel} {self.target_shown})"


@dataclass(frozen=True, slots=True)
class Due:
    """One delivery that is due."""

    attempts: int
    gathered: bool
    digest_id: UUID | None
    ready_at: datetime
    alert: Alert


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes out as one message: one alert, or several with the id of their digest. `failures`: of the route."""

    deliveries: tuple[Due, ...]
    digest_id: UUID | None
    failures: int

    @property
    def alert_ids(self) -> list[UUID]:
        """The alerts in it."""
        return [one.alert.alert_id for one in self.deliveries]


@dataclass(frozen=True, slots=True)
class FloodLimit:
    """More messages than `messages` within `seconds` to one route: further alerts are gathered for as long."""

    messages: int
    seconds: float


def claim_route(
    connection: Connection, route_id: UUID, token: UUID, now: datetime, lease_seconds: float
) -> Claim | None:
    """The claim to a route; None where another worker has it, its user has enough of them, or it is no longer used."""
    parameters = {
        "route_id": route_id,
        "token": token,
        "now": now,
        "lease_seconds": lease_seconds,
        "lock": AdvisoryLock.ALERT_ROUTES.value,
        "claims_max": USER_CLAIMS_MAX,
    }
    with connection.transaction():
        # Claims of one user one at a time: two together would not see each other.
        connection.execute(query("lock_claims"), parameters)
        row = connection.execute(query("claim_route"), parameters).fetchone()
    return None if row is None else Claim(token, *row)


def look_again(connection: Connection, route_id: UUID) -> None:
    """For a route that another worker has claimed: enqueue a look at it for when that claim ends, should it be dead."""
    with connection.transaction():
        parameters = {"route_id": route_id, "task": DELIVER_TASK}
        row = connection.execute(query("claim_ends"), parameters).fetchone()
        if row is not None and not row[1]:
            wake_routes(connection, [route_id], row[0])


def begin_next(
    connection: Connection, claim: Claim, now: datetime, lease_seconds: float, flood: FloodLimit
) -> Batch | None:
    """What to send now, counted as attempted; None where nothing is due, the route rests, or the claim is lost.

    Just before: what was acknowledged is suppressed, and what is snoozed waits for the snooze's end.
    """
    route = {"route_id": claim.route_id, "now": now}
    with connection.transaction():
        parameters = {**route, "token": claim.token, "lease_seconds": lease_seconds}
        row = connection.execute(query("renew_claim"), parameters).fetchone()
        if row is None or (row[0] is not None and row[0] > now):
            return None
        connection.execute(query("suppress_acknowledged"), route)
        connection.execute(query("put_off_snoozed"), route)
        chosen = _chosen(connection, route, flood)
        if not chosen:
            return None
        digest_id = chosen[0].digest_id
        if digest_id is None and len(chosen) > 1:
            digest_id = digest_id_of(claim.route_id, [one.alert.alert_id for one in chosen])
        batch = Batch(tuple(chosen), digest_id, row[1])
        connection.execute(
            query("begin_attempt"),
            {"route_id": claim.route_id, "alert_ids": batch.alert_ids, "digest_id": digest_id},
        )
        return batch


def record(
    connection: Connection,
    claim: Claim,
    batch: Batch,
    outcome: Outcome,
    now: datetime,
    plan: RetryPlan,
    chance: float,
) -> tuple[list[float], int]:
    """Keep what became of an attempt; returns (seconds that each delivered alert waited, how many were given up).

    Can be repeated: what was marked before is left alone.
    """
    route: dict[str, Any] = {"route_id": claim.route_id, "now": now, "alert_ids": batch.alert_ids}
    with connection.transaction():
        if outcome.delivered:
            rows = connection.execute(query("mark_delivered"), route).fetchall()
            connection.execute(query("route_succeeded"), route)
            return [seconds for (seconds,) in rows], 0
        attempts = max(one.attempts for one in batch.deliveries) + 1
        end = min(one.ready_at for one in batch.deliveries) + plan.dead_after
        wait = plan.wait(batch.failures + 1, chance, outcome.retry_after_seconds)
        failed = {
            **route,
            "reason": outcome.reason,
            "gone": outcome.gone,
            "dead_after": plan.dead_after,
            "wait": plan.wait(attempts, chance, outcome.retry_after_seconds),
            "retry_at": min(now + wait, end) if end > now else now + wait,
        }
        rows = connection.execute(query("mark_failed"), failed).fetchall()
        connection.execute(query("route_failed"), failed)
        return [], sum(state == "dead" for _, state, _ in rows)


def release(connection: Connection, claim: Claim) -> None:
    """Give the claim back, and enqueue the next look at the route where something waits."""
    with connection.transaction():
        parameters = {"route_id": claim.route_id, "token": claim.token, "task": DELIVER_TASK}
        connection.execute(query("release_route"), parameters)
        # After the release: a job for something newer, which found the route claimed, has left it to this one.
        row = connection.execute(query("next_due"), parameters).fetchone()
        if row is not None and not row[1]:
            wake_routes(connection, [claim.route_id], row[0])
        if claim.user_id is not None:
            # Routes of the same user may have found no place; what wakes too few is made good by the sweep.
            waiting = {**parameters, "user_id": claim.user_id, "limit": USER_CLAIMS_MAX}
            found = connection.execute(query("user_routes_with_due"), waiting).fetchall()
            wake_routes(connection, [one for (one,) in found])


def _due(connection: Connection, route: dict[str, Any], digest_id: UUID | None = None) -> list[Due]:
    parameters = {**route, "digest_id": digest_id, "limit": DIGEST_ALERTS_MAX}
    rows = connection.execute(query("due_deliveries"), parameters).fetchall()
    return [_one_due(row) for row in rows]


def _one_due(row: tuple[Any, ...]) -> Due:
    attempts, gathered, digest, ready_at, *columns = row
    return Due(attempts, gathered, digest, ready_at, Alert(**dict(zip(_ALERT_FIELDS, columns, strict=True))))


def _chosen(connection: Connection, route: dict[str, Any], flood: FloodLimit) -> list[Due]:
    """Which of the due ones make the next message; what is too much for now is put together for later."""
    due = _due(connection, route)
    if due and not due[0].gathered and not due[0].attempts:
        now: datetime = route["now"]
        since = {**route, "since": now - timedelta(seconds=flood.seconds)}
        ((recent, gathered_until),) = connection.execute(query("recent_messages"), since).fetchall()
        if recent < flood.messages:
            return due[:1]
        fresh = [one.alert.alert_id for one in due if not one.gathered and not one.attempts]
        at = gathered_until or now + timedelta(seconds=flood.seconds)
        connection.execute(query("gather_deliveries"), {**route, "at": at, "alert_ids": fresh})
        due = [one for one in due if one.gathered or one.attempts]
    if not due:
        return []
    first = due[0]
    if first.digest_id is not None:  # once more the same message, with all that was in it
        return _due(connection, route, first.digest_id)
    if first.gathered:
        return [one for one in due if one.gathered and one.digest_id is None]
    return [first]
