"""Similar images: PDQ hashes, found by multi-index hashing. Needs the extra `dedup-images`.

PDQ gives 256 bits and a quality of 0 to 100. What its authors recommend to begin with: the same picture at a
distance of 31 bits or less, and no use of hashes with a quality of 49 or less (facebook/ThreatExchange,
pdq/README.md). Hashes are 16 bands of 16 bits: where 31 bits or fewer differ, one of the bands differs in one bit
at most (pigeonhole), so a query asks for each band and its 16 neighbours, 272 keys in all, and misses nothing
(Norouzi, Punjani, Fleet: Fast search in Hamming space with multi-index hashing, 2012).
"""

from __future__ import annotations

import io
from typing import Any, Final

from costledger.producers.dedup.extras import needed
from costledger.schemas.errors import InvalidValue

DISTANCE_DEFAULT: Final = 31
#: From 32 on, two bits of a band may differ in every band, and its neighbours would no longer do.
DISTANCE_MAX: Final = 31
QUALITY_DEFAULT: Final = 50
#: An image file with more bytes, or with more pixels than its header may say, is matched exactly alone.
FILE_BYTES_MAX: Final = 32 * 2**20
PIXELS_MAX: Final = 64_000_000
_BAND_BITS: Final = 16
_BANDS: Final = 16
_SIGNATURE_BYTES: Final = 32
#: PDQ looks at 64 x 64 points in the end; larger pictures are made smaller first, as its authors do.
_SIDE_PIXELS_MAX: Final = 512
_VERSION: Final = 1


class SimilarImages:
    """Image files (bytes of any format that Pillow reads) whose PDQ hashes are at most `distance` bits apart.

    The same picture scaled, compressed again, or brighter is found; cropped, turned or mirrored it is another.
    """

    def __init__(self, distance: int = DISTANCE_DEFAULT, *, quality: int = QUALITY_DEFAULT) -> None:
        """`distance` is 0 to 31 bits, `quality` the least that is matched; `InvalidValue` or `SettingsError`."""
        self._pdqhash: Any = needed("pdqhash", "dedup-images", "similar images")
        self._pillow: Any = needed("PIL.Image", "dedup-images", "similar images")
        self._operations: Any = needed("PIL.ImageOps", "dedup-images", "similar images")
        self._numpy: Any = needed("numpy", "dedup-images", "similar images")
        if not 0 <= distance <= DISTANCE_MAX:
            raise InvalidValue("distance", distance, f"0 to {DISTANCE_MAX} bits")
        if not 0 <= quality <= 100:
            raise InvalidValue("quality", quality, "0 to 100")
        self._distance = distance
        self._quality = quality

    @property
    def namespace(self) -> str:
        """PDQ has no parameters; what is matched is decided when two are compared."""
        return f"pdq{_VERSION}"

    def signature(self, content: object) -> bytes | None:
        """The hash, 32 bytes; None for what is no bytes, too large, or has too low a quality.

        Raises what Pillow raises for bytes that are no image.
        """
        if not isinstance(content, (bytes, bytearray, memoryview)) or len(content) > FILE_BYTES_MAX:
            return None
        with self._pillow.open(io.BytesIO(content)) as image:
            # The header's word for it: nothing is decoded yet.
            if image.width * image.height > PIXELS_MAX:
                return None
            image.draft("RGB", (_SIDE_PIXELS_MAX, _SIDE_PIXELS_MAX))
            upright = self._operations.exif_transpose(image).convert("RGB")
        upright.thumbnail((_SIDE_PIXELS_MAX, _SIDE_PIXELS_MAX))
        vector, quality = self._pdqhash.compute(self._numpy.asarray(upright))
        if quality < self._quality:
            return None
        packed: bytes = self._numpy.packbits(vector.astype("uint8")).tobytes()
        return packed

    def bands(self, signature: bytes) -> list[bytes]:
        """16 bands: their number and 16 bits."""
        return [bytes([number]) + signature[2 * number : 2 * number + 2] for number in range(_BANDS)]

    def probes(self, signature: bytes) -> list[bytes]:
        """The bands, and from a distance of 16 bits on each band with one bit changed."""
        found = self.bands(signature)
        if self._distance >= _BANDS:
            for number in range(_BANDS):
                value = int.from_bytes(signature[2 * number : 2 * number + 2], "big")
                found += [bytes([number]) + (value ^ 1 << bit).to_bytes(2, "big") for bit in range(_BAND_BITS)]
        return found

    def distance(self, one: bytes, other: bytes) -> int | None:
        """The number of bits that differ; None above the limit."""
        if len(one) != _SIGNATURE_BYTES or len(other) != _SIGNATURE_BYTES:
            return None
        bits = (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
        return bits if bits <= self._distance else None
