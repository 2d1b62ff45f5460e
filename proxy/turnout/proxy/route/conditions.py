"""The conditions of a match other than path and method: headers and query parameters, compiled once.

Every condition answers `holds(head)` on the way of a request. To somebody who wonders why not, `describe()` says in
words what is asked, and `explain(head)` also what there is.
"""

from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from turnout.proxy.http.head import RequestHead
from turnout.rules.regex import compile_regex
from turnout.rules.snapshot import ValueMatch


class HeaderCondition:
    """A header that must be there and have a value; several fields of the name are one value, joined by commas.

    `name` and `exact` (None for an expression) are what an Entry compares by itself if `is_plain`.
    """

    __slots__ = ("_test", "exact", "is_plain", "match", "name")

    def __init__(self, match: ValueMatch) -> None:
        self.match = match
        self.name = match.name.encode("latin-1")
        self.exact = match.value.encode() if match.kind == "exact" else None
        self.is_plain = self.exact is not None and self.name not in _KEPT_APART
        self._test = _compile_test(match)

    def holds(self, head: RequestHead) -> bool:
        value = self.find(head)
        return value is not None and bool(self._test(value))

    def find(self, head: RequestHead) -> bytes | None:
        """The value, also of what a head keeps in attributes: its Host, and an Upgrade that is granted."""
        kept = _KEPT_APART.get(self.name)
        return (kept(head) or None) if kept else head.get(self.name)

    def describe(self) -> str:
        return _describe("header", self.match)

    def explain(self, head: RequestHead) -> str:
        return f"{self.describe()}, but {_describe_found(self.find(head))}"


class QueryCondition:
    """A query parameter that must be there and have a value; of several with one name the first counts (Envoy).

    Names and values are compared as they read once `%` and `+` are decoded.
    """

    __slots__ = ("_name", "_test", "match")

    def __init__(self, match: ValueMatch) -> None:
        self.match = match
        self._name = match.name.encode()
        self._test = _compile_test(match)

    def holds(self, head: RequestHead) -> bool:
        value = self.find(head)
        return value is not None and bool(self._test(value))

    def find(self, head: RequestHead) -> bytes | None:
        for part in (head.query or b"").split(b"&"):
            name, _, value = part.partition(b"=")
            if part and _unquote(name) == self._name:
                return _unquote(value)
        return None

    def describe(self) -> str:
        return _describe("query parameter", self.match)

    def explain(self, head: RequestHead) -> str:
        return f"{self.describe()}, but {_describe_found(self.find(head))}"


Condition = HeaderCondition | QueryCondition

_KEPT_APART: dict[bytes, Callable[[RequestHead], bytes]] = {
    b"host": lambda head: head.authority,
    b"upgrade": lambda head: head.upgrade,
}


def _compile_test(match: ValueMatch) -> Callable[[bytes], object]:
    return compile_regex(match.value).fullmatch if match.kind == "regex" else match.value.encode().__eq__


def _unquote(value: bytes) -> bytes:
    return unquote_to_bytes(value.replace(b"+", b" ")) if b"%" in value or b"+" in value else value


def _describe(what: str, match: ValueMatch) -> str:
    return f"{what} {match.name} must {'be' if match.kind == 'exact' else 'match'} {match.value!r}"


def _describe_found(found: bytes | None) -> str:
    return "is not there" if found is None else f"is {found.decode('utf-8', 'backslashreplace')!r}"
