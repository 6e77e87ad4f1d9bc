"""Fail points: named places at which a test can have the process die, to see that the next one finishes its work.

Without `COSTLEDGER_TEST_FAIL_POINTS=1` in the environment nothing here is read, and reaching a place does nothing. With
it, `COSTLEDGER_TEST_FAIL_AT` says what happens where, as `name[:visit[:action]]`, several separated by commas: at that
visit of the place (counted from 1; the default) the process does `kill` (the default: SIGKILL to itself), `stop`
(SIGSTOP to itself) or `raise` (`FailPointReached`). `COSTLEDGER_TEST_FAIL_LOG` names a file to which each place is
appended, one a line, when it is visited for the first time. Whatever is wrong in these variables is a `ValueError` at
import.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Literal, cast, get_args

FLAG: Final = "COSTLEDGER_TEST_FAIL_POINTS"
FAIL_AT: Final = "COSTLEDGER_TEST_FAIL_AT"
LOG: Final = "COSTLEDGER_TEST_FAIL_LOG"

Action = Literal["kill", "stop", "raise"]

#: Every place by its name, and what is true there.
FAIL_POINTS: Final[Mapping[str, str]] = {
    # The sink: a batch of events into the ledger, and the mirror of its progress in Kafka.
    "sink.before_claim": "Partitions are assigned, and the ledger has not been asked where they begin.",
    "sink.after_claim": "The partitions' epochs are this sink's, and nothing has been read.",
    "sink.before_begin": "A batch is gathered, and nothing of it is in the ledger.",
    "sink.before_load": "The batch's transaction is open and empty.",
    "sink.after_load": "The entries are in the transaction, the roll-ups are not.",
    "sink.after_totals": "Entries and roll-ups are in the transaction, bad messages are not.",
    "sink.after_quarantine": "Bad messages are in the transaction, the offsets are not.",
    "sink.before_commit": "Everything is in the transaction, which is not committed.",
    "sink.after_commit": "The batch is committed, and this process has not noted it.",
    "sink.before_reply": "The batch is committed, and the main thread has not been told.",
    "sink.before_mirror": "A batch is committed, and Kafka has not been told how far the ledger is.",
    "sink.after_mirror": "The client has been given the mirror of the offsets.",
    "sink.before_release": "What was gathered is written, and partitions are still to be given up.",
    # Messages that only the sink could refuse, on their way to the dead-letter topic.
    "dead_letters.before_produce": "Rows of the quarantine are chosen, and nothing has been produced.",
    "dead_letters.after_produce": "Kafka has acknowledged the dead letters, and their rows are not marked.",
    "dead_letters.after_mark": "The rows are marked, in a transaction that is committed.",
    # The stream: recovery, batches, and the flush in its fixed order.
    "stream.assigned": "A new assignment: what is no longer ours is forgotten, nothing is recovered.",
    "stream.recovering": "A part of a changelog partition has been read.",
    "stream.before_restore": "The changelog is read, and the handler has none of it.",
    "stream.after_restore": "The handler has the state, and no position is set.",
    "stream.before_repair": "States that a late write stands behind are to be written again, and none has been.",
    "stream.after_repair": "Kafka has acknowledged a partition's states anew, and no position is set.",
    "stream.opened": "Positions are set, and nothing of this assignment has been processed.",
    "stream.before_process": "Records are fetched, and the handler has not seen them.",
    "stream.after_process": "The handler has applied the records, and nothing of it is written.",
    "stream.before_outputs": "Alerts and dead letters are decided, and none has been produced.",
    "stream.after_outputs": "Kafka has acknowledged the outputs, and the state is not written.",
    "stream.before_state": "Outputs are done, and the state of this flush is not written.",
    "stream.after_state": "Kafka has acknowledged a partition's state, and its offsets are not committed.",
    "stream.before_commit": "All partitions are flushed, and no offset is committed.",
    "stream.after_commit": "The group has the offsets.",
    "stream.before_release": "Partitions are to be given up, and what was processed is not yet written.",
    "stream.after_release": "What was processed is written and committed, and the partitions are still ours.",
    "stream.before_view": "A partition's state is durable, and Redis has not been told.",
    "stream.after_view": "Redis has the totals of a flush.",
    # The notifier: alerts into the ledger.
    "notifier.after_consume": "Alerts are read, and nothing of them is in the ledger.",
    "notifier.before_insert": "The transaction for the alerts is open and empty.",
    "notifier.before_commit": "Alerts, deliveries and wake-ups are in the transaction, which is not committed.",
    "notifier.after_insert": "The alerts are committed, and Kafka does not know that they were read.",
    "notifier.after_commit": "The client has been given the offsets of the alerts.",
    # Budgets from their outbox to Kafka.
    "budgets.before_produce": "Rows of the outbox are chosen, and nothing has been produced.",
    "budgets.after_produce": "Kafka has acknowledged the budgets, and their rows are still there.",
    "budgets.after_delete": "The rows are deleted, in a transaction that is committed.",
    # The deliveries of alerts to people.
    "delivery.claimed": "A route is claimed, and nothing on it has been tried.",
    "delivery.before_send": "The attempt is counted, and nothing has been sent.",
    "delivery.after_send": "The other side has answered, and what became of the attempt is not kept.",
    "delivery.after_record": "What became of the attempt is kept, and the route is still claimed.",
    "delivery.released": "The route is given back, and its job is not done.",
    # The spool of the SDK.
    "spool.before_create": "A new file is there, without tables.",
    "spool.after_create": "A new file has its tables, and no event.",
    "spool.before_put": "An event is to be written, and `track()` has not returned.",
    "spool.after_put": "An event is on disk, and neither sent nor is its `track()` over.",
    "spool.after_send": "An event is on disk and with the Kafka client, and its `track()` has not returned.",
    "spool.after_feed": "Events that waited on disk are with the Kafka client.",
    "spool.acknowledged": "Kafka has acknowledged events, and their rows are still there.",
    "spool.before_delete": "Rows of acknowledged events are about to be deleted.",
    "spool.after_delete": "They are deleted, and this process has not noted it.",
    "spool.before_rescue": "The client has given up an event that was in memory alone.",
    "spool.after_rescue": "That event is on disk.",
    "spool.adopted": "The file of a process that is gone is ours, and nothing of it has been sent.",
    "spool.before_checkpoint": "The log has become long, and is on the disk.",
    "spool.after_checkpoint": "The log is moved into the database, and begins anew.",
    "spool.removing": "A file that is worked off has its last name, and neither it nor its log is deleted.",
    # The relay of the outbox.
    "outbox.claimed": "Rows are locked, and nothing has been produced.",
    "outbox.delivered": "Kafka has acknowledged the rows, and they are still there.",
    "outbox.committed": "The rows are deleted, in a transaction that is committed.",
}


class FailPointReached(OSError):
    """What the action `raise` raises."""


class FailPoints:
    """Counts visits and acts at the chosen ones. Safe to use from any thread."""

    def __init__(self, fail_at: str, log_path: str | None) -> None:
        """`fail_at` as in the module's docstring; `ValueError` where it names no place, visit or action."""
        self._chosen = parse(fail_at)
        self._log_path = log_path
        self._visits: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        """This place is reached."""
        if name not in FAIL_POINTS:
            raise ValueError(f"{name!r} is no fail point")
        with self._lock:
            self._visits[name] += 1
            visit = self._visits[name]
            if visit == 1 and self._log_path is not None:
                _append(self._log_path, name)
        action = self._chosen.get((name, visit))
        if action == "raise":
            raise FailPointReached(f"fail point {name}, visit {visit}")
        if action is not None:
            os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


