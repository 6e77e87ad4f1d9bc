"""Takes a dead process out of its consumer group, as the broker would after its session: so nobody waits for that."""

from __future__ import annotations

import asyncio

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import NoError, UnknownMemberIdError, for_code
from aiokafka.protocol.group import LeaveGroupRequest
from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined]  # documented place

ADMIN_SECONDS_MAX = 20.0


def expel(bootstrap_servers: str, group: str) -> int:
    """Have every member leave the group, all of which are dead; how many there were."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    described = admin.describe_consumer_groups([group], request_timeout=ADMIN_SECONDS_MAX)[group]
    members = [member.member_id for member in described.result(ADMIN_SECONDS_MAX).members]
    asyncio.run(_leave(bootstrap_servers, group, members))
    return len(members)


async def _leave(bootstrap_servers: str, group: str, members: list[str]) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()
    try:
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
        for member in members:
            answer = await client.send(coordinator, LeaveGroupRequest(group, member))
            gone = for_code(answer.error_code)
            assert gone in {NoError, UnknownMemberIdError}, f"{member} of {group}: {gone}"
    finally:
        await client.close()
