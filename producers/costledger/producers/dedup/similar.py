"""What a cache needs to know of a kind of content to find similar ones: a signature, its bands, a distance."""

from __future__ import annotations

from typing import Protocol


class Similarity(Protocol):
    """A way of comparing contents of one kind by small signatures.

    Two signatures that are similar share a band of the one among the probes of the other, always or nearly
    always: so candidates are found by equality in an index, and compared exactly afterwards.
    """

    @property
    def namespace(self) -> str:
        """Names the kind of signature with all its parameters: signatures of two namespaces are never compared."""
        ...

    def signature(self, content: object) -> bytes | None:
        """The signature, or None where this content is not to be matched. May raise for broken content."""
        ...

    def bands(self, signature: bytes) -> list[bytes]:
        """Under which keys of the index a signature is put; short, and in a fixed number."""
        ...

    def probes(self, signature: bytes) -> list[bytes]:
        """Under which keys those that are similar to this signature are looked for."""
        ...

    def distance(self, one: bytes, other: bytes) -> int | None:
        """How far two signatures are apart, in units of the kind; None where that is too far to be similar."""
        ...
