"""I5 and I10: what Redis shows and what the stream's state holds, against the entries of the ledger."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import redis
from tests.fault.harness.findings import Findings
from tests.fault.harness.topics import TopicReader

from costledger.schemas.budgets import Budget
from costledger.schemas.codec import decode_budget
from costledger.schemas.settings import Settings
from costledger.sinks.database import Connection
from costledger.streams.domain.partition import PartitionTotals, order_of
from costledger.streams.domain.user import UserTotals
from costledger.streams.domain.views import all_views
from costledger.streams.transport.records import ConsumerRecord
from costledger.streams.transport.table import RecoveredPartition
from costledger.streams.worker import changelog_topic, rules_of

EXAMPLES_MAX: Final = 5
_KEYS_AT_ONCE: Final = 2_000

#: user, kind of period, label
Key = tuple[str, str, str]
#: 1e-12 USD by (service, operation)
Amounts = dict[tuple[str, str], int]

_PERIODS = """
SELECT e.user_id, kind, to_char(e.occurred_at AT TIME ZONE coalesce(u.time_zone, 'UTC'), form),
       e.service, e.operation, (sum(e.amount) * 1000000000000)::numeric(60, 0)
FROM {source} AS e LEFT JOIN ledger.users AS u USING (user_id),
     (VALUES ('hour', 'YYYY-MM-DD"T"HH24'), ('day', 'YYYY-MM-DD'), ('month', 'YYYY-MM')) AS kinds (kind, form)
WHERE e.amount IS NOT NULL
GROUP BY 1, 2, 3, 4, 5
"""
#: What need not have arrived counts where it has.
_ARRIVED = """
(SELECT a.* FROM oracle.attempted AS a
 WHERE must OR EXISTS (SELECT FROM ledger.entries AS found WHERE found.event_id = a.event_id))
"""


def ledger_totals(connection: Connection) -> dict[Key, Amounts]:
    """Every period of every user. All entries must be within the horizon, as those of the load generator are."""
    return _totals(connection, "ledger.entries")


def oracle_totals(connection: Connection) -> dict[Key, Amounts]:
    """The same of what was attempted and must have arrived, or has. Needs the tables of the oracle."""
    return _totals(connection, _ARRIVED)


def redis_totals(client: redis.Redis) -> dict[Key, Amounts]:
    """What Redis shows. Where a total or a service is not the sum of its operations, the difference is listed, too."""
    totals: dict[Key, Amounts] = {}
    keys = list(client.scan_iter(match="costledger:{*}:total:*", count=_KEYS_AT_ONCE))
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        chosen = keys[start : start + _KEYS_AT_ONCE]
        with client.pipeline(transaction=False) as pipeline:
            for key in chosen:
                pipeline.hgetall(key)
            found = pipeline.execute()
        for key, fields in zip(chosen, found, strict=True):
            user, _, rest = key.removeprefix("costledger:{").partition("}:total:")
            kind, _, label = rest.partition(":")
            amounts = {
                tuple(name.removeprefix("operation:").split("/", 1)): int(value)
                for name, value in fields.items()
                if name.startswith("operation:")
            }
            totals[user, kind, label] = amounts | _unexplained(fields, amounts)
    return totals


def _unexplained(fields: dict[str, str], amounts: Amounts) -> Amounts:
    """What the sums of a period's hash have more than their operations; by names that no operation has."""
    more: Amounts = defaultdict(int)
    for name, value in fields.items():
        if name == "total" or name.startswith("service:"):
            more[name, ""] += int(value)
    for (service, _), amount in amounts.items():
        more["total", ""] -= amount
        more[f"service:{service}", ""] -= amount
    return {name: amount for name, amount in more.items() if amount}


def check_state(findings: Findings, connection: Connection, reader: TopicReader, settings: Settings) -> None:
    """I10. Needs the tables of the oracle."""
    try:
        users = recovered_users(reader, settings)
    except ValueError as error:  # parts of a state are missing
        findings.found("I10", f"the state cannot be recovered: {error}")
        return
    compare_totals(findings, "I10", "state", oracle_totals(connection), _totals_of(users))
    budgets = {(message.key() or b"").decode(): message.value() for message in reader.read(settings.topics.budgets)}
    for user_id, value in budgets.items():
        in_force = Budget(user_id=user_id) if value is None else decode_budget(value)
        held = users[user_id].budget if user_id in users else Budget(user_id=user_id)
        findings.expect("I10", held == in_force, f"{user_id}: {in_force} is in force, the state has {held}")


def recovered_users(reader: TopicReader, settings: Settings) -> dict[str, UserTotals]:
    """What a worker would hold that recovers now: the changelog, read as a recovery reads it.

    `ValueError` where a worker could not recover from it, or where compaction would keep another state than that.
    """
    recovered: dict[int, RecoveredPartition] = defaultdict(lambda: RecoveredPartition(order_of))
    topic = changelog_topic(settings)
    for message in reader.read(topic):
        partition = message.partition() or 0
        recovered[partition].apply([_record(message)])
    users: dict[str, UserTotals] = {}
    if overtaken := [key for state in recovered.values() for key, *_ in state.repairs()]:
        raise ValueError(f"an older state stands behind a newer one of {len(overtaken)} keys, such as {overtaken[:3]}")
    for state in recovered.values():
        held = PartitionTotals(rules_of(settings))
        held.restore(state.state())
        users |= held.users
    return users


def _totals_of(users: dict[str, UserTotals]) -> dict[Key, Amounts]:
    return {
        (view.user_id, view.kind.value, view.label): dict(view.amounts or {})
        for user in users.values()
        for view in all_views(user)
    }


def compare_totals(
    findings: Findings, invariant: str, what: str, wanted: dict[Key, Amounts], held: dict[Key, Amounts]
) -> None:
    """Every period of both sides; one that is missing is one of zeros."""
    differing = []
    for key in sorted(wanted.keys() | held.keys()):
        ours, theirs = wanted.get(key, {}), held.get(key, {})
        if any(ours.get(name, 0) != theirs.get(name, 0) for name in ours.keys() | theirs.keys()):
            differing.append(f"{' '.join(key)}: wanted {sum(ours.values())}, {what} {sum(theirs.values())}")
    if differing:
        findings.found(invariant, f"{len(differing)} periods differ: {'; '.join(differing[:EXAMPLES_MAX])}")


def _totals(connection: Connection, source: str) -> dict[Key, Amounts]:
    totals: dict[Key, Amounts] = defaultdict(dict)
    for user, kind, label, service, operation, amount in connection.execute(_PERIODS.format(source=source).encode()):
        totals[user, kind, label][service, operation] = int(amount)
    return totals


def _record(message: object) -> ConsumerRecord:
    return _Adapted(message)  # type: ignore[return-value]  # the fields that recovery reads


class _Adapted:
    """A message of confluent-kafka with the attributes of one of aiokafka."""

    def __init__(self, message: object) -> None:
        self.topic = message.topic()  # type: ignore[attr-defined]
        self.partition = message.partition()  # type: ignore[attr-defined]
        self.offset = message.offset()  # type: ignore[attr-defined]
        self.key = message.key()  # type: ignore[attr-defined]
        self.value = message.value()  # type: ignore[attr-defined]
        self.headers = tuple(message.headers() or ())  # type: ignore[attr-defined]
