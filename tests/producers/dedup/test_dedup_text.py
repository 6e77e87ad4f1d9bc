"""Similar text: signatures, bands and what is found on a real Redis; measured on a generated set of known similarity."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import redis
from tests.fixtures.fix_report import add_test_note

from costledger.producers.dedup import ResultCache, SimilarText
from costledger.producers.dedup.text import CHARACTERS_MAX, CHARACTERS_MIN, band_rows
from costledger.schemas.errors import InvalidValue

SHINGLE = 5
BASES = 60
VARIANTS = 20
SIGNATURE_HEX = "984378044526a408cc6ae203"


def words(rng: random.Random, count: int) -> list[str]:
    """Words of a language that nobody speaks."""
    return ["".join(rng.choices(string.ascii_lowercase, k=rng.randrange(2, 10))) for _ in range(count)]


def changed(rng: random.Random, text: list[str], changes: int) -> list[str]:
    """The text with so many words replaced."""
    copy = list(text)
    for place in rng.sample(range(len(copy)), changes):
        copy[place] = words(rng, 1)[0]
    return copy


def jaccard(one: str, other: str) -> Fraction:
    """The true similarity of the two sets of shingles."""
    first, second = (
        {text[start : start + SHINGLE] for start in range(len(text) - SHINGLE + 1)} for text in (one, other)
    )
    return Fraction(len(first & second), len(first | second))


@pytest.fixture(scope="module")
def similar() -> SimilarText:
    """The default: 0.9 of 256."""
    return SimilarText()


@pytest.fixture
def make_cache(redis_url: str) -> Iterator[Callable[..., ResultCache]]:
    """Caches for similar text on an empty database."""
    made: list[ResultCache] = []

    def make(**other: Any) -> ResultCache:
        values = {"service": "openai", "operation": "embedding-small", "redis_url": redis_url, **other}
        made.append(ResultCache("text", **values))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


@pytest.mark.parametrize("threshold", ["0.8", "0.9"])
def test_similar_texts_are_found_and_others_are_not(
    request: pytest.FixtureRequest, make_cache: Callable[..., ResultCache], seed: int, threshold: str
) -> None:
    """60 texts stored, 20 variants of each asked for: precision and recall against the true similarity.

    Near the threshold a signature may go either way, by its standard error of sqrt(J (1 - J) / 256). More than five of
    these away from it (0.15 below; above it, three quarters of the way to 1) nothing may.
    """
    rng = random.Random(seed)
    cache = make_cache(similarity=SimilarText(threshold))
    limit = Fraction(threshold)
    surely_not, surely = limit - Fraction(15, 100), limit + (1 - limit) * Fraction(3, 4)
    bases = [words(rng, rng.randrange(80, 140)) for _ in range(BASES)]
    for number, base in enumerate(bases):
        assert cache.run("u", " ".join(base), lambda number=number: number) == number
    right = wrong = missed = clear = 0
    for number, base in enumerate(bases):
        for changes in range(VARIANTS):
            variant = " ".join(changed(rng, base, changes))
            similarity = jaccard(" ".join(base), variant)
            # A failure stores nothing, so that variants are compared with the base texts alone.
            try:
                found = cache.run("u", variant, _fail)
            except LookupError:
                found = None
            assert found in {None, number}
            right += found is not None and similarity >= limit
            wrong += found is not None and similarity < limit
            missed += found is None and similarity >= limit
            if not surely_not < similarity < surely:
                clear += 1
                assert (found is not None) is (similarity > limit), (float(similarity), changes)
    precision, recall = right / (right + wrong), right / (right + missed)
    add_test_note(request.node, "measured", f"threshold {threshold}: precision {precision:.3f}, recall {recall:.3f}")
    assert clear > BASES
    assert right > 2 * BASES
    assert precision > 0.8
    assert recall > 0.8


def _fail() -> int:
    raise LookupError


def test_texts_that_have_nothing_in_common_are_not_compared(similar: SimilarText, seed: int) -> None:
    """Of 2,000 unrelated texts hardly any shares a band with another: a query looks at few."""
    rng = random.Random(seed)
    seen: set[bytes] = set()
    sharing = 0
    for _ in range(2000):
        signature = similar.signature(" ".join(words(rng, 60)))
        assert signature is not None
        bands = similar.bands(signature)
        sharing += not seen.isdisjoint(bands)
        seen.update(bands)
    assert sharing <= 2


def test_case_and_white_space_do_not_matter(similar: SimilarText, seed: int) -> None:
    """Nor do Unicode's compatibility forms: the signature is the same."""
    text = " ".join(words(random.Random(seed), 20)) + " ﬁn Straße"
    assert similar.signature(text) == similar.signature("  " + text.upper().replace(" ", " \n\t ").replace("FI", "fi"))


