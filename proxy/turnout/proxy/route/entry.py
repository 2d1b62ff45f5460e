"""One route, compiled: what must hold beside its path, and what happens then."""

from collections.abc import Mapping

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.conditions import Condition, HeaderCondition, QueryCondition
from turnout.proxy.route.edits import compile_edits
from turnout.proxy.route.split import Split, compile_split
from turnout.rules.snapshot import Forward, Redirect, Respond, Route


class Entry:
    """A route at its position in its virtual host. Exactly one of `split`, `redirect` and `respond` is set.

    `exact_headers` are the (name, value) pairs of the plain conditions; `is_open` says that nothing but the path is
    asked.
    """

    __slots__ = (
        "_others", "backend_timeout_s", "conditions", "exact_headers", "is_open", "method", "name", "position",
        "prefix", "record", "redirect", "request_timeout_s", "respond", "response_edits", "route", "split",
    )  # fmt: skip

    def __init__(
        self, route: Route, position: int, missing: frozenset[str], records: Mapping[tuple[str, str, str], int]
    ) -> None:
        match, action = route.match, route.action
        self.route = route
        self.name = route.name
        self.position = position
        self.record = records["route", route.name, ""]
        self.prefix = "/" if match.path.kind == "regex" else match.path.value
        self.method = match.method.encode() if match.method else None
        headers = [HeaderCondition(header) for header in match.headers]
        queries = [QueryCondition(parameter) for parameter in match.query]
        self.conditions: tuple[Condition, ...] = (*headers, *queries)
        self.exact_headers = tuple((c.name, c.exact) for c in headers if c.is_plain and c.exact is not None)
        self._others: tuple[Condition, ...] = (*(c for c in headers if not c.is_plain), *queries)
        self.is_open = self.method is None and not self.conditions
        self.split: Split | None = compile_split(route, missing, records) if isinstance(action, Forward) else None
        self.redirect = action if isinstance(action, Redirect) else None
        self.respond = action if isinstance(action, Respond) else None
        self.response_edits = compile_edits(route.response_headers)
        self.request_timeout_s = action.request_timeout_s if isinstance(action, Forward) else None
        self.backend_timeout_s = action.backend_timeout_s if isinstance(action, Forward) else None

    def take(self, head: RequestHead) -> "Entry | None":
        """Itself, if all but the path holds; the index saw to the path."""
        method = self.method
        if method is not None and method != head.method:
            return None
        for name, value in self.exact_headers:
            if head.get(name) != value:
                return None
        for condition in self._others:
            if not condition.holds(head):
                return None
        return self
