"""All promises at once, on one installation where nothing goes on any more (memory and progress: `watch`)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from tests.fault.harness.alert_checks import check_alerts, replaying
from tests.fault.harness.dead_letter_checks import check_dead_letters
from tests.fault.harness.findings import Findings
from tests.fault.harness.ledger_checks import (
    check_events,
    check_offsets,
    check_put_aside,
    check_rollups,
    check_sums,
)
from tests.fault.harness.redis_looks import RedisLooks
from tests.fault.harness.tables import Counts, load_oracle
from tests.fault.harness.totals_checks import check_state, ledger_totals

if TYPE_CHECKING:
    from tests.fault.harness.cluster import Cluster

#: Of the ledger of a soak, some eight million entries: four minutes.
VERIFY_SECONDS_MAX: Final = 900.0


def examine(cluster: Cluster, *, replay_alerts: bool, redis_seconds: float, chain: bool) -> Findings:
    """I1 to I7, I9 and I10; see `Cluster.examine`."""
    findings = Findings()
    settings = cluster.settings()
    # Its time runs from now on, whatever the other checks take.
    with RedisLooks(cluster.redis, redis_seconds) as looks:
        with replaying(cluster.reader, settings) if replay_alerts else nullcontext() as replay:
            counts = _examine_ledger(cluster, findings)
            findings.figures["attempts"] = counts.attempts
            check_alerts(findings, cluster.connection, cluster.reader, settings, replay)
        check_state(findings, cluster.connection, cluster.reader, settings)
        looks.compare(findings, ledger_totals(cluster.connection))
    if chain:
        _examine_chain(cluster, findings)
    return findings


def _examine_ledger(cluster: Cluster, findings: Findings) -> Counts:
    records = [generator.record for generator in cluster.generators] + cluster.other_records
    connection, events = cluster.connection, cluster.settings().topics.events
    # Millions of ids are compared: in memory rather than in files.
    connection.execute("SET work_mem = '128MB'")
    counts = load_oracle(connection, records)
    check_sums(connection, findings)
    check_events(connection, findings)
    check_rollups(connection, findings)
    check_offsets(connection, findings, events, cluster.reader.ends(events), cluster.reader.count(events))
    check_put_aside(connection, findings, counts)
    check_dead_letters(findings, connection, cluster.reader, cluster.settings().topics)
    return counts


def _examine_chain(cluster: Cluster, findings: Findings) -> None:
    done = cluster.run("verify", "--seal", check=False, timeout_seconds=VERIFY_SECONDS_MAX)
    findings.expect("I9", done.returncode == 0, done.stdout + done.stderr)
