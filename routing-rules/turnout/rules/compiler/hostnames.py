"""Hostnames as patterns: `*`, `*.a.example` or `a.example`, and which of two is the narrower.

Two patterns that take one host are always one within the other, so the patterns that take a host form a
chain, and "the most specific" is well defined.
"""

ANY = "*"


def covers(pattern: str, inner: str) -> bool:
    """True if every host that `inner` takes is taken by `pattern`. `*.a` takes `b.a` and `c.b.a`, not `a`."""
    if pattern in (ANY, inner):
        return True
    return pattern.startswith("*.") and len(inner) > len(pattern) - 1 and inner.endswith(pattern[1:])


def intersect(one: str, other: str) -> str | None:
    """The narrower of two patterns if one is within the other, else None."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def narrowest(patterns: list[str], inner: str) -> str | None:
    """Of the patterns that cover `inner`, the most specific; None if none does."""
    return max((p for p in patterns if covers(p, inner)), key=_depth, default=None)


def _depth(pattern: str) -> tuple[int, bool]:
    return (len(pattern.removeprefix("*")), not pattern.startswith("*"))