def test_prompts_of_one_template_are_alike_until_it_is_stripped(
    make_cache: Callable[..., ResultCache], seed: int
) -> None:
    """The template's words outweigh the content's; without them only the content counts."""
    rng = random.Random(seed)
    template = " ".join(words(rng, 600)) + "\n---\n"
    contents = [" ".join(words(rng, 12)) for _ in range(5)]

    def answers(cache: ResultCache) -> list[int]:
        found: list[int] = []
        for number, content in enumerate(contents):
            found.append(cache.run("u", template + content, lambda number=number: number, parameters={"template": 1}))
        return found

    assert answers(make_cache(similarity=SimilarText("0.85"))) == [0] * 5
    stripped = make_cache(
        operation="other", similarity=SimilarText("0.85", strip_template=lambda text: text.partition("---")[2])
    )
    assert answers(stripped) == [0, 1, 2, 3, 4]
    # Still similar in what counts.
    assert stripped.run("u", template + contents[3].upper(), _fail, parameters={"template": 1}) == 3
    # Another template has other parameters, and so nothing in common.
    with pytest.raises(LookupError):
        stripped.run("u", "Another: ---" + contents[3], _fail, parameters={"template": 2})


def test_similar_results_are_counted_as_such_and_save_their_own_cost(make_cache: Callable[..., ResultCache]) -> None:
    """A similar hit saves the cost of this call where it is given; it is of the same user and purpose only."""
    text = "The quick brown fox jumps over the lazy dog and runs away from the wolf. " * 3
    cache = make_cache(similarity=SimilarText())
    assert cache.run("u", text, lambda: "first", cost=100) == "first"
    assert cache.run("u", text + "!", lambda: "second", cost=101) == "first"
    assert cache.run("v", text + "!", lambda: "third", cost=100) == "third"
    assert cache.run("u", text + "!", lambda: "fourth", parameters=1) == "fourth"
    stats = cache.stats()
    assert (stats["hits"], stats["similar"], stats["misses"], stats["saved"]) == (1, 1, 3, 101)


class NearNumbers:
    """A host's own kind of similarity: numbers at most 10 apart."""

    namespace = "numbers"

    def signature(self, content: object) -> bytes | None:
        return str(content).encode()

    def bands(self, signature: bytes) -> list[bytes]:  # noqa: ARG002 - all numbers are in one band
        return [b"all"]

    def probes(self, signature: bytes) -> list[bytes]:
        return self.bands(signature)

    def distance(self, one: bytes, other: bytes) -> int | None:
        apart = abs(int(one) - int(other))
        return apart if apart <= 10 else None


@pytest.mark.parametrize("stored", [(-9, 2), (2, -9)])
def test_the_nearest_of_several_is_taken(make_cache: Callable[..., ResultCache], stored: tuple[int, ...]) -> None:
    """Not the first nor the newest of those that are similar enough; any kind of similarity can be given."""
    cache = make_cache(similarity=NearNumbers())
    for number in stored:
        assert cache.run("u", number, lambda number=number: number) == number
    assert cache.run("u", 0, _fail) == 2
    assert cache.run("u", -4, _fail) == -9
    with pytest.raises(LookupError):
        cache.run("u", 13, _fail)


