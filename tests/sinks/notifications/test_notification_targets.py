"""Targets, addresses and waits: what a route may point to, what may be connected to, when to try again. Pure."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.schemas.errors import InvalidValue
from costledger.sinks.notifications.addresses import is_public
from costledger.sinks.notifications.schedule import RetryPlan
from costledger.sinks.notifications.targets import Channel, parse_target

WORKFLOW = "/workflows/f0/triggers/manual/paths/invoke?sig=abc"
SECRET = "TIiajkdnlazkcOXrIdevi7FQ"
PLAN = RetryPlan(5, 3600, timedelta(hours=72))


@pytest.mark.parametrize(
    ("channel", "text", "shown"),
    [
        ("email", "alice@Example.ORG", "a…@example.org"),
        ("slack", f"https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/{SECRET}", "https://hooks.slack.com/…"),
        (
            "teams",
            f"https://prod-1.westeurope.logic.azure.com:443/workflows/f/triggers/manual/paths/invoke?sig={SECRET}",
            "https://prod-1.westeurope.logic.azure.com/…",
        ),
        (
            "teams",
            "https://default1.d0.environment.api.powerplatform.com/powerautomate/automations/direct/cu/3/workflows/f/"
            f"triggers/manual/paths/invoke?api-version=1&sig={SECRET}",
            "https://default1.d0.environment.api.powerplatform.com/…",
        ),
        ("webhook", f"https://Example.org:8443/in?key={SECRET}", "https://example.org:8443/…"),
        ("webhook", "https://8.8.8.8/", "https://8.8.8.8/…"),
    ],
)
def test_what_users_may_give(channel: str, text: str, shown: str) -> None:
    """An address, the service's own webhook, an https URL; shown without what gives power."""
    target = parse_target(Channel(channel), text, operator=False, allow_private=False)
    assert target.shown == shown
    assert SECRET not in f"{target!r}{target.key}{target.shown}"


@pytest.mark.parametrize(
    ("channel", "text"),
    [
        ("email", "alice"),
        ("email", "alice@"),
        ("email", "=?utf-8?q?a?=@example.org"),
        ("email", "a@example.org,b@example.org"),
        ("email", "a@example.org\nBcc: b@example.org"),
        ("email", "mailtos://u:p@internal.example?to=a@example.org"),
        ("slack", "https://evil.example/services/T1JJ3T3L2/A1BRTD4JD/x"),
        ("slack", "https://hooks.slack.com.evil.example/services/T/B/x"),
        ("slack", "https://hooks.slack.com@evil.example/services/T/B/x"),
        ("slack", "http://hooks.slack.com/services/T/B/x"),
        ("slack", "slack://T1JJ3T3L2/A1BRTD4JD/x"),
        ("slack", "https://hooks.slack.com/whatever"),
        ("slack", "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD"),
        ("slack", "https://hooks.slack.com:8443/services/T1JJ3T3L2/A1BRTD4JD/x"),
        ("slack", "https://hooks.slack.com./services/T1JJ3T3L2/A1BRTD4JD/x"),
        ("slack", "https://hooks.slack.com/services/../T1JJ3T3L2/A1BRTD4JD/x"),
        ("teams", "https://evil.example/workflows/f"),
        ("teams", f"https://a.powerplatform.attacker.example:8443{WORKFLOW}"),
        ("teams", f"https://a.powerplatform.attacker.example{WORKFLOW}"),
        ("teams", f"https://x.logic.azure.xyz{WORKFLOW}"),
        ("teams", f"https://x.logic.azure.com.evil.example{WORKFLOW}"),
        ("teams", f"https://xlogic.azure.com{WORKFLOW}"),
        ("teams", f"https://logic.azure.com{WORKFLOW}"),
        ("teams", f"https://x.logic.azure.com:8443{WORKFLOW}"),
        ("teams", f"https://me@x.logic.azure.com{WORKFLOW}"),
        ("teams", f"https://x.logic.azure.com@evil.example{WORKFLOW}"),
        ("teams", f"http://x.logic.azure.com{WORKFLOW}"),
        ("teams", "https://x.logic.azure.com/other?sig=abc"),
        ("teams", "https://x.logic.azure.com/workflows/f/triggers/manual/paths/invoke"),
        ("teams", f"https://x.logic.azure.com{WORKFLOW}&sig=again"),
        ("teams", "https://x.logic.azure.com/workflows/f/triggers/manual/paths/invoke?sig=a%26verify%3Dno"),
        ("teams", "workflows://evil.example/f/s"),
        ("webhook", "http://example.org/"),
        ("webhook", "ftp://example.org/"),
        ("webhook", "file:///etc/passwd"),
        ("webhook", "https://"),
        ("webhook", "https://user:pass@example.org/"),
        ("webhook", "https://example.org/#fragment"),
        ("webhook", "https://example.org:99999/"),
        ("webhook", "https://[::1]/"),
        ("webhook", "https://localhost/"),
        ("webhook", "https://db.internal/"),
        ("webhook", "https://localhost./"),
        ("webhook", "https://x.internal./"),
        ("webhook", "https://127。0。0。1/"),
        ("webhook", "https://192.0.0.8/"),
        ("webhook", "https://10.0.0.1/"),
        ("webhook", "https://169.254.169.254/latest/meta-data"),
        ("webhook", "https://127.1/"),
        ("webhook", "https://2130706433/"),
        ("webhook", "https://0x7f000001/"),
        ("webhook", "https://[::ffff:10.0.0.1]/"),
        ("webhook", "https://example.org/a b"),
        ("webhook", "https://example.org/" + "x" * 2048),
        ("webhook", ""),
    ],
)
def test_what_users_may_not_give(channel: str, text: str) -> None:
    """Other servers, other schemes, credentials, this machine and this network: refused, and not repeated."""
    with pytest.raises(InvalidValue) as error:
        parse_target(Channel(channel), text, operator=False, allow_private=False)
    assert error.value.field == "target"
    assert not text or text not in str(error.value)


