"""gunicorn's hooks: each child begins a record of its own, and notes its end. It does nothing for the tracker."""

from __future__ import annotations

from typing import Any


def post_fork(_server: Any, worker: Any) -> None:
    """In a new child."""
    from tests.fault.harness.web_app import generating

    # Its number, not its process id: the same in the next run.
    generating.begin(f"{generating.load.name}-{worker.age}", generating.load.seed + worker.age)


def worker_exit(_server: Any, _worker: Any) -> None:
    """In a child that ends in good order: it will serve no more requests."""
    from tests.fault.harness.web_app import generating

    generating.end()


def on_exit(_server: Any) -> None:
    """In the parent, in the end."""
    from tests.fault.harness.web_app import generating

    generating.end()
