"""Processes that tests kill: a service that orders and tracks, and a relay that kills itself at a step of a batch.

service SEED        orders without end, some rolled back; prints `tracking` when it has begun
relay STEP NUMBER   relays, and dies at the step of the batch with this number
"""

from __future__ import annotations

import os
import random
import signal
import sys

import psycopg

from costledger.producers import CostTracker
from costledger.producers.outbox.relay import Relay, Step
from costledger.schemas.settings import load_settings


class Changed(Exception):
    """The customer has changed their mind."""


def serve(seed: int) -> None:
    """Each order and its event in one transaction, one in five rolled back."""
    rng = random.Random(seed)
    url = os.environ["COSTLEDGER_DATABASE_URL"]
    tracker = CostTracker(source="shop", durability="outbox")
    with psycopg.connect(url, autocommit=True) as connection:
        number = 0
        while True:
            try:
                with connection.transaction():
                    event_id = tracker.using(connection).track_s3(f"user-{number % 9}", "put", 1 + number)
                    connection.execute("INSERT INTO orders (event_id) VALUES (%s)", (event_id,))
                    if rng.random() < 0.2:
                        raise Changed
            except Changed:
                pass
            number += 1
            if number == 1:
                sys.stdout.write("tracking\n")
                sys.stdout.flush()


def relay(wanted: str, number: int) -> None:
    """Relay in batches of 50."""
    left = number

    def on_step(step: Step) -> None:
        nonlocal left
        if step == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    Relay(load_settings(), batch_rows=50, on_step=on_step).run()


if __name__ == "__main__":
    if sys.argv[1] == "service":
        serve(int(sys.argv[2]))
    else:
        relay(sys.argv[2], int(sys.argv[3]))
