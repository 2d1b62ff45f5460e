"""The conditions of a match other than path and method: headers, query parameters and chance, compiled once.

Every condition answers `holds(head)` on the way of a request. To somebody who wonders why not, `describe()` says in
words what is asked, and `explain(head)` also what there is.
"""

from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.scheme import find_scheme
from turnout.proxy.route.values import compile_verdict, describe_value, is_plain
from turnout.rules.snapshot import ValueMatch

MILLION = 1_000_000


class HeaderCondition:
    """A condition on a header; several fields of the name are one value, joined by commas.

    If `is_plain` an Entry compares by itself: the value of `name` must be `exact`.
    """

    __slots__ = ("_verdict", "exact", "is_plain", "match", "name")

    def __init__(self, match: ValueMatch) -> None:
        self.match = match
        self.name = match.name.encode("latin-1")
        self.exact = match.value.encode()
        self.is_plain = is_plain(match) and self.name not in _KEPT_APART
        self._verdict = compile_verdict(match)

    def holds(self, head: RequestHead) -> bool:
        return bool(self._verdict(self.find(head)))

    def find(self, head: RequestHead) -> bytes | None:
        """The value, also of what a head keeps in attributes: its Host, and an Upgrade that is granted."""
        kept = _KEPT_APART.get(self.name)
        return (kept(head) or None) if kept else head.get(self.name)

    def describe(self) -> str:
        return f"header {self.match.name} {describe_value(self.match)}"

    def explain(self, head: RequestHead) -> str:
        return f"{self.describe()}, but {_describe_found(self.find(head))}"


class QueryCondition:
    """A condition on a query parameter; of several with one name the first counts (Envoy).

    Names and values are compared as they read once `%` and `+` are decoded.
    """

    __slots__ = ("_name", "_verdict", "match")

    def __init__(self, match: ValueMatch) -> None:
        self.match = match
        self._name = match.name.encode()
        self._verdict = compile_verdict(match)

    def holds(self, head: RequestHead) -> bool:
        return bool(self._verdict(self.find(head)))

    def find(self, head: RequestHead) -> bytes | None:
        for part in (head.query or b"").split(b"&"):
            name, _, value = part.partition(b"=")
            if part and _unquote(name) == self._name:
                return _unquote(value)
        return None

    def describe(self) -> str:
        return f"query parameter {self.match.name} {describe_value(self.match)}"

    def explain(self, head: RequestHead) -> str:
        return f"{self.describe()}, but {_describe_found(self.find(head))}"


class Draw:
    """One random number a request, from 0 to a million: all routes that are asked for it see the same (as in Envoy).

    It knows the request by its head, the last of which it keeps. `random` gives numbers in [0, 1).
    """

    __slots__ = ("_head", "_number", "random")

    def __init__(self, random: Callable[[], float]) -> None:
        self.random = random
        self._head: RequestHead | None = None
        self._number = 0

    def number(self, head: RequestHead) -> int:
        if head is not self._head:
            self._head = head
            self._number = int(self.random() * MILLION)
        return self._number


class ChanceCondition:
    """Holds for a share of the requests, picked at random (Envoy `runtime_fraction`)."""

    __slots__ = ("_draw", "_per_million")

    def __init__(self, per_million: int, draw: Draw) -> None:
        self._per_million = per_million
        self._draw = draw

    def holds(self, head: RequestHead) -> bool:
        return self._draw.number(head) < self._per_million

    def describe(self) -> str:
        return f"the random number of the request must be below {_percent(self._per_million)}"

    def explain(self, head: RequestHead) -> str:
        return f"{self.describe()}, but is {_percent(self._draw.number(head))}"


Condition = HeaderCondition | QueryCondition | ChanceCondition

_KEPT_APART: dict[bytes, Callable[[RequestHead], bytes]] = {
    b":authority": lambda head: head.authority,
    b":method": lambda head: head.method,
    b":path": lambda head: head.target,
    b":scheme": lambda head: find_scheme(head).encode(),
    b"host": lambda head: head.authority,
    b"upgrade": lambda head: head.upgrade,
}


def _unquote(value: bytes) -> bytes:
    return unquote_to_bytes(value.replace(b"+", b" ")) if b"%" in value or b"+" in value else value


def _describe_found(found: bytes | None) -> str:
    return "is not there" if found is None else f"is {found.decode('utf-8', 'backslashreplace')!r}"


def _percent(per_million: int) -> str:
    return f"{per_million * 100 / MILLION:g} %"
