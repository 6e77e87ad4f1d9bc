"""The tokens of one request to a language model, split into kinds that do not overlap.

Providers report totals and parts of totals: `input_tokens` with the cached, the written and the audio ones
within, `output_tokens` with the audio and the reasoning ones within. A charge for each reported number would
count the parts twice; so the parts are taken out of the totals here, once, and every token is of one kind.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from costledger.schemas.errors import InvalidValue
from costledger.schemas.money import NANOUNITS_PER_UNIT, QUANTITY_NANOUNITS_MAX

INPUT_TOKENS: Final = "input-tokens"
CACHED_INPUT_TOKENS: Final = "cached-input-tokens"
CACHE_WRITE_TOKENS: Final = "cache-write-tokens"
CACHE_WRITE_1H_TOKENS: Final = "cache-write-1h-tokens"
CACHE_WRITE_12H_TOKENS: Final = "cache-write-12h-tokens"
AUDIO_INPUT_TOKENS: Final = "audio-input-tokens"
CACHED_AUDIO_INPUT_TOKENS: Final = "cached-audio-input-tokens"
IMAGE_INPUT_TOKENS: Final = "image-input-tokens"
#: The whole input where the provider did not say which of its kinds were cached, and their prices differ.
UNSPLIT_INPUT_TOKENS: Final = "unsplit-input-tokens"
OUTPUT_TOKENS: Final = "output-tokens"
AUDIO_OUTPUT_TOKENS: Final = "audio-output-tokens"
REASONING_TOKENS: Final = "reasoning-tokens"

#: What the quantity of one event can hold: else some of a request's events would be made, and others not.
TOKENS_MAX: Final = QUANTITY_NANOUNITS_MAX // NANOUNITS_PER_UNIT


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """What a provider reports of one request, in tokens; every part is included in its whole.

    `input_tokens` includes `cached_input_tokens` (read from the provider's cache), `cache_write_tokens`
    (written to it; of these `cache_write_1h_tokens` and `cache_write_12h_tokens` to be kept longer),
    `audio_input_tokens` and `image_input_tokens`. `cached_audio_input_tokens` are both cached and audio; None
    where the provider does not say. `output_tokens` includes `audio_output_tokens` and `reasoning_tokens`.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_12h_tokens: int = 0
    audio_input_tokens: int = 0
    cached_audio_input_tokens: int | None = None
    image_input_tokens: int = 0
    audio_output_tokens: int = 0
    reasoning_tokens: int = 0

    def check(self) -> None:
        """Raise `InvalidValue` where a part is larger than its whole: two of the numbers then count the same."""
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= TOKENS_MAX:
                raise InvalidValue(name, value, f"from 0 to {TOKENS_MAX}")
        self._at_most("cached_input_tokens", self.input_tokens, "input_tokens")
        self._at_most("audio_input_tokens", self.input_tokens, "input_tokens")
        self._at_most("image_input_tokens", self.input_tokens - self.audio_input_tokens, "the input that is no audio")
        self._at_most("cache_write_tokens", self.input_tokens - self.cached_input_tokens, "the input not cached")
        self._at_most("cache_write_1h_tokens", self.cache_write_tokens, "cache_write_tokens")
        others = self.cache_write_tokens - self.cache_write_1h_tokens
        self._at_most("cache_write_12h_tokens", others, "the other cache_write_tokens")
        if self.cached_audio_input_tokens is not None:
            lowest, highest = self._cached_audio_bounds()
            if not lowest <= self.cached_audio_input_tokens <= highest:
                limit = f"from {lowest} to {highest}, by the other counts"
                raise InvalidValue("cached_audio_input_tokens", self.cached_audio_input_tokens, limit)
        self._at_most("audio_output_tokens", self.output_tokens, "output_tokens")
        self._at_most("reasoning_tokens", self.output_tokens, "output_tokens")

    def split(self, image_apart: bool, reasoning_apart: bool, cache_apart: bool) -> dict[str, int]:
        """Tokens by operation: each token once, the sums being `input_tokens` and `output_tokens`.

        `image_apart` and `reasoning_apart`: whether the model prices these apart; otherwise they are input and
        output like the rest. `cache_apart`: whether reading from the cache has a price of its own, so that it
        matters which tokens were read from it. Text is always listed, other kinds where there are any.
        """
        self.check()
        kinds = self._input_kinds(image_apart, cache_apart)
        reasoning = self.reasoning_tokens if reasoning_apart else 0
        text_output = self.output_tokens - self.audio_output_tokens - reasoning
        if text_output < 0:
            limit = f"at most the {self.output_tokens - self.audio_output_tokens} output tokens that are no audio"
            raise InvalidValue("reasoning_tokens", self.reasoning_tokens, limit)
        kinds[OUTPUT_TOKENS] = text_output
        kinds[AUDIO_OUTPUT_TOKENS] = self.audio_output_tokens
        kinds[REASONING_TOKENS] = reasoning
        always = (INPUT_TOKENS, OUTPUT_TOKENS) if INPUT_TOKENS in kinds else (OUTPUT_TOKENS,)
        return {operation: tokens for operation, tokens in kinds.items() if tokens or operation in always}

    def _input_kinds(self, image_apart: bool, cache_apart: bool) -> dict[str, int]:
        image = self.image_input_tokens if image_apart else 0
        cached_audio = self._cached_audio(cache_apart)
        # Images in the cache are in no provider's report: with both, nobody knows what was read from it.
        if cached_audio is None or (cache_apart and image and self.cached_input_tokens):
            return {UNSPLIT_INPUT_TOKENS: self.input_tokens}
        writes = self.cache_write_tokens
        cached_text = self.cached_input_tokens - cached_audio
        fresh_audio = self.audio_input_tokens - cached_audio
        text = self.input_tokens - self.audio_input_tokens - image - cached_text - writes
        if text < 0:
            # Some of what was written to the cache was audio or an image, and nobody says how much.
            return {UNSPLIT_INPUT_TOKENS: self.input_tokens}
        return {
            INPUT_TOKENS: text,
            CACHED_INPUT_TOKENS: cached_text,
            CACHE_WRITE_TOKENS: writes - self.cache_write_1h_tokens - self.cache_write_12h_tokens,
            CACHE_WRITE_1H_TOKENS: self.cache_write_1h_tokens,
            CACHE_WRITE_12H_TOKENS: self.cache_write_12h_tokens,
            AUDIO_INPUT_TOKENS: fresh_audio,
            CACHED_AUDIO_INPUT_TOKENS: cached_audio,
            IMAGE_INPUT_TOKENS: image,
        }

    def _cached_audio(self, cache_apart: bool) -> int | None:
        """The tokens that are cached audio; None where that matters and cannot be known."""
        if self.cached_audio_input_tokens is not None:
            return self.cached_audio_input_tokens
        lowest, highest = self._cached_audio_bounds()
        return lowest if lowest == highest or not cache_apart else None

    def _cached_audio_bounds(self) -> tuple[int, int]:
        text_max = self.input_tokens - self.audio_input_tokens
        lowest = max(0, self.cached_input_tokens - text_max)
        return lowest, min(self.cached_input_tokens, self.audio_input_tokens)

    def _at_most(self, name: str, limit: int, of: str) -> None:
        if getattr(self, name) > limit:
            raise InvalidValue(name, getattr(self, name), f"from 0 to {of} ({limit})")


#: The names of the counts.
COUNTS: Final = tuple(field.name for field in fields(TokenUsage))
