"""The whole OpenAPI document, put to the test: whatever fits it is answered as it says, whatever does not is refused."""

from __future__ import annotations

import ast
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.python import asgi
from tests.api.alerting import store_alert
from tests.fixtures.fix_api import make_token

from costledger.api.app import create_app
from costledger.schemas.settings import Settings

EXAMPLES_MAX = 6
#: What is well-formed and refused all the same, since no schema can say so: a time that is past to be snoozed until, more
#: cached tokens than there are, an estimate beyond what one event may cost; what a target must be depends on its
#: channel, and how many there may be on how many there are.
BEYOND_SCHEMAS = (
    {"include-path": "/api/alerts/{alert_id}/snooze"},
    {"include-path": "/api/alerts/routes", "include-method": "POST"},
    {"include-path": "/api/estimates"},
    {"include-path": "/api/decisions"},
)
ACCEPTED_STATUSES = ["2xx", "3xx", "401", "403", "404", "409", "429", "5xx"]
#: A document of a hundred parts may be larger than any body may be, whether it is valid or not.
REFUSED_STATUSES = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]


#: Hypothesis takes the app's own threads, which draw random numbers (how long to wait), for a strategy's; and a document of a
#: hundred parts is long to write out.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")


@pytest.fixture
def lifespans() -> Iterator[None]:
    """Ends the apps that schemathesis has started."""
    yield
    asgi.shutdown_lifespans()


@pytest.fixture
def one_parser_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads parse Python source one after another.

    CPython 3.11 counts the depth of a tree that it builds in one place for all threads; the collector's callbacks, of which
    Hypothesis has one, let another thread in between, and `ast.parse` ends with "AST constructor recursion depth mismatch".
    """
    parse, one_at_a_time = ast.parse, threading.RLock()

    def parse_alone(*args: Any, **kwargs: Any) -> Any:
        with one_at_a_time:
            return parse(*args, **kwargs)

    monkeypatch.setattr(ast, "parse", parse_alone)


@pytest.mark.parametrize("role", ["operator", None])
def test_everything_in_the_document_is_true(
    role: str | None,
    api_settings: Settings,
    api_ledger: psycopg.Connection[Any],
    seed: int,
    lifespans: None,
    one_parser_at_a_time: None,
) -> None:
    """No server error, no undocumented status, type, header or body; invalid is refused and valid accepted."""
    now = datetime.now(UTC)
    for number in range(6):
        store_alert(api_ledger, f"user-{number % 2}", alert_id=uuid.uuid4(), raised_at=now - timedelta(minutes=number))
    token = make_token("user-1", *([] if role is None else [role]))
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": f"Bearer {token}"},
            "generation": {"max-examples": EXAMPLES_MAX, "database": "none"},
            "operations": [
                {
                    **one,
                    "checks": {
                        "positive_data_acceptance": {"expected-statuses": [*ACCEPTED_STATUSES, "413", "422"]},
                        "negative_data_rejection": {"expected-statuses": REFUSED_STATUSES},
                    },
                }
                for one in BEYOND_SCHEMAS
            ],
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", app=create_app(api_settings), config=config)
    failures: dict[str, str] = {}
    tried: dict[str, int] = {}
    for event in from_schema(schema).execute():
        if isinstance(event, (FatalError, NonFatalError)):
            pytest.fail(str(event.info if isinstance(event, NonFatalError) else event.exception))
        if isinstance(event, ScenarioFinished):
            tried[str(event.label)] = tried.get(str(event.label), 0) + len(event.recorder.cases)
            assert event.status is not Status.ERROR
            for case_id, checks in event.recorder.checks.items():
                for check in checks:
                    if check.failure_info is not None:
                        failure = check.failure_info.failure
                        sent = event.recorder.cases[case_id].value.as_curl_command()
                        failures[f"{event.label} {failure.title}"] = f"{failure.message}\n{sent}"
    assert not failures, "\n\n".join(f"{title}\n{message}" for title, message in failures.items())
    operations = {f"{one.ok().method.upper()} {one.ok().path}" for one in schema.get_all_operations()}
    assert operations <= set(tried)
    assert min(tried[name] for name in operations) >= 1
