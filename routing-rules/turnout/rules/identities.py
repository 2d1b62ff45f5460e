"""Patterns of identities: the URI in a certificate, which is a SPIFFE id in a mesh.

A pattern is a URI, or one that ends in `/*`, which takes whatever stands below it, at any depth:
`spiffe://cluster.local/ns/models/*` takes `spiffe://cluster.local/ns/models/sa/iris`. Nothing is normalised: SPIFFE ids
have one spelling (SPIFFE-ID §2).
"""

import re
from collections.abc import Iterable

_PATTERN = re.compile(r"[a-z][a-z0-9+.-]*:(?://)?[!-+\--~]+")
MAX_LENGTH = 2_048
"""Of a SPIFFE id (SPIFFE-ID §2.3)."""


def identity_fault(pattern: str) -> str | None:
    """Why a pattern is refused, or None."""
    if len(pattern) > MAX_LENGTH or not _PATTERN.fullmatch(pattern):
        return f"{pattern!r} is not a URI like spiffe://cluster.local/ns/models/sa/iris"
    fixed = pattern.removesuffix("/*")
    if "*" in fixed or fixed.endswith(("/", ":")):
        return f"{pattern!r}: * stands at the end only, as /*, behind a trust domain at least"
    return None


class Identities:
    """A set of patterns."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self._exact = frozenset(pattern for pattern in patterns if not pattern.endswith("/*"))
        self._prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("/*"))

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes)

    def takes(self, identity: str) -> bool:
        """Whether one of them takes it; none takes the empty identity, which is nobody's."""
        if identity in self._exact:
            return True
        return any(identity.startswith(prefix) and len(identity) > len(prefix) for prefix in self._prefixes)
