"""One route, compiled: what must hold beside its path, and what happens then."""

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.conditions import ChanceCondition, Condition, HeaderCondition, QueryCondition
from turnout.proxy.route.context import Context
from turnout.proxy.route.edits import compile_edits
from turnout.proxy.route.split import Split, compile_split
from turnout.rules.snapshot import Forward, Redirect, Respond, Route


class Entry:
    """A route at its position in its virtual host. Exactly one of `split`, `redirect` and `respond` is set.

    `exact_headers` are the (name, value) pairs of the plain conditions; `is_open` says that nothing but the path is
    asked. `body` is that of a `respond`, in bytes.
    """

    __slots__ = (
        "_others", "backend_timeout_s", "body", "conditions", "exact_headers", "is_open", "method", "name",
        "position", "prefix", "record", "redirect", "request_timeout_s", "respond", "response_edits", "route", "split",
    )  # fmt: skip

    def __init__(self, route: Route, position: int, context: Context) -> None:
        match, action = route.match, route.action
        self.route = route
        self.name = route.name
        self.position = position
        self.record = context.records["route", route.name, ""]
        self.prefix = "/" if match.path.kind == "regex" else match.path.value
        self.method = match.method.encode() if match.method else None
        headers = [HeaderCondition(header) for header in match.headers]
        queries = [QueryCondition(parameter) for parameter in match.query]
        chances = [] if match.per_million is None else [ChanceCondition(match.per_million, context.draw)]
        self.conditions: tuple[Condition, ...] = (*headers, *queries, *chances)
        self.exact_headers = tuple((c.name, c.exact) for c in headers if c.is_plain)
        self._others: tuple[Condition, ...] = (*(c for c in headers if not c.is_plain), *queries, *chances)
        self.is_open = self.method is None and not self.conditions
        self.split: Split | None = compile_split(route, context) if isinstance(action, Forward) else None
        self.redirect = action if isinstance(action, Redirect) else None
        self.respond = action if isinstance(action, Respond) else None
        self.body = None if self.respond is None or self.respond.body is None else self.respond.body.encode()
        self.response_edits = compile_edits(*route.response_headers)
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
