"""gunicorn's hooks: each child begins a record of its own, and notes its end. It does nothing for the tracker."""

from __future__ import annotations

from typing import Any


def post_fork(_server: Any, worker: Any) -> None:
    """In a new child."""
    from tests.fault.harness.web_app import generating

    generating.begin(f"{generating.load.name}-{worker.pid}", generating.load.seed + worker.pid)


def worker_exit(_server: Any, _worker: Any) -> None:
    """In a child that ends in good order: it will serve no more requests."""
    from tests.fault.harness.web_app import generating

    generating.end()


def on_exit(_server: Any) -> None:
    """In the parent, in the end."""
    from tests.fault.harness.web_app import generating

    generating.end()
