"""Similar images: generated pictures changed as pictures are, and the index's recall proved on hashes at the limit."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from tests.fixtures.fix_report import add_test_note

from costledger.producers.dedup import ResultCache, SimilarImages
from costledger.producers.dedup.images import DISTANCE_MAX, PIXELS_MAX
from costledger.producers.dedup.store import Hit, Place, Signed, Store
from costledger.schemas.errors import InvalidValue

PICTURES = 25
BITS = 256

CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "smaller": lambda image: saved(image.resize((image.width // 2, image.height // 2))),
    "larger": lambda image: saved(image.resize((image.width * 2, image.height * 2))),
    "compressed": lambda image: saved(image, "JPEG", quality=60),
    "webp": lambda image: saved(image, "WEBP", quality=70),
    "brighter": lambda image: saved(ImageEnhance.Brightness(image).enhance(1.15)),
    "grey": lambda image: saved(image.convert("L")),
    "blurred": lambda image: saved(image.filter(ImageFilter.GaussianBlur(1))),
    "metadata": lambda image: saved(image, "JPEG", quality=95, comment=b"another file, the same picture"),
}


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(rng: random.Random) -> Image.Image:
    """A picture of light, shapes and lines."""
    image = Image.new("RGB", (400, 300))
    draw = ImageDraw.Draw(image)
    light = [rng.randrange(40, 216) for _ in range(3)]
    for row in range(300):
        draw.line((0, row, 400, row), fill=tuple(int(one * (0.4 + 0.6 * row / 300)) for one in light))
    for _ in range(rng.randrange(12, 24)):
        left, top = rng.randrange(-50, 380), rng.randrange(-50, 280)
        box = (left, top, left + rng.randrange(20, 180), top + rng.randrange(20, 150))
        colour = tuple(rng.randrange(256) for _ in range(3))
        rng.choice([draw.ellipse, draw.rectangle])(box, fill=colour)
    return image.filter(ImageFilter.GaussianBlur(0.5))


@pytest.fixture(scope="module")
def similar() -> SimilarImages:
    """The default: 31 bits, quality 50."""
    return SimilarImages()


@pytest.fixture
def cache(redis_url: str, similar: SimilarImages) -> Iterator[ResultCache]:
    """A cache for similar images."""
    made = ResultCache(
        "labels", service="aws-rekognition", operation="detectLabels", redis_url=redis_url, similarity=similar
    )
    with made:
        yield made


def _fail() -> int:
    raise LookupError


def test_the_same_picture_is_found_and_another_is_not(
    request: pytest.FixtureRequest, cache: ResultCache, seed: int
) -> None:
    """25 pictures, each changed in eight ways: scaled, compressed, brighter... and 25 others that nothing is found for."""
    rng = random.Random(seed)
    pictures = [picture(rng) for _ in range(PICTURES)]
    for number, image in enumerate(pictures):
        assert cache.run("u", saved(image), lambda number=number: number, cost=10**9) == number
    missed = []
    for number, image in enumerate(pictures):
        for name, change in CHANGES.items():
            try:
                assert cache.run("u", change(image), _fail, cost=10**9) == number
            except LookupError:
                missed.append(name)
    recall = 1 - len(missed) / (PICTURES * len(CHANGES))
    add_test_note(request.node, "measured", f"recall {recall:.3f}; missed {missed}")
    assert recall >= 0.95
    assert cache.stats()["similar"] == PICTURES * len(CHANGES) - len(missed)
    assert cache.stats()["saved"] == cache.stats()["similar"] * 10**9
    for _ in range(PICTURES):
        with pytest.raises(LookupError):
            cache.run("u", saved(picture(rng)), _fail)


def test_a_picture_that_was_turned_by_its_camera_is_the_same(similar: SimilarImages, seed: int) -> None:
    """The orientation in a file's metadata is what people see; turned for good it is another picture."""
    image = picture(random.Random(seed))
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees to the right
    upright = similar.signature(saved(image))
    marked = similar.signature(saved(turned, "JPEG", quality=95, exif=exif.tobytes()))
    unmarked = similar.signature(saved(turned, "JPEG", quality=95))
    assert upright is not None
    assert marked is not None
    assert unmarked is not None
    assert similar.distance(upright, marked) is not None
    assert similar.distance(upright, unmarked) is None


