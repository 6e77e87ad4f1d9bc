"""A worker that delivers, as a process of its own; with `COSTLEDGER_TEST_KILL_AFTER_SEND` it dies right after a send."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry

from costledger.schemas.settings import Settings, load_settings
from costledger.sinks.jobs.queue import make_app
from costledger.sinks.jobs.worker import JobWorker
from costledger.sinks.notifications import dispatch, tasks
from costledger.sinks.notifications.messages import Message
from costledger.sinks.notifications.outcome import Outcome
from costledger.sinks.notifications.sending import send


def send_and_die(settings: Settings, endpoint: Any, message: Message, now: datetime) -> Outcome:
    """The message has arrived, and nobody knows."""
    outcome = send(settings, endpoint, message, now)
    assert outcome.delivered, outcome
    os.kill(os.getpid(), signal.SIGKILL)
    return outcome


def main() -> None:
    settings = load_settings()
    if os.environ.get("KILL_AFTER_SEND"):
        whole = dispatch.deliver_due
        tasks.deliver_due = lambda one, *rest: whole(replace(one, send=send_and_die), *rest)
    delivery = tasks.DeliveryTasks(settings, CollectorRegistry(), lease_margin_seconds=0.5)
    worker = JobWorker(make_app(settings, [delivery.register]), heartbeat_seconds=0.2, poll_seconds=0.2)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()


if __name__ == "__main__":
    main()
