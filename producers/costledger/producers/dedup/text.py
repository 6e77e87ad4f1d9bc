"""Similar text: MinHash signatures of character shingles, found by bands (LSH). Needs the extra `dedup-text`.

A signature has one minimum for each of `permutations` hash functions; the share of equal ones estimates the
Jaccard similarity of the two sets of shingles, with a standard error of sqrt(J (1 - J) / permutations): 0.019
at J = 0.9 with 256. Source: A. Broder, On the resemblance and containment of documents, 1997.

The signature is datasketch's; the index is not. datasketch's own Redis storage has no expiry, no bound, refuses
a key that it has, and reads its keys back with pickle, which whoever can write to Redis could make run code.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from costledger.producers.dedup.extras import needed
from costledger.schemas.errors import InvalidValue

DEFAULT_THRESHOLD: Final = Decimal("0.9")
DEFAULT_PERMUTATIONS: Final = 256
DEFAULT_SHINGLE_CHARACTERS: Final = 5
#: Shorter text has too few shingles to say anything: "yes" and "yes!" are for exact matching.
CHARACTERS_MIN: Final = 40
#: Longer text is matched exactly alone: a signature's cost grows with its length.
CHARACTERS_MAX: Final = 200_000
#: What the bands must find of the pairs that are just as similar as the threshold asks.
_BAND_RECALL_MIN: Final = 0.99
_SHINGLES_AT_ONCE: Final = 4096
#: Part of every signature's meaning: changed, it makes a new namespace.
_VERSION: Final = 1
_SPACES: Final = re.compile(r"\s+")


class SimilarText:
    """Texts whose Jaccard similarity over shingles is estimated to be at least `threshold`.

    Compared without regard to case, kinds of white space and Unicode's compatibility forms. `strip_template` is
    given each text and returns what of it is to be compared: prompts made from one template are all alike in the
    template's words. What it takes away must then be named in the `parameters` of the call, for example as the
    template's version, since only calls with the same parameters are compared.
    """

    def __init__(
        self,
        threshold: Decimal | str | Fraction = DEFAULT_THRESHOLD,
        *,
        permutations: int = DEFAULT_PERMUTATIONS,
        shingle_characters: int = DEFAULT_SHINGLE_CHARACTERS,
        strip_template: Callable[[str], str] | None = None,
    ) -> None:
        """`threshold` is 0.5 to 1 and exact (no float); `InvalidValue` or `SettingsError` where that cannot be."""
        datasketch = needed("datasketch", "dedup-text", "similar text")
        self.threshold = _checked_threshold(threshold)
        if not 16 <= permutations <= 1024:
            raise InvalidValue("permutations", permutations, "16 to 1024")
        if not 2 <= shingle_characters <= 20:
            raise InvalidValue("shingle_characters", shingle_characters, "2 to 20")
        self._permutations = permutations
        self._shingle_characters = shingle_characters
        self._strip_template = strip_template
        self._band_rows = band_rows(float(self.threshold), permutations)
        # Its permutations are the same in every process; a copy of it costs nothing to make.
        self._empty: Any = datasketch.MinHash(num_perm=permutations, seed=1, scheme="affine32")

    @property
    def namespace(self) -> str:
        """All that the signature and its bands depend on."""
        return f"text{_VERSION}-{self._permutations}-{self._shingle_characters}-{self._band_rows}"

    def signature(self, content: object) -> bytes | None:
        """4 bytes for each permutation; None for what is no text, or too short or too long."""
        if not isinstance(content, str) or len(content) > CHARACTERS_MAX:
            return None
        text = content if self._strip_template is None else self._strip_template(content)
        text = _SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
        if not CHARACTERS_MIN <= len(text) <= CHARACTERS_MAX:
            return None
        size = self._shingle_characters
        shingles = [one.encode() for one in {text[start : start + size] for start in range(len(text) - size + 1)}]
        sketch = self._empty.copy()
        # In parts, since each shingle takes `permutations` numbers on the way.
        for start in range(0, len(shingles), _SHINGLES_AT_ONCE):
            sketch.update_batch(shingles[start : start + _SHINGLES_AT_ONCE])
        packed: bytes = sketch.hashvalues.astype("<u4").tobytes()
        return packed

    def bands(self, signature: bytes) -> list[bytes]:
        """A hash of each run of rows, with its number."""
        width = 4 * self._band_rows
        return [
            hashlib.blake2b(number.to_bytes(2, "big") + signature[start : start + width], digest_size=8).digest()
            for number, start in enumerate(range(0, len(signature) - width + 1, width))
        ]

    def probes(self, signature: bytes) -> list[bytes]:
        """The same: similar texts have a whole band in common."""
        return self.bands(signature)

    def distance(self, one: bytes, other: bytes) -> int | None:
        """How many of the minima differ; None where fewer than the threshold's share are equal."""
        if len(one) != len(other):
            return None
        differing = sum(one[start : start + 4] != other[start : start + 4] for start in range(0, len(one), 4))
        equal = self._permutations - differing
        return differing if equal >= self.threshold * self._permutations else None


def band_rows(threshold: float, permutations: int) -> int:
    """The most rows a band may have so that the bands find 99 % of the pairs at the threshold.

    A pair of similarity s shares one of b bands of r rows with the probability 1 - (1 - s^r)^b. More rows give
    fewer candidates; false ones are found out by their signatures, missed ones are lost.
    """
    for rows in range(permutations // 2, 1, -1):
        if 1 - (1 - threshold**rows) ** (permutations // rows) >= _BAND_RECALL_MIN:
            return rows
    return 1


def _checked_threshold(threshold: Decimal | str | Fraction) -> Fraction:
    if isinstance(threshold, (bool, float)) or not isinstance(threshold, (Decimal, str, int, Fraction)):
        raise InvalidValue("threshold", threshold, "an exact number (a Decimal or text, no float)")
    try:
        share = Fraction(threshold)
    except (ValueError, OverflowError):
        raise InvalidValue("threshold", threshold, "a number from 0.5 to 1") from None
    if not Fraction(1, 2) <= share <= 1:
        raise InvalidValue("threshold", threshold, "a number from 0.5 to 1")
    return share
