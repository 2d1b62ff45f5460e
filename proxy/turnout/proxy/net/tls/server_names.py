"""Which certificate a client gets that asks for a server name (SNI, RFC 6066 §3).

The hostnames of the listeners first, the most specific one that takes the name; among its certificates the one that has
the name, else one with a wildcard that takes it, else the first. A name that no hostname takes has no certificate. Who
sends no name gets those for `*`, or else the first there are.
"""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from turnout.rules.tls import ANY_NAME

T = TypeVar("T")
MAX_KNOWN = 1_024


class Served(NamedTuple, Generic[T]):
    """A certificate, its DNS names in lower case, and what is to be found for it."""

    names: tuple[str, ...]
    item: T


class ServerNames(Generic[T]):
    """Certificates by hostname (`a.example`, `*.example`, `*`), each with at least one."""

    def __init__(self, by_hostname: dict[str, Sequence[Served[T]]]) -> None:
        self._by_hostname = by_hostname
        self._known: dict[str, T | None] = {}

    @property
    def default(self) -> T:
        """For who sends no name."""
        of_all = self._by_hostname.get(ANY_NAME) or next(iter(self._by_hostname.values()))
        return of_all[0].item

    def find(self, name: str) -> T | None:
        """For a name; None: nobody of that name is here."""
        if name in self._known:
            return self._known[name]
        found = self._find(name.lower().removesuffix("."))
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[name] = found
        return found

    def _find(self, name: str) -> T | None:
        for hostname in _covering(name):
            served = self._by_hostname.get(hostname)
            if served:
                wildcard = _wildcard(name)
                exact = (one.item for one in served if name in one.names)
                wild = (one.item for one in served if wildcard in one.names)
                return next(exact, None) or next(wild, None) or served[0].item
        return None


def has_name(names: Sequence[str], name: str) -> bool:
    """Whether a certificate with these DNS names is that of `name`; a wildcard is one label (RFC 6125 §6.4.3)."""
    name = name.lower().removesuffix(".")
    lowered = [one.lower() for one in names]
    return name in lowered or _wildcard(name) in lowered


def _wildcard(name: str) -> str:
    """The only wildcard that takes a name: `*.example` for `a.example`."""
    _, dot, rest = name.partition(".")
    return f"*.{rest}" if dot and rest else ""


def _covering(name: str) -> list[str]:
    """The hostnames that take a name, the most specific first; a listener's wildcard is any number of labels."""
    found = [name]
    rest = name
    while rest:
        _, _, rest = rest.partition(".")
        if rest:
            found.append(f"*.{rest}")
    return [*found, ANY_NAME]
