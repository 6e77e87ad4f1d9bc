"""`ResultCache`: the same paid work is done once, and its result used again. Needs the extra `dedup`.

Whatever is wrong with Redis, with a value or with what the caller says of costs: the work is done and its result
returned. The only exceptions that come out of `run` are those of the work itself.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

from costledger.producers.dedup.complaints import Complaints
from costledger.producers.dedup.content import decode_result, encode_result, purpose_digest, work_digest
from costledger.producers.dedup.keys import checked_cache_name
from costledger.producers.dedup.lookups import INTERVAL_SECONDS_DEFAULT, LookupReports
from costledger.producers.dedup.similar import Similarity
from costledger.producers.dedup.stats import CacheCounters, CacheStats
from costledger.producers.dedup.steps import Call, Course, Outcome, Pause, Work, drive, drive_async
from costledger.producers.dedup.store import COST_MAX, CacheAway, Hit, Mine, Place, Signed, Store
from costledger.producers.exits import forget, watch
from costledger.producers.prices.book import EMBEDDING_PREFIX
from costledger.producers.savings import EMBEDDING_DEDUPLICATION
from costledger.schemas.errors import InvalidValue, shown
from costledger.schemas.settings import load_settings

if TYPE_CHECKING:
    from costledger.producers.tracker import CostTracker

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: 1e-12 USD; or a function of the result that gives them (None: not known); or None.
Cost = int | Callable[[T], int | None] | None
Scope = Literal["user", "shared"]

TTL_SECONDS_DEFAULT: Final = 86_400.0
TTL_SECONDS_MAX: Final = 366 * 86_400.0
VALUE_BYTES_DEFAULT: Final = 2**20
VALUE_BYTES_MAX: Final = 64 * 2**20
ENTRIES_DEFAULT: Final = 10_000
ENTRIES_MAX: Final = 1_000_000
LEASE_SECONDS_DEFAULT: Final = 30.0
WAIT_SECONDS_DEFAULT: Final = 60.0
WAIT_SECONDS_MAX: Final = 3600.0
#: The strategy that savings are told under where the work is no embedding.
DEDUPLICATION: Final = "deduplication"
#: How long to wait between two looks at another's lease, however little of it seems to be left.
_PAUSE_SECONDS_MIN: Final = 0.005
_PAUSE_SECONDS_MAX: Final = 0.2
_SECONDS_PER_DAY: Final = 86_400


@dataclass(slots=True)
class _Asked:
    """One call of `run`, and how far it has come."""

    user_id: str
    content: object
    cost: Any
    token: str
    place: Place | None = None
    group: str = ""
    holds_lease: bool = False
    signed: Signed | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """A result that may be used again, decoded."""

    result: Any
    cost: int | None
    similar: bool


class ResultCache:
    """Results of one kind of paid work, in Redis, by user. One per process and kind; safe for threads and asyncio.

    `name` names the cache in the counts (`cache-hit:<name>`), `service`, `operation` and `model` the work; they are
    part of what must be equal. `similarity` (`SimilarText`, `SimilarImages`) lets results of similar content be used
    as well. `scope="shared"` lets one user's results be used for all: then whoever asks can find out, by the time it
    takes, whether somebody has asked the same before. `strategy` is what the savings are told under, by default
    `embedding_deduplication` for operations `embedding-...` and else `deduplication`. Without a `tracker` lookups are
    counted in Redis alone.

    `lease_seconds` is the longest that the work takes, as a rule: while one is at work, others wait for the result up
    to `wait_seconds`, and take over when the lease has ended. `encode` and `decode` are for results that are neither
    bytes nor what JSON gives back the same.

    Raises `InvalidValue` or `SettingsError` where it cannot be set up at all, for one without its extra.
    """

    def __init__(
        self,
        name: str,
        *,
        service: str,
        operation: str,
        model: str | None = None,
        tracker: CostTracker | None = None,
        redis_url: str | None = None,
        similarity: Similarity | None = None,
        scope: Scope = "user",
        strategy: str | None = None,
        ttl_seconds: float = TTL_SECONDS_DEFAULT,
        value_bytes_max: int = VALUE_BYTES_DEFAULT,
        entries_max: int = ENTRIES_DEFAULT,
        lease_seconds: float = LEASE_SECONDS_DEFAULT,
        wait_seconds: float = WAIT_SECONDS_DEFAULT,
        interval_seconds: float = INTERVAL_SECONDS_DEFAULT,
        encode: Callable[[Any], bytes] = encode_result,
        decode: Callable[[bytes], Any] = decode_result,
    ) -> None:
        self._name = checked_cache_name(name)
        if scope not in {"user", "shared"}:
            raise InvalidValue("scope", scope, "'user' or 'shared'")
        self._shared = scope == "shared"
        self._work = (service, operation, model)
        purpose_digest(*self._work, None)  # refuses what could never be part of a key
        self._ttl_seconds = _within("ttl_seconds", ttl_seconds, 0.001, TTL_SECONDS_MAX)
        self._value_bytes_max = int(_within("value_bytes_max", value_bytes_max, 1, VALUE_BYTES_MAX))
        self._entries_max = int(_within("entries_max", entries_max, 1, ENTRIES_MAX))
        self._lease_seconds = _within("lease_seconds", lease_seconds, 0.01, WAIT_SECONDS_MAX)
        self._wait_seconds = _within("wait_seconds", wait_seconds, 0, WAIT_SECONDS_MAX)
        self._encode, self._decode = encode, decode
        self._similarity = similarity
        given = {} if redis_url is None else {"redis_url": redis_url}
        settings = load_settings(**given)
        self._counts_seconds = float(settings.redis_ttl_days * _SECONDS_PER_DAY)
        self._store = Store(settings.redis_url.get_secret_value())
        self._counters = CacheCounters()
        self._complaints = Complaints(logger)
        self._reports: LookupReports | None = None
        if tracker is not None:
            interval_seconds = _within("interval_seconds", interval_seconds, 0.01, 3600)
            self._reports = LookupReports(tracker, self._name, strategy or _strategy_of(operation), interval_seconds)
        watch(self, first=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self, user_id: str, content: object, work: Callable[[], T], *, parameters: object = None, cost: Cost[T] = None
    ) -> T:
        """The result for this content: a stored one, or that of `work()`, which is then stored.

        `content` and `parameters` are bytes, text, numbers, None, or lists and mappings of these. `cost` is what the
        call costs, in 1e-12 USD: a number from the price book or an estimate, or a function that reads it from the
        result; it is what a hit has saved. Blocks while somebody else is at the same work, `wait_seconds` at most.
        """
        result: T = drive(self._course(self._asked(user_id, content, parameters, cost)), work)
        return result

    async def run_async(
        self,
        user_id: str,
        content: object,
        work: Callable[[], Awaitable[T]],
        *,
        parameters: object = None,
        cost: Cost[T] = None,
    ) -> T:
        """The same for work that is awaited; a cancelled task frees its lease."""
        result: T = await drive_async(self._course(self._asked(user_id, content, parameters, cost)), work)
        return result

    def stats(self) -> CacheStats:
        """The counts of this process."""
        return self._counters.stats()

    def counted(self, user_id: str, day: str) -> dict[str, int]:
        """What Redis has counted for a user on a UTC day (`2026-11-23`): hits, similar, misses, saved (1e-12 USD).

        `similar` are those of the hits that were not the very same content. Raises `CacheAway`.
        """
        found = self._store.counted(user_id, day)
        return {field: found.get(f"{field}:{self._name}", 0) for field in ("hits", "similar", "misses", "saved")}

    def flush(self) -> None:
        """Tell the tracker of all lookups until now."""
        if self._reports is not None:
            self._reports.flush()

    def close(self) -> None:
        """Tell the rest and close the connections. The tracker stays open."""
        forget(self)
        if self._reports is not None:
            self._reports.close()
        self._store.close()

    def start_afresh(self) -> None:
        """In a forked child: counts from zero. Connections are renewed by redis itself."""
        self._counters = CacheCounters()
        self._complaints = Complaints(logger)
        self._store.start_afresh()

    def _asked(self, user_id: str, content: object, parameters: object, cost: Any) -> _Asked:
        asked = _Asked(user_id, content, cost, uuid.uuid4().hex)
        try:
            if not isinstance(user_id, str) or not user_id:
                raise InvalidValue("user_id", user_id, "the id of a user")
            purpose = purpose_digest(*self._work, parameters)
            digest = work_digest(purpose, content).hex()
        except Exception as error:  # noqa: BLE001 - wrong content must not stop the host: it is work like any other
            self._complaints.say("content", f"cache {self._name}: work is done without the cache: {_said(error)}")
        else:
            asked.place = Place(self._name, None if self._shared else user_id, digest)
            asked.group = purpose[:12].hex()
        return asked

    def _course(self, asked: _Asked) -> Course:
        """Look it up; failing that do it, and keep it."""
        found = yield from self._looked_up(asked)
        if found is not None:
            yield Call(lambda: self._tell(asked, found))
            return Outcome(found.result)
        if asked.place is None:
            self._counters.add("bypassed")
        else:
            yield Call(lambda: self._tell(asked, None))
        done: Outcome = yield Work()
        if asked.place is not None:
            yield Call(lambda: self._keep(asked, done))
        return done

    def _looked_up(self, asked: _Asked) -> Generator[Call | Pause | Work, Any, _Found | None]:
        if asked.place is None:
            return None
        try:
            found = yield from self._claimed(asked, asked.place)
        except CacheAway:
            asked.place = None
            return None
        if found is None and asked.holds_lease and self._similarity is not None:
            similarity = self._similarity
            found = yield Call(lambda: self._similar(asked, similarity))
            if found is not None:
                yield Call(lambda: self._release(asked))
        return found

    def _claimed(self, asked: _Asked, place: Place) -> Generator[Call | Pause | Work, Any, _Found | None]:
        """The result, or None when the work is to be done: with the lease, or without one after a long wait."""
        deadline = time.monotonic() + self._wait_seconds
        pause = _PAUSE_SECONDS_MIN
        refused = False
        while True:
            claim = yield Call(lambda: self._store.claim(place, asked.token, self._lease_seconds))
            if isinstance(claim, Mine):
                asked.holds_lease = True
                return None
            if isinstance(claim, Hit):
                found = self._found(claim, similar=False)
                if found is not None or refused:
                    return found
                refused = True
                yield Call(lambda: self._store.discard(place))
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                self._counters.add("waited_in_vain")
                return None
            yield Pause(max(_PAUSE_SECONDS_MIN, min(pause, left, claim.milliseconds / 1000 + 0.001)))
            pause = min(pause * 2, _PAUSE_SECONDS_MAX)

    def _found(self, hit: Hit, *, similar: bool) -> _Found | None:
        try:
            return _Found(self._decode(hit.value), hit.cost, similar)
        except Exception as error:  # noqa: BLE001 - another version wrote it, or somebody else: it is no result of ours
            self._complaints.say("decode", f"cache {self._name}: a stored result cannot be read: {_said(error)}")
            return None

    def _similar(self, asked: _Asked, similarity: Similarity) -> _Found | None:
        """The nearest result of similar content. Remembers the signature, to be stored with the result."""
        assert asked.place is not None  # noqa: S101 - for the type checker: there is no lease without a place
        place = asked.place
        try:
            signature = similarity.signature(asked.content)
            if signature is None:
                return None
            asked.signed = Signed(asked.group, similarity.namespace, signature, similarity.bands(signature))
            candidates = self._store.candidates(place, asked.group, similarity.namespace, similarity.probes(signature))
            near = [(similarity.distance(signature, other), digest) for digest, other in candidates]
            for _, digest in sorted((distance, digest) for distance, digest in near if distance is not None):
                hit = self._store.read(Place(place.cache, place.owner, digest))
                found = None if hit is None else self._found(hit, similar=True)
                if found is not None:
                    return found
        except CacheAway:
            return None  # logged where it happened
        except Exception as error:  # noqa: BLE001 - broken content: the work will say so itself, or can do with it
            self._complaints.say("similar", f"cache {self._name}: content was not compared: {_said(error)}")
        return None

    def _keep(self, asked: _Asked, done: Outcome) -> None:
        """Store a result; free the lease whatever comes of it."""
        assert asked.place is not None  # noqa: S101 - for the type checker: see `_course`
        kept = False
        try:
            if done.error is None:
                value = self._encode(done.result)
                if len(value) > self._value_bytes_max:
                    raise InvalidValue("result", f"{len(value)} bytes", f"at most {self._value_bytes_max} bytes")
                kept = self._store.complete(
                    asked.place,
                    asked.token,
                    Hit(value, self._cost(asked, done.result)),
                    asked.signed,
                    ttl_seconds=self._ttl_seconds,
                    entries_max=self._entries_max,
                )
        except CacheAway:
            self._release(asked)
        except Exception as error:  # noqa: BLE001 - the caller has paid for the result and gets it
            self._complaints.say("keep", f"cache {self._name}: a result was not stored: {_said(error)}")
            self._release(asked)
        else:
            if done.error is not None:
                self._release(asked)
        self._counters.add("stored" if kept else "not_stored")

    def _release(self, asked: _Asked) -> None:
        if asked.place is None or not asked.holds_lease:
            return
        try:
            self._store.release(asked.place, asked.token)
        except CacheAway:
            return  # logged where it happened; the lease ends by itself

    def _cost(self, asked: _Asked, result: Any) -> int | None:
        """What the call costs, by the caller's word; None where it is not known or no such amount."""
        try:
            cost = asked.cost(result) if callable(asked.cost) else asked.cost
            if cost is None:
                return None
            if isinstance(cost, bool) or not isinstance(cost, int) or not 0 <= cost <= COST_MAX:
                raise InvalidValue("cost", cost, f"a whole number of 1e-12 USD from 0 to {COST_MAX}")
            return cost
        except Exception as error:  # noqa: BLE001 - a wrong cost is no reason to withhold a result
            self._complaints.say("cost", f"cache {self._name}: the cost of a call is not known: {_said(error)}")
            return None

    def _tell(self, asked: _Asked, found: _Found | None) -> None:
        """Count one lookup: here, in Redis, and for the next summary."""
        saved = None
        if found is not None:
            # A number is of this very call; else what making the stored result has really cost.
            saved = None if callable(asked.cost) and found.cost is not None else self._cost(asked, found.result)
            saved = found.cost if saved is None else saved
        counts = {"misses": 1} if found is None else {"hits": 1, "similar": int(found.similar), "saved": saved or 0}
        self._counters.add(*(name for name, count in counts.items() if count and name != "saved"))
        if found is not None:
            self._counters.save(saved)
        if self._reports is not None:
            self._reports.add(asked.user_id, hit=found is not None, saved=saved or 0)
        day = datetime.now(UTC).date().isoformat()
        fields = {f"{name}:{self._name}": count for name, count in counts.items() if count}
        try:
            self._store.count(asked.user_id, day, fields, self._counts_seconds)
        except CacheAway:
            self._counters.add("uncounted")


def _said(error: Exception) -> str:
    """What our own errors say, and of others their `repr`: a foreign `__str__` may itself raise."""
    return str(error) if type(error) is InvalidValue else shown(error)


def _strategy_of(operation: str) -> str:
    return EMBEDDING_DEDUPLICATION if operation.startswith(EMBEDDING_PREFIX) else DEDUPLICATION


def _within(name: str, value: float, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise InvalidValue(name, value, f"a number from {least:g} to {most:g}")
    return value
