"""A job worker as a process of its own, whose job never ends: it writes the file `begun` and waits to be killed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import procrastinate

from costledger.schemas.settings import Settings, load_settings
from costledger.sinks.jobs.queue import make_app
from costledger.sinks.jobs.worker import JobWorker


def never_ends(**_arguments: Any) -> None:
    Path("begun").touch()
    threading.Event().wait()


def register(app: procrastinate.App, _settings: Settings) -> None:
    app.task(name="tests:note")(never_ends)


if __name__ == "__main__":
    JobWorker(make_app(load_settings(), [register])).run()
