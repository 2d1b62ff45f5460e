"""Which domain of a set takes a host, as in Envoy: the host itself, else the longest `*suffix`, else the longest
`prefix*`, else `*`. A wildcard stands for at least one character, dots among them.
"""

from collections.abc import Iterable


class Domains:
    """A set of domains, in lower case."""

    __slots__ = ("_all", "_prefix_lengths", "_suffix_lengths")

    def __init__(self, domains: Iterable[str]) -> None:
        self._all = frozenset(domains)
        self._suffix_lengths = _lengths(d for d in self._all if d.startswith("*") and d != "*")
        self._prefix_lengths = _lengths(d for d in self._all if d.endswith("*") and d != "*")

    def find(self, host: str) -> str | None:
        """The most specific domain that takes `host`; None for none."""
        if host in self._all and "*" not in host:
            return host
        for length in self._suffix_lengths:
            if length < len(host) and (domain := "*" + host[-length:]) in self._all:
                return domain
        for length in self._prefix_lengths:
            if length < len(host) and (domain := host[:length] + "*") in self._all:
                return domain
        return "*" if "*" in self._all else None


def _lengths(domains: Iterable[str]) -> tuple[int, ...]:
    """The different lengths without the wildcard, the longest first."""
    return tuple(sorted({len(domain) - 1 for domain in domains}, reverse=True))
