"""One route, compiled: what must hold beside its path, and what happens then."""

from collections.abc import Sequence
from typing import Any

from turnout.proxy.http.deadline import encode_timeout
from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.admission import compile_admission
from turnout.proxy.route.conditions import ChanceCondition, Condition, HeaderCondition, QueryCondition
from turnout.proxy.route.context import Context
from turnout.proxy.route.edits import compile_edits
from turnout.proxy.route.mirrors import Mirrors, compile_mirrors
from turnout.proxy.route.retry import RetryPolicy
from turnout.proxy.route.split import Split, compile_split
from turnout.rules.snapshot import Forward, Redirect, Respond, Route


class Entry:
    """A route at its position in its virtual host. Exactly one of `split`, `redirect` and `respond` is set.

    `exact_headers` are the (name, value) pairs of the plain conditions; `is_open` says that nothing but the path is
    asked; `is_timed` that it has limits of its own, `is_special` that or retries; `mirrors` get copies of its requests;
    `first_attempt` are fields for the upstream. `allowed` says whom it takes, None for everybody; `scheme` is what the
    listener speaks. `body` is that of a `respond`, in bytes. `budgets`, `guard` and `taps` (which copy requests, None
    for none) are what outlives a reload, and are given when the table comes to serve.
    """

    __slots__ = (
        "_others", "allowed", "attempt_timeout_s", "backend_timeout_s", "body", "budgets", "conditions",
        "exact_headers", "fault", "first_attempt", "first_byte_timeout_s", "guard", "idle_timeout_s", "is_open",
        "is_special", "is_timed", "method", "mirrors", "name", "position", "prefix", "queue_timeout_s", "rate_limit",
        "record", "redirect", "request_timeout_s", "respond", "response_edits", "retry", "route", "scheme", "split",
        "taps",
    )  # fmt: skip

    def __init__(self, route: Route, position: int, context: Context, allowed: Sequence[str] = ()) -> None:
        """`allowed` are the identities that its virtual host allows."""
        match, action = route.match, route.action
        self.route = route
        self.name = route.name
        self.position = position
        self.allowed = compile_admission(allowed, route.allowed_identities)
        self.scheme = context.scheme
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
        self.mirrors: Mirrors | None = compile_mirrors(route, context)
        self.redirect = action if isinstance(action, Redirect) else None
        self.respond = action if isinstance(action, Respond) else None
        self.body = None if self.respond is None or self.respond.body is None else self.respond.body.encode()
        self.response_edits = compile_edits(*route.response_headers)
        forward = action if isinstance(action, Forward) else Forward(())
        self.request_timeout_s = forward.request_timeout_s
        self.backend_timeout_s = forward.backend_timeout_s
        self.first_byte_timeout_s = forward.first_byte_timeout_s
        self.idle_timeout_s = forward.idle_timeout_s
        self.queue_timeout_s = forward.queue_timeout_s
        limits = self.request_timeout_s, self.backend_timeout_s, self.first_byte_timeout_s, self.idle_timeout_s
        self.is_timed = any(limit is not None for limit in limits)
        attempt_limits = [limit for limit in (self.backend_timeout_s, self.first_byte_timeout_s) if limit]
        self.attempt_timeout_s = min(attempt_limits, default=0.0)
        self.retry = RetryPolicy(forward.retry) if forward.retry is not None else None
        self.is_special = self.is_timed or self.retry is not None
        self.rate_limit = forward.rate_limit
        self.fault = forward.fault
        self.first_attempt = _tell_first_attempt(forward)
        self.budgets: tuple[Any, ...] = ()
        self.guard: Any = None
        self.taps: Any = None

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


def _tell_first_attempt(forward: Forward) -> bytes:
    """What the first attempt of every request tells the upstream: which it is, how long its answer is waited for."""
    block = b"" if forward.retry is None else b"\r\nx-envoy-attempt-count: 1"
    limits = [limit for limit in (forward.request_timeout_s, forward.backend_timeout_s) if limit is not None]
    return block + encode_timeout(min(limits)) if limits else block
