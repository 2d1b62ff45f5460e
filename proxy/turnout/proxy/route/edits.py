"""Header edits of rules, compiled: remove, then set, then add (Gateway API `HTTPHeaderFilter`)."""

from turnout.proxy.http.head import Fields, Head, RequestHead
from turnout.rules.snapshot import HeaderEdits


class Edits:
    """Changes a head. Setting or adding `host` changes the authority, of which there is one; framing fields can't be
    edited, the rules refuse them."""

    __slots__ = ("_fields", "_host", "_remove")

    def __init__(self, edits: HeaderEdits) -> None:
        pairs = _encode(edits.set + edits.add)
        self._host = next((value for name, value in pairs if name == b"host"), None)
        self._fields = [pair for pair in pairs if pair[0] != b"host"]
        self._remove = frozenset(name.encode("latin-1") for name in (*edits.remove, *(name for name, _ in edits.set)))

    def apply(self, head: Head) -> None:
        if self._remove:
            head.remove(self._remove)
        for name, value in self._fields:
            head.add(name, value)
        if self._host is not None and isinstance(head, RequestHead):
            head.authority = self._host


def compile_edits(*layers: HeaderEdits) -> tuple[Edits, ...]:
    """The layers that do something, in order (the route's before the backend's)."""
    return tuple(Edits(layer) for layer in layers if layer.set or layer.add or layer.remove)


def _encode(pairs: tuple[tuple[str, str], ...]) -> Fields:
    return [(name.encode("latin-1"), value.encode()) for name, value in pairs]
