"""A worker that delivers dies at each of its fail points, one life after the other: every alert reaches its target."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable

import pytest
from tests.fault.points.deaths import Deaths, places_of, visits
from tests.fixtures.wait import wait_until
from tests.sinks.notifications.conftest import Desk, many_alerts
from tests.sinks.notifications.receivers import Receiver

PLACES = places_of("delivery")


@pytest.mark.long
@pytest.mark.fault
@visits(*PLACES)
def test_a_worker_that_dies_at_every_place_delivers_every_alert(
    deaths: Deaths,
    make_desk: Callable[..., Desk],
    receiver: Receiver,
    start_delivery_process: Callable[..., subprocess.Popen[bytes]],
) -> None:
    """Each is sent once; what was sent and not kept comes a second time with the same id and body, as is promised."""
    desk = make_desk(delivery_timeout_http_seconds=2, delivery_digest_alerts=1000)
    desk.route("webhook", receiver.url)
    alerts = many_alerts(2 * len(PLACES))
    for life, place in enumerate(PLACES):
        desk.store(*alerts[2 * life : 2 * life + 2])
        deaths.at(place, lambda variables: start_delivery_process(desk.settings, variables))
    start_delivery_process(desk.settings)
    wait_until(lambda: desk.states() == ["delivered"] * len(alerts), 60, "all is delivered")
    bodies = {(request.headers["webhook-id"], request.body) for request in receiver.requests}
    assert sorted(message_id for message_id, _ in bodies) == sorted(str(one.alert_id) for one in alerts)
    times = Counter(request.headers["webhook-id"] for request in receiver.requests)
    assert Counter(times.values()) == {1: len(alerts) - 1, 2: 1}
