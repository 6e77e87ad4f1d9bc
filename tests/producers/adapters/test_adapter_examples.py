"""The examples of the adapters' README, run as they are printed, into a real Kafka; and the SDK without any package."""

from __future__ import annotations

import re
import subprocess
import sys
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.adapters import openai_answers as answers
from tests.producers.adapters.aws_answers import aws_server
from tests.producers.adapters.test_adapter_openai_client import reply
from tests.producers.loopback import serving
from tests.producers.reading import read_topic

from costledger.schemas.codec import decode_cost_event

README = files("costledger.producers.adapters") / "README.md"


def test_the_examples_of_the_readme_run(kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block in its order; what they cost is in the topic, to the picodollar."""
    prefix = kafka.unique("readme") + "."
    topic = kafka.create_topic(f"{prefix}cost.events")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 7
    with serving(reply) as openai_api, aws_server() as (_, aws_api):
        for name, value in {
            "COSTLEDGER_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "COSTLEDGER_TOPIC_PREFIX": prefix,
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": f"{openai_api.url}/v1",
            "AWS_ACCESS_KEY_ID": "access",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": aws_api.url,
        }.items():
            monkeypatch.setenv(name, value)
        names: dict[str, Any] = {"__name__": "readme"}
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own text
        names["client"].close()
    assert names["text"] == "Hello."
    stats = names["tracker"].stats()
    assert (stats["dropped"], stats["unpriced"]) == (0, 0)
    usd: dict[str, Decimal] = {}
    for message in read_topic(kafka.bootstrap_servers, topic):
        event = decode_cost_event(message.value() or b"")
        assert event.amount is not None
        usd[event.user_id] = usd.get(event.user_id, Decimal(0)) + Decimal(event.amount).scaleb(-12)
    assert 0 < usd.pop("user-7") < Decimal("0.001")
    assert usd == {
        "user-1": Decimal("0.003"),
        "user-2": Decimal("0.003") + Decimal("0.00003"),
        "user-3": (800 * Decimal(3) + 200 * Decimal("0.3") + 100 * Decimal(15)) / 10**6,
        "user-4": Decimal("0.0003"),
        "user-5": Decimal("0.001"),
        "user-6": Decimal("3.20"),
    }


def test_the_adapters_need_no_providers_package() -> None:
    """Imported and used on dictionaries in an interpreter that can import none of them."""
    code = f"""
import sys
for name in ("openai", "botocore", "boto3", "stripe", "opentelemetry", "psutil"):
    sys.modules[name] = None
from costledger.producers import CostTracker, adapters
tracker = CostTracker("127.0.0.1:9", "tests", flush_timeout_seconds=0)
adapters.track_openai(tracker, "u", {answers.chat()!r})
adapters.track_aws(tracker, "u", "rekognition", "DetectLabels", {{}})
adapters.track_gen_ai_span(tracker, "u", {{"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o"}})
adapters.track_stripe_balance_transaction(
    tracker, "u", dict(id="t", type="charge", currency="usd", created={answers.CREATED}, amount=1, fee=1)
)
with adapters.track_processing(tracker, "u"):
    pass
print(tracker.stats()["tracked"], tracker.stats()["rejected"])
tracker.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["7", "0"]