class BrokenNumbers(NearNumbers):
    """A host's own kind, with a defect in one of its methods."""

    def __init__(self, method: str) -> None:
        setattr(self, method, self._broken)

    def _broken(self, *_: object) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("method", ["signature", "bands", "probes", "distance"])
def test_a_similarity_that_fails_is_no_error_of_the_host(make_cache: Callable[..., ResultCache], method: str) -> None:
    """The work is done; the very same content is a hit all the same."""
    make_cache(similarity=NearNumbers()).run("u", 1, lambda: "stored")
    cache = make_cache(similarity=BrokenNumbers(method))
    assert cache.run("u", 2, lambda: "done") == "done"
    assert cache.run("u", 2, _fail) == "done"


def test_what_expired_or_was_evicted_is_not_found(
    make_cache: Callable[..., ResultCache], redis_url: str, seed: int
) -> None:
    """The index forgets it when it is met; every band has an expiry; results of two kinds are never mixed."""
    rng = random.Random(seed)
    texts = [" ".join(words(rng, 60)) for _ in range(4)]
    cache = make_cache(similarity=SimilarText(), entries_max=1)
    for text in texts:
        cache.run("u", text, lambda text=text: text)
    with redis.Redis.from_url(redis_url) as client:
        bands = list(client.scan_iter("*:band:*"))
        assert len(bands) == 4 * len(SimilarText().bands(SimilarText().signature(texts[0]) or b""))
        assert all(client.pttl(band) > 0 for band in bands)
        for text in texts[:3]:
            with pytest.raises(LookupError):
                cache.run("u", text + " ", _fail)
        assert len(list(client.scan_iter("*:band:*"))) == len(bands) // 4
    assert cache.run("u", texts[3] + " ", _fail) == texts[3]
    with pytest.raises(LookupError):
        make_cache(similarity=SimilarText(permutations=128)).run("u", texts[3] + " ", _fail)


def test_only_text_of_a_fit_length_has_a_signature(similar: SimilarText) -> None:
    """Short text says too little, long text costs too much; other content is matched exactly alone."""
    assert similar.signature("x" * (CHARACTERS_MIN - 1)) is None
    assert similar.signature("abc de " * 10) is not None
    assert similar.signature("y" * (CHARACTERS_MAX + 1)) is None
    assert similar.signature(" " * 1000) is None
    assert similar.signature(b"x" * 100) is None


def test_a_hook_that_fails_is_no_error_of_the_host(make_cache: Callable[..., ResultCache]) -> None:
    """The work is done and kept for the very same content."""
    cache = make_cache(similarity=SimilarText(strip_template=lambda text: text[10**9]))
    text = "some words that are long enough to have a signature, were it not for the hook"
    assert [cache.run("u", text, lambda: "once") for _ in range(2)] == ["once"] * 2
    assert (cache.stats()["hits"], cache.stats()["misses"]) == (1, 1)


def test_signatures_are_the_same_in_every_process_and_release(similar: SimilarText) -> None:
    """A fixed value: another one would need another namespace."""
    signature = similar.signature("The quick brown fox jumps over the lazy dog, again and again.")
    assert signature is not None
    assert len(signature) == 4 * 256
    assert signature[:12].hex() == SIGNATURE_HEX
    assert similar.namespace == "text1-256-5-14"


@pytest.mark.parametrize(("threshold", "least"), [(0.5, 0.99), (0.8, 0.99), (0.9, 0.99), (1.0, 0.99)])
def test_bands_find_what_is_just_similar_enough(threshold: float, least: float) -> None:
    """99 % of the pairs at the threshold, by the formula of locality-sensitive hashing."""
    rows = band_rows(threshold, 256)
    assert 1 - (1 - threshold**rows) ** (256 // rows) >= least
    assert 256 // rows >= 2


@pytest.mark.parametrize("threshold", [0.9, True, "0.49", "1.01", "much", None, Decimal("NaN")])
def test_a_threshold_must_be_exact_and_in_bounds(threshold: Any) -> None:
    """The error names it."""
    with pytest.raises(InvalidValue, match="threshold"):
        SimilarText(threshold)
