"""The conditions of a match other than its path: headers and query parameters, compiled once."""

from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.regex import compile_regex
from turnout.rules.snapshot import ValueMatch


class HeaderCondition:
    """A header that must be there and have a value; several fields of the name are one value, joined by commas."""

    __slots__ = ("_name", "_test", "match")

    def __init__(self, match: ValueMatch) -> None:
        self.match = match
        self._name = match.name.encode("latin-1")
        self._test = _compile_test(match)

    def holds(self, head: RequestHead) -> bool:
        value = self.find(head)
        return value is not None and bool(self._test(value))

    def find(self, head: RequestHead) -> bytes | None:
        return head.authority if self._name == b"host" else head.get(self._name)

    def explain(self, head: RequestHead) -> str:
        return _explain("header", self.match, self.find(head))


class QueryCondition:
    """A query parameter that must be there and have a value; of several with one name the first counts (Envoy)."""

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
            if _unquote(name) == self._name:
                return _unquote(value)
        return None

    def explain(self, head: RequestHead) -> str:
        return _explain("query parameter", self.match, self.find(head))


Condition = HeaderCondition | QueryCondition


def _compile_test(match: ValueMatch) -> Callable[[bytes], object]:
    return compile_regex(match.value) if match.kind == "regex" else match.value.encode().__eq__


def _unquote(value: bytes) -> bytes:
    return unquote_to_bytes(value.replace(b"+", b" ")) if b"%" in value or b"+" in value else value


def _explain(what: str, match: ValueMatch, found: bytes | None) -> str:
    wanted = (
        f"{what} {match.name} is not {match.value!r}"
        if match.kind == "exact"
        else (f"{what} {match.name} does not match {match.value!r}")
    )
    return f"{wanted}: " + ("it is not there" if found is None else f"it is {found.decode('latin-1')!r}")