def parse(fail_at: str) -> dict[tuple[str, int], Action]:
    """What to do at which visit of which place; `ValueError` naming what is wrong."""
    chosen: dict[tuple[str, int], Action] = {}
    for one in filter(None, fail_at.split(",")):
        name, _, rest = one.strip().partition(":")
        visit, _, action = rest.partition(":")
        if name not in FAIL_POINTS:
            raise ValueError(f"{FAIL_AT}: {name!r} is no fail point; they are {', '.join(FAIL_POINTS)}")
        if visit and not (visit.isascii() and visit.isdigit() and int(visit)):
            raise ValueError(f"{FAIL_AT}: {one!r} wants visit {visit!r}; visits are counted from 1")
        if action and action not in get_args(Action):
            raise ValueError(f"{FAIL_AT}: {one!r} wants the action {action!r}; they are {', '.join(get_args(Action))}")
        chosen[name, int(visit or 1)] = cast("Action", action or "kill")
    return chosen


def points_of(environment: Mapping[str, str]) -> FailPoints | None:
    """The fail points that an environment asks for; None without the flag."""
    if environment.get(FLAG) != "1":
        return None
    return FailPoints(environment.get(FAIL_AT, ""), environment.get(LOG))


def _ignore(name: str) -> None:
    """Fail points are off."""


def _append(path: str, name: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{name}\n".encode())
    finally:
        os.close(descriptor)


def _reach_asked_for() -> Callable[[str], None]:
    points = points_of(os.environ)
    return _ignore if points is None else points.reach


#: To be called at a place, by its name: once for a batch or a transaction, never for an event on a hot path.
reach: Final[Callable[[str], None]] = _reach_asked_for()


def reach_step_of(part: str) -> Callable[[str], None]:
    """For work that tells its steps: `reach` for the place `part.step`."""
    if reach is _ignore:
        return _ignore
    return lambda step: reach(f"{part}.{step}")
