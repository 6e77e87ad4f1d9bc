"""The same work is not paid twice: results by content, exact and similar, in Redis, with hits and savings told.

Importing it needs no extra; making a `ResultCache` needs `dedup`, `SimilarText` needs `dedup-text` and
`SimilarImages` needs `dedup-images`.
"""

from costledger.producers.dedup.cache import DEDUPLICATION, ResultCache
from costledger.producers.dedup.images import SimilarImages
from costledger.producers.dedup.similar import Similarity
from costledger.producers.dedup.stats import CacheStats
from costledger.producers.dedup.store import CacheAway
from costledger.producers.dedup.text import SimilarText

__all__ = ["DEDUPLICATION", "CacheAway", "CacheStats", "ResultCache", "SimilarImages", "SimilarText", "Similarity"]
