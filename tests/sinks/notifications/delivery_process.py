"""A worker that delivers, as a process of its own; other workers take it for dead soon after it is."""

from __future__ import annotations

import signal

from prometheus_client import CollectorRegistry

from costledger.schemas.settings import load_settings
from costledger.sinks.jobs.queue import make_app
from costledger.sinks.jobs.worker import JobWorker
from costledger.sinks.notifications.tasks import DeliveryTasks


def main() -> None:
    settings = load_settings()
    delivery = DeliveryTasks(settings, CollectorRegistry(), lease_margin_seconds=0.5)
    app = make_app(settings, [delivery.register])
    worker = JobWorker(app, heartbeat_seconds=0.2, silent_seconds_max=1.5, poll_seconds=0.2)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()


if __name__ == "__main__":
    main()
