"""How far a simulation goes: hundreds or a few thousand steps with every test run, many times as many with `make fault`.

`COSTLEDGER_TEST_SIMULATION` is `quick` (the default) or `full`. A failure replays from its seed: `COSTLEDGER_TEST_SEED`,
which the fixture `seed` prints, decides every draw, and no database of earlier examples is kept.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import hypothesis
from hypothesis import Phase
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from tests.fixtures.environment import simulation_profile

#: Hypothesis makes a failure smaller for five minutes at most, and says only then what it was.
TIMEOUT_SECONDS: Final = 900


class Bounds(NamedTuple):
    """So many runs of a machine, each of so many steps at most."""

    runs: int
    steps_max: int


def simulate(machine: type[RuleBasedStateMachine], seed: int, *, quick: Bounds, full: Bounds) -> None:
    """Run a machine within the bounds of the profile, every draw decided by the seed."""
    bounds = full if simulation_profile() == "full" else quick
    # A class of its own: the seed is an attribute of it.
    seeded = hypothesis.seed(seed)(type(machine.__name__, (machine,), {}))
    run_state_machine_as_test(
        seeded,
        settings=hypothesis.settings(
            max_examples=bounds.runs,
            stateful_step_count=bounds.steps_max,
            deadline=None,
            database=None,
            print_blob=False,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
