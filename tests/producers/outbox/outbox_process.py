"""A service that a test kills: it orders and tracks without end, some of it rolled back.

Run with a seed; prints `tracking` when it has begun.
"""

from __future__ import annotations

import os
import random
import sys

import psycopg

from costledger.producers import CostTracker


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


if __name__ == "__main__":
    serve(int(sys.argv[1]))