def test_a_picture_without_detail_is_matched_exactly_alone(cache: ResultCache, similar: SimilarImages) -> None:
    """Its hash means nothing: quality below 50. The very same file is a hit all the same."""
    grey, other = (saved(Image.new("RGB", (300, 200), (level, level, level))) for level in (90, 160))
    assert similar.signature(grey) is None
    assert SimilarImages(quality=0).signature(grey) is not None
    assert cache.run("u", grey, lambda: "grey") == "grey"
    assert cache.run("u", other, lambda: "other") == "other"
    assert cache.run("u", grey, _fail) == "grey"


def test_files_that_are_no_pictures_or_too_large_are_no_error(cache: ResultCache, similar: SimilarImages) -> None:
    """The work is done; what cannot be decoded cheaply is not decoded."""
    assert cache.run("u", b"no picture", lambda: "work") == "work"
    assert cache.run("u", b"no picture", _fail) == "work"
    assert similar.signature("text") is None
    width = 8001
    assert width * width > PIXELS_MAX
    bomb = saved(Image.new("1", (width, width)))
    assert len(bomb) < 20_000
    assert SimilarImages(quality=0).signature(bomb) is None


def flipped(signature: bytes, bits: list[int]) -> bytes:
    """The hash with these bits changed."""
    number = int.from_bytes(signature, "big")
    for bit in bits:
        number ^= 1 << bit
    return number.to_bytes(32, "big")


def at_the_limit(rng: random.Random) -> list[int]:
    """31 bits, spread as badly for the index as can be: two in each of 15 bands, one in the last."""
    places = rng.sample(range(16), 16)
    chosen = []
    for order, band in enumerate(places):
        chosen += rng.sample(range(16 * band, 16 * band + 16), 1 if order == 15 else 2)
    return chosen


@pytest.mark.parametrize("spread", ["worst", "random"])
def test_nothing_within_31_bits_is_missed(redis_url: str, similar: SimilarImages, seed: int, spread: str) -> None:
    """300 hashes in the index; each is found from 31 bits away, however these are spread. At 32 it may not be served."""
    rng = random.Random(seed)
    store = Store(redis_url)
    hashes = [rng.randbytes(32) for _ in range(300)]
    for number, signature in enumerate(hashes):
        signed = Signed("g", similar.namespace, signature, similar.bands(signature))
        place = Place("c", "u", f"{number:064x}")
        assert store.complete(place, "t", Hit(b"x", None), signed, ttl_seconds=60, entries_max=1000)
    seen = 0
    for number, signature in enumerate(hashes):
        bits = at_the_limit(rng) if spread == "worst" else rng.sample(range(BITS), DISTANCE_MAX)
        assert len(set(bits)) == DISTANCE_MAX
        asked = flipped(signature, bits)
        assert similar.distance(signature, asked) == DISTANCE_MAX
        candidates = store.candidates(place, "g", similar.namespace, similar.probes(asked))
        assert (f"{number:064x}", signature) in candidates
        seen += len(candidates)
        further = flipped(asked, [next(bit for bit in range(BITS) if bit not in bits)])
        assert similar.distance(signature, further) is None
    # Most of the index is never looked at: 272 of 16 * 65,536 keys.
    assert seen / len(hashes) < 10
    store.close()


def test_the_index_keys_are_as_few_as_the_distance_allows() -> None:
    """16 up to a distance of 15 (pigeonhole), 272 from there on; all different."""
    signature = bytes(range(32))
    for distance, keys in ((0, 16), (15, 16), (16, 272), (31, 272)):
        probes = SimilarImages(distance).probes(signature)
        assert len(probes) == len(set(probes)) == keys
        assert set(SimilarImages(distance).bands(signature)) <= set(probes)


def test_candidates_are_bounded(redis_url: str, similar: SimilarImages) -> None:
    """A thousand of one hash: a query compares 64 of them, the newest."""
    store = Store(redis_url)
    signature = bytes(32)
    for number in range(1000):
        signed = Signed("g", similar.namespace, signature, similar.bands(signature))
        place = Place("c", "u", f"{number:064x}")
        store.complete(place, "t", Hit(b"x", None), signed, ttl_seconds=60 + number, entries_max=2000)
    found = store.candidates(place, "g", similar.namespace, similar.probes(signature))
    assert sorted(int(digest, 16) for digest, _ in found) == list(range(936, 1000))
    with redis.Redis.from_url(redis_url) as client:
        assert {client.zcard(key) for key in client.scan_iter("*:band:*")} == {64}
    store.close()


@pytest.mark.parametrize(("field", "value"), [("distance", 32), ("distance", -1), ("quality", 101)])
def test_limits_that_the_index_cannot_keep_are_refused(field: str, value: int) -> None:
    """From 32 bits on, neighbours at one bit would miss some."""
    with pytest.raises(InvalidValue, match=field):
        SimilarImages(**{field: value})
