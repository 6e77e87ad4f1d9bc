"""Delivering what is due on one route: claim it, send message after message, keep what became of each, release it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID, uuid4

from costledger.schemas.fail_points import reach
from costledger.schemas.settings import Settings
from costledger.sinks.database import Connection
from costledger.sinks.notifications.claimed import (
    Batch,
    Claim,
    FloodLimit,
    begin_next,
    claim_route,
    look_again,
    record,
    release,
)
from costledger.sinks.notifications.messages import Message, digest_of, message_of
from costledger.sinks.notifications.outcome import Outcome
from costledger.sinks.notifications.schedule import RetryPlan
from costledger.sinks.notifications.sending import attempt_seconds_max, send
from costledger.sinks.patience import PatientConnection
from costledger.sinks.queries import query

logger = logging.getLogger(__name__)

#: Messages that one job sends; what is left is another job's, so that other routes have their turn.
RUN_MESSAGES_MAX: Final = 50
#: A claim outlasts an attempt by so much: time to keep what became of it.
LEASE_MARGIN_SECONDS: Final = 20.0

Clock = Callable[[Connection], datetime]
Send = Callable[[Settings, Claim, Message, datetime], Outcome]


class Observer(Protocol):
    """Is told what happens, for metrics."""

    def delivered(self, channel: str, seconds: list[float]) -> None:
        """One message was taken; so long each of its alerts waited."""

    def failed(self, channel: str, dead: int) -> None:
        """One attempt failed; so many deliveries were given up with it."""


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """What delivering needs. `clock` asks PostgreSQL for the time, so that workers agree on it."""

    settings: Settings
    observer: Observer
    clock: Clock
    send: Send = send
    should_stop: Callable[[], bool] = lambda: False
    lease_margin_seconds: float = LEASE_MARGIN_SECONDS


def database_clock(connection: Connection) -> datetime:
    """The time of PostgreSQL."""
    ((now,),) = connection.execute(query("database_time")).fetchall()
    return now  # type: ignore[no-any-return]  # a timestamptz


def deliver_due(dispatcher: Dispatcher, patient: PatientConnection, route_id: UUID) -> int:
    """Deliver what is due on a route; returns how many messages were taken.

    Ends at the first failure: the route rests then. Where another worker is at this route, that one does it all. When
    PostgreSQL goes away, waits for it; what was sent is then marked so, and not sent again.
    """
    lease_seconds = attempt_seconds_max(dispatcher.settings) + dispatcher.lease_margin_seconds
    token = uuid4()
    claim = patient.do(lambda one: claim_route(one, route_id, token, dispatcher.clock(one), lease_seconds))
    if claim is None:
        patient.do(lambda one: look_again(one, route_id))
        return 0
    reach("delivery.claimed")
    taken = 0
    try:
        while taken < RUN_MESSAGES_MAX and not dispatcher.should_stop():
            if not _deliver_one(dispatcher, patient, claim, lease_seconds):
                break
            taken += 1
    finally:
        patient.do(lambda one: release(one, claim))
    reach("delivery.released")
    return taken


def _deliver_one(dispatcher: Dispatcher, patient: PatientConnection, claim: Claim, lease_seconds: float) -> bool:
    settings = dispatcher.settings
    flood = FloodLimit(settings.delivery_digest_alerts, settings.delivery_digest_seconds)

    def begin(connection: Connection) -> tuple[Batch | None, datetime]:
        now = dispatcher.clock(connection)
        return begin_next(connection, claim, now, lease_seconds, flood), now

    batch, now = patient.do(begin)
    if batch is None:
        return False
    message = _message(settings, batch)
    reach("delivery.before_send")
    outcome = dispatcher.send(settings, claim, message, now)
    reach("delivery.after_send")
    plan, chance = RetryPlan.of(settings), random.random()  # noqa: S311 - spreads retries; nothing secret
    waited, dead = patient.do(lambda one: record(one, claim, batch, outcome, dispatcher.clock(one), plan, chance))
    reach("delivery.after_record")
    _tell(dispatcher.observer, claim, batch, outcome, waited, dead)
    return outcome.delivered


def _message(settings: Settings, batch: Batch) -> Message:
    if batch.digest_id is None:
        return message_of(batch.deliveries[0].alert, settings.public_url)
    # The time that is written in a digest is its alerts', so that every attempt has the same body.
    made_at = max(one.alert.raised_at for one in batch.deliveries)
    return digest_of(batch.digest_id, [one.alert for one in batch.deliveries], made_at, settings.public_url)


def _tell(observer: Observer, claim: Claim, batch: Batch, outcome: Outcome, waited: list[float], dead: int) -> None:
    what = f"{len(batch.deliveries)} alerts" if batch.digest_id else f"alert {batch.alert_ids[0]}"
    if outcome.delivered:
        observer.delivered(claim.channel, waited)
        logger.info("%s delivered by %s to %s", what, claim.channel, claim.target_shown)
        return
    observer.failed(claim.channel, dead)
    level = logging.ERROR if dead or outcome.gone else logging.WARNING
    logger.log(
        level,
        "%s not delivered by %s to %s (route %s): %s%s%s",
        what,
        claim.channel,
        claim.target_shown,
        claim.route_id,
        outcome.reason,
        f"; {dead} deliveries are given up" if dead else "; will be tried again",
        "; the route is disabled" if outcome.gone else "",
    )