@pytest.mark.parametrize("operator", [True, False])
@pytest.mark.parametrize(
    "order",
    [
        *("verify=no", "template=http://127.0.0.1/", "template=file:///etc/hostname", "workflow=other", "pa=yes"),
        *("signature=other", "%74emplate=file:///etc/hostname", ":key=value", "+X-Header=value", "image=yes"),
    ],
)
def test_no_order_to_the_library_comes_in_by_a_url(order: str, operator: bool) -> None:
    """Of a query only what the service asks for goes on, wherever the rest of it stands; of Slack's URL nothing does."""
    query = f"api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig={SECRET}"
    url = "https://x.logic.azure.com:443/workflows/f/triggers/manual/paths/invoke?"
    plain = "https://x.logic.azure.com/workflows/f/triggers/manual/paths/invoke?" + query
    for text in (f"{url}{query}&{order}", f"{url}{order}&{query}", f"{url}{query}#{order}"):
        assert parse_target(Channel.TEAMS, text, operator=operator, allow_private=True).text == plain
    slack = f"https://hooks.slack.com/services/T1JJ3T3L2/B1BRTD4JD/{SECRET}"
    assert parse_target(Channel.SLACK, f"{slack}?{order}", operator=operator, allow_private=True).text == slack


@pytest.mark.parametrize(
    ("channel", "text", "shown"),
    [
        ("email", f"mailtos://u:{SECRET}@smtp.example.org?to=ops@example.org", "mailtos://smtp.example.org/…"),
        ("slack", f"slack://T1JJ3T3L2/A1BRTD4JD/{SECRET}", "slack://…"),
        ("teams", f"workflows://flows.example.org/f/{SECRET}", "workflows://flows.example.org/…"),
    ],
)
def test_what_only_operators_may_give(channel: str, text: str, shown: str) -> None:
    """URLs that name a server of any kind are for those who run this one."""
    assert parse_target(Channel(channel), text, operator=True, allow_private=False).shown == shown
    with pytest.raises(InvalidValue):
        parse_target(Channel(channel), text, operator=False, allow_private=False)


def test_the_setting_allows_local_webhooks() -> None:
    """Where the operator says so, a webhook may be http and anywhere."""
    for text in ("http://127.0.0.1:8000/hook", "https://localhost/hook"):
        assert parse_target(Channel.WEBHOOK, text, operator=False, allow_private=True).text == text


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        "0.0.0.0",  # noqa: S104 - to be refused
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1"),
        *("64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:db8::1", "fec0::1"),
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_addresses_that_are_not_public(text: str) -> None:
    """Loopback, private, link-local, reserved, multicast: in both families and in each other's clothes."""
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(text: str) -> None:
    """Somebody's on the Internet."""
    assert is_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
def test_an_address_is_as_public_in_every_form(address: ipaddress.IPv4Address) -> None:
    """No form of IPv6 makes an IPv4 address public that is not."""
    number = int(address)
    for base in (0xFFFF << 32, 0x64FF9B << 96, 0):
        other = ipaddress.IPv6Address(base | number)
        assert is_public(other) <= is_public(address), other


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_and_keep_their_bounds(failures: int, chance: float) -> None:
    """Between 5 s and 1 h, never shorter after more failures by more than the jitter, whatever the number."""
    wait = PLAN.wait(failures, chance).total_seconds()
    assert 5 <= wait <= 3600
    assert wait >= PLAN.wait(max(1, failures - 1), 0).total_seconds()
    assert PLAN.wait(1, 0).total_seconds() == 5
    assert PLAN.wait(50, 0).total_seconds() == 1800


def test_what_the_server_asks_for_is_honoured() -> None:
    """Retry-After lengthens a wait, also beyond an hour, up to a day; it never shortens one."""
    assert PLAN.wait(1, 0, 120) == timedelta(seconds=120)
    assert PLAN.wait(1, 0, 7200) == timedelta(hours=2)
    assert PLAN.wait(1, 0, 10**9) == timedelta(days=1)
    assert PLAN.wait(9, 0, 1) == PLAN.wait(9, 0)
