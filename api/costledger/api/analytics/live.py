"""The running period's total as the stream app has it: in Redis, ahead of the roll-ups by as much as the sink is behind."""

from __future__ import annotations

import logging

import redis

from costledger.schemas.periods import Period
from costledger.schemas.redis_keys import TOTAL_KINDS, totals_key

logger = logging.getLogger(__name__)


def live_total(client: redis.Redis | None, user_id: str, period: Period) -> int | None:
    """The total in 1e-12 USD; None where Redis has none (weeks; before the first event) or cannot be asked.

    What Redis says is a view: nothing is decided by it, so that an answer without it is better than none.
    """
    if client is None or period.kind not in TOTAL_KINDS:
        return None
    try:
        total = client.hget(totals_key(user_id, period.kind, period.label), "total")
        return None if total is None else int(str(total))
    except (redis.RedisError, ValueError) as error:
        logger.warning("no live total of %s %s: %s", period.kind, period.label, error)
        return None
