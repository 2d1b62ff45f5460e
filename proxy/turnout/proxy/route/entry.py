"""One route, compiled: what must hold beside its path, and what happens then."""

from collections.abc import Mapping

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.conditions import Condition, HeaderCondition, QueryCondition
from turnout.proxy.route.edits import compile_edits
from turnout.proxy.route.regex import compile_regex
from turnout.proxy.route.split import Split, compile_split
from turnout.rules.snapshot import Forward, Redirect, Respond, Route


class Entry:
    """A route at its position in its virtual host. Exactly one of `split`, `redirect` and `respond` is set."""

    __slots__ = (
        "backend_timeout_s", "conditions", "method", "name", "path_test", "position", "prefix", "record",
        "redirect", "request_timeout_s", "respond", "response_edits", "route", "split",
    )  # fmt: skip

    def __init__(
        self, route: Route, position: int, missing: frozenset[str], records: Mapping[tuple[str, str, str], int]
    ) -> None:
        match, action = route.match, route.action
        self.route = route
        self.name = route.name
        self.position = position
        self.record = records["route", route.name, ""]
        self.prefix = match.path.value if match.path.kind in ("path_prefix", "prefix") else "/"
        self.path_test = compile_regex(match.path.value) if match.path.kind == "regex" else None
        self.method = match.method.encode() if match.method else None
        self.conditions: tuple[Condition, ...] = (
            *(HeaderCondition(header) for header in match.headers),
            *(QueryCondition(parameter) for parameter in match.query),
        )
        self.split: Split | None = compile_split(route, missing, records) if isinstance(action, Forward) else None
        self.redirect = action if isinstance(action, Redirect) else None
        self.respond = action if isinstance(action, Respond) else None
        self.response_edits = compile_edits(route.response_headers)
        self.request_timeout_s = action.request_timeout_s if isinstance(action, Forward) else None
        self.backend_timeout_s = action.backend_timeout_s if isinstance(action, Forward) else None

    def holds(self, head: RequestHead) -> bool:
        """Whether all but the path holds (the index saw to the path), or the path too if it is a regex."""
        if self.method is not None and self.method != head.method:
            return False
        if self.path_test is not None and not self.path_test(head.path):
            return False
        return all(condition.holds(head) for condition in self.conditions) if self.conditions else True
