"""Processing plans: the shipped ones, a file over them, and how they shrink as the month's budget runs out."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.producers.optimiser.limiting import check_shares, limit_plan
from costledger.producers.optimiser.plans import Plan, Plans
from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import load_settings

SHARES = load_settings().plan_shares
SMALL = "text-embedding-3-small"


def plan(tier: str, rekognition: str, comprehend: str, seconds_max: int) -> Plan:
    """A plan from names separated by spaces, embedding with the small model."""
    return Plan(
        tier=tier,
        rekognition=tuple(rekognition.split()),
        comprehend=tuple(comprehend.split()),
        embedding=(SMALL,),
        seconds_max=seconds_max,
    )


DEFAULT = plan("default", "detectLabels", "detectSentiment", 300)
FREE = plan("free", "detectLabels", "", 120)
PREMIUM = plan("premium", "detectLabels detectText detectFaces", "detectSentiment detectEntities", 600)
ULTIMATE = plan(
    "ultimate",
    "detectLabels detectText detectFaces detectModerationLabels recognizeCelebrities",
    "detectSentiment detectEntities detectKeyPhrases",
    1800,
)


def write(tmp_path: Path, text: str) -> Path:
    """A file of plans."""
    path = tmp_path / "my-plans.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("expected", [DEFAULT, FREE, PREMIUM, ULTIMATE], ids=lambda plan: plan.tier)
def test_the_shipped_plans(expected: Plan) -> None:
    """Operations, embedding model and seconds, tier by tier."""
    assert Plans.load().of(expected.tier) == expected


def test_any_other_tier_has_the_default_plan() -> None:
    """Also a tier that is not known at all; the plan says whose it is."""
    plans = Plans.load()
    assert plans.of(None) == DEFAULT
    assert plans.of("gold") == plan("gold", "detectLabels", "detectSentiment", 300)
    assert plans.tiers == ("default", "free", "premium", "ultimate")


def test_a_file_replaces_the_fields_it_names_and_adds_tiers(tmp_path: Path) -> None:
    """What it does not name stays as shipped."""
    path = write(
        tmp_path,
        f"""
        [plan.free]
        seconds_max = 60
        [plan.gold]
        rekognition = ["detectLabels", "detectFaces"]
        comprehend = []
        embedding = ["text-embedding-3-large", "{SMALL}"]
        seconds_max = 900
        """,
    )
    plans = Plans.load(path)
    assert plans.of("free") == plan("free", "detectLabels", "", 60)
    assert plans.of("premium") == PREMIUM
    gold = plans.of("gold")
    assert (gold.seconds_max, gold.embedding_model) == (900, "text-embedding-3-large")
    # Limited by a tier that has the small model alone, the small one is used.
    assert gold.limited_by(FREE).embedding_model == SMALL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[plan.free]\nseconds_max = -1",
            "tier 'free': seconds_max is -1; it must be a whole number of seconds from 0 to",
        ),
        ("[plan.free]\nseconds_max = true", "seconds_max is True"),
        ("[plan.free]\nseconds_max = 1.5", "seconds_max is 1.5"),
        ("[plan.free]\nseconds_max = 604801", "from 0 to 604800"),
        ("[plan.free]\nrekognition = 'detectLabels'", "tier 'free': rekognition is 'detectLabels'; it must be a list"),
        ("[plan.free]\nrekognition = ['a', 'a']", "rekognition has 'a' 2 times; it must be there once"),
        ("[plan.free]\ncomprehend = [5]", "comprehend has 5; each name must be text of 1 to 128 printable characters"),
        ("[plan.free]\ncomprehend = ['']", "comprehend has ''"),
        (f"[plan.free]\ncomprehend = {[str(number) for number in range(65)]}", "a list of at most 64 names"),
        ("[plan.free]\nseconds = 5", "a field is 'seconds'; it must be one of rekognition, comprehend"),
        ("[plan.gold]\nseconds_max = 5", "tier 'gold': rekognition is missing"),
        ('[plan."a\\nb"]\nseconds_max = 5', "the tier must be text of 1 to 128 printable characters"),
        ("[plans.free]\nseconds_max = 5", "a table is 'plans'; it must be plan.TIER"),
        ("plan = 5", "plan is 5; it must be a table for each tier"),
        ("[plan]\nfree = 5", "it must be a table for each tier"),
        ("[plan.free", "cannot be read as a file of plans"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    """The error names the file, the tier, the field, its value and its limit."""
    with pytest.raises(SettingsError) as caught:
        Plans.load(write(tmp_path, text))
    assert message in str(caught.value)
    assert "my-plans.toml" in str(caught.value)


def test_a_missing_file_and_missing_default_are_refused(tmp_path: Path) -> None:
    """Both with their names."""
    with pytest.raises(SettingsError, match=r"nowhere\.toml cannot be read"):
        Plans.load(tmp_path / "nowhere.toml")
    with pytest.raises(SettingsError, match="'default'"):
        Plans({"free": FREE})


@pytest.mark.parametrize(
    ("month_to_date", "reserved", "share", "rekognition", "comprehend", "seconds"),
    [
        (0, 0, None, PREMIUM.rekognition, PREMIUM.comprehend, 600),
        (7_999, 0, None, PREMIUM.rekognition, PREMIUM.comprehend, 600),
        (7_999, 1, Decimal(80), ("detectLabels",), ("detectSentiment",), 300),
        (0, 9_499, Decimal(80), ("detectLabels",), ("detectSentiment",), 300),
        (9_000, 500, Decimal(95), ("detectLabels",), (), 120),
        (20_000, 0, Decimal(95), ("detectLabels",), (), 120),
        (-500, 0, None, PREMIUM.rekognition, PREMIUM.comprehend, 600),
    ],
)
def test_the_plan_shrinks_with_the_months_budget(
    month_to_date: int,
    reserved: int,
    share: Decimal | None,
    rekognition: tuple[str, ...],
    comprehend: tuple[str, ...],
    seconds: int,
) -> None:
    """From exactly 80 % on no more than the default plan, from 95 % on than the free one; reserved counts as used."""
    plans = Plans.load()
    limited = limit_plan(PREMIUM, plans, SHARES, month_to_date=month_to_date, reserved=reserved, budget=10_000)
    assert (limited.plan.rekognition, limited.plan.comprehend) == (rekognition, comprehend)
    assert (limited.plan.seconds_max, limited.plan.embedding, limited.plan.tier) == (seconds, (SMALL,), "premium")
    assert limited.share == share
    assert limited.used_percent == Fraction(month_to_date + reserved, 100)
    assert limited.own == PREMIUM
    assert limited.is_limited == (share is not None)


def test_limiting_says_what_it_took_away() -> None:
    """As fields and in words, with the share and the tier."""
    limited = limit_plan(PREMIUM, Plans.load(), SHARES, month_to_date=81_119, reserved=0, budget=100_000)
    assert (limited.share, limited.tier) == (Decimal(80), "default")
    assert limited.removed.rekognition == ("detectText", "detectFaces")
    assert limited.removed.comprehend == ("detectEntities",)
    assert (limited.removed.embedding, limited.removed.seconds) == ((), 300)
    assert limited.reason == (
        "81.1% of the month's budget is used or reserved: from 80% on, no more than the plan of the tier default; "
        "without detectText, detectFaces, detectEntities, video beyond 300 s"
    )


def test_a_plan_is_never_larger_than_the_users_own() -> None:
    """A free user at 80 % keeps the free plan, though the share names the larger default one."""
    limited = limit_plan(FREE, Plans.load(), SHARES, month_to_date=80, reserved=0, budget=100)
    assert (limited.plan, limited.share, limited.is_limited) == (FREE, Decimal(80), False)
    assert limited.reason.endswith("no more than the plan of the tier default (which takes nothing away)")


def test_a_budget_of_nothing_reaches_every_share() -> None:
    """Nothing is left of it, whatever was used."""
    limited = limit_plan(ULTIMATE, Plans.load(), SHARES, month_to_date=0, reserved=0, budget=0)
    assert (limited.share, limited.tier, limited.used_percent) == (Decimal(95), "free", None)
    assert limited.plan.comprehend == ()
    assert limited.reason.startswith("The month's budget is 0: from 95% on")


@pytest.mark.parametrize("unknown", ["month_to_date", "reserved", "budget"])
def test_what_cannot_be_read_limits_nothing(unknown: str) -> None:
    """The answer says that the use is not known."""
    figures: dict[str, int | None] = {"month_to_date": 99, "reserved": 0, "budget": 100, unknown: None}
    limited = limit_plan(PREMIUM, Plans.load(), SHARES, **figures)
    assert (limited.plan, limited.share, limited.used_percent) == (PREMIUM, None, None)
    assert "not known" in limited.reason


@given(
    own=st.sampled_from([DEFAULT, FREE, PREMIUM, ULTIMATE]),
    less=st.integers(-100, 300),
    more=st.integers(0, 300),
    budget=st.integers(0, 200),
)
def test_a_plan_only_shrinks_as_the_month_goes_on(own: Plan, less: int, more: int, budget: int) -> None:
    """More use never gives more, and the plan stays within the user's own."""
    plans = Plans.load()
    before = limit_plan(own, plans, SHARES, month_to_date=less, reserved=0, budget=budget).plan
    after = limit_plan(own, plans, SHARES, month_to_date=less, reserved=more, budget=budget).plan
    for smaller, larger in ((after, before), (before, own)):
        assert set(smaller.rekognition) <= set(larger.rekognition)
        assert set(smaller.comprehend) <= set(larger.comprehend)
        assert set(smaller.embedding) <= set(larger.embedding)
        assert smaller.seconds_max <= larger.seconds_max


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([(Decimal(80), "fre")], "a tier is 'fre'; it must be one of default, free, premium, ultimate"),
        ([(Decimal(-1), "free")], "a share is -1; it must be from 0 to"),
        ([(Decimal("NaN"), "free")], "a share is NaN"),
        ([(Decimal(80), "free"), (Decimal("80.0"), "default")], "stands twice"),
        ([(Decimal(number), "free") for number in range(101)], "it must be at most 100"),
    ],
)
def test_wrong_shares_are_refused(shares: list[tuple[Decimal, str]], message: str) -> None:
    """A slip in a tier's name must not mean the default plan."""
    with pytest.raises(SettingsError, match=message):
        check_shares(shares, Plans.load())


def test_shares_are_put_in_order() -> None:
    """In whatever order they were written."""
    given_shares = [(Decimal(95), "free"), (Decimal(80), "default")]
    assert check_shares(given_shares, Plans.load()) == tuple(reversed(given_shares))


def test_the_optimiser_needs_no_extra() -> None:
    """Importing it, and estimating, loads no Redis, database driver or framework: a guard in Redis is opt-in."""
    code = """
import sys
from datetime import UTC, datetime
from costledger.producers import PriceBook
from costledger.producers.optimiser import ImageWork
print(ImageWork().estimate(PriceBook.load(), datetime.now(UTC)).text)
print(sorted({"redis", "psycopg", "numpy", "openai", "botocore", "stripe"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "0.001002 USD\n[]\n"
