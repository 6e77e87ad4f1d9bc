"""Reads routes of the API: `python api_readers.py URL READERS < routes.json`, prints JSON: route -> milliseconds.

Input: {route: [[path, token], ...]}. One route after the other; its requests are shared out among the readers,
each a thread with a connection that it keeps. A time is from sending the request until the last byte of the answer. An
answer that is not 200 ends the program: its time means nothing.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60


def main() -> None:
    """Read what is asked for on stdin."""
    address = urlsplit(sys.argv[1]).netloc
    readers = int(sys.argv[2])
    routes = json.load(sys.stdin)
    found = {}
    with ThreadPoolExecutor(readers) as pool:
        for route, requests in routes.items():
            parts = [requests[number::readers] for number in range(readers)]
            found[route] = [one for part in pool.map(lambda part: read(address, part), parts) for one in part]
    json.dump(found, sys.stdout)


def read(address: str, requests: list[tuple[str, str]]) -> list[float]:
    """Send requests, one after the other; the milliseconds of each."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
    milliseconds = []
    for path, token in requests:
        started = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        content = response.read()
        milliseconds.append((time.perf_counter() - started) * 1000)
        if response.status != http.client.OK:
            raise SystemExit(f"{path}: {response.status} {content[:500]!r}")
    connection.close()
    return milliseconds


if __name__ == "__main__":
    main()
