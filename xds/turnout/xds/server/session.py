"""One stream: the types on it, and the order in which they may speak. Sans I/O: requests and changes in, responses out.

Make before break (xDS protocol, "Eventual consistency considerations"):

* Clusters and their endpoints go first. Listeners and routes wait until the client has answered those, and until the
  endpoints that it must ask for because of a new cluster were asked for and answered, too.
* A cluster that was sent has its endpoints sent again: Envoy warms a changed cluster on a new load assignment only.
* What is gone is taken away last, once new listeners and routes have been answered; but for listeners, which nobody
  needs.
* Waiting for a client to *ask* has an end (ASK_S); waiting for an answer has none: a client that does not answer one
  type is not to be trusted with the next.
"""

import logging
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES
from turnout.xds.server.counters import Counters
from turnout.xds.server.node import clean
from turnout.xds.server.references import CHILD_TYPES
from turnout.xds.server.rejections import Rejections
from turnout.xds.server.resource_set import ResourceSet
from turnout.xds.server.subscription import BadRequest
from turnout.xds.server.substream import Response, Substream

logger = logging.getLogger(__name__)

ASK_S = 2.0
"""How long a client is given to ask for what a resource makes it need; a new stream, to ask for all types."""
MAX_TYPES = 32
MAX_TYPE_URL = 256
MAX_REASON = 4096
MAX_LOGGED = 500
"""Characters of a reason in the log, which anybody can fill."""

MAKERS = (CLUSTER, ENDPOINTS)
"""What goes first; USERS name it."""
USERS = (LISTENER, ROUTES)
BROKEN_LAST = (CLUSTER, ENDPOINTS, ROUTES)
"""What others need as long as they have not been told otherwise."""

S = TypeVar("S", bound=Substream)


class Session(Generic[S]):
    """State of one stream. `node_key` stands for the node in what is remembered of it."""

    variant = ""

    def __init__(
        self, node_key: str, resources: ResourceSet, rejections: Rejections, counters: Counters, now: float
    ) -> None:
        self.node_key = node_key
        self.resources = resources
        self.rejections = rejections
        self.counters = counters
        self.types: dict[str, S] = {}
        self.opened_at = now
        self._nonces = 0
        self._awaited: dict[tuple[str, str], float] = {}
        """Type and name of what the client must ask for; until when that is waited for."""
        self._unwarmed: set[str] = set()
        """Load assignments of clusters that were sent before the client asked for any."""

    @property
    def is_settled(self) -> bool:
        """Whether the client has been told everything, and has answered."""
        return not any(state.is_busy or state.leaving for state in self.types.values())

    def is_stale(self, now: float) -> bool:
        """Whether an answer is overdue."""
        return any(state.is_stale(now) for state in self.types.values())

    # What happens

    def on_change(self, resources: ResourceSet, now: float) -> list[Response]:
        """There are other resources for this client; what to send now, in order."""
        return self.flush(now) if self.look(resources) else []

    def look(self, resources: ResourceSet) -> bool:
        """Note what is other in these resources. Whether `flush` may have something to say for that."""
        if resources is self.resources:
            return False
        changes = resources.changes_since(self.resources)
        self.resources = resources
        for type_url, names in changes.items():
            if state := self.types.get(type_url):
                state.mark(names)
        return bool(self._awaited) or any(state.has_news for state in self.types.values())

    def wake_at(self, now: float) -> float | None:
        """When `flush` is to be called if nothing else happens before."""
        if not any(state.has_news or state.leaving for state in self.types.values()):
            return None
        ends = [*self._awaited.values(), self.opened_at + ASK_S]
        return min((end for end in ends if end > now), default=None)

    def flush(self, now: float) -> list[Response]:
        """What can be said now, in order."""
        return list(self._flush(now))

    def _flush(self, now: float) -> Iterator[Response]:
        self._awaited = {key: end for key, end in self._awaited.items() if end > now and not self._is_asked(*key)}
        for type_url in self._order():
            if self._must_wait(type_url):
                continue
            yield from self._speak(
                type_url,
                now,
                may_remove=type_url not in BROKEN_LAST,
                only_forced=type_url == ENDPOINTS and self._clusters_wait(),
            )
        if self._may_break(now):
            for type_url in BROKEN_LAST:
                yield from self._speak(type_url, now, may_remove=True)

    def _speak(self, type_url: str, now: float, *, may_remove: bool, only_forced: bool = False) -> Iterator[Response]:
        state = self.types.get(type_url)
        if state is None or state.pending is not None or not (state.has_news or (may_remove and state.leaving)):
            return
        if only_forced and not state.forced:
            return
        self._nonces += 1
        nonce = f"{self._nonces:x}"
        response = state.speak(self.resources, nonce, now, may_remove=may_remove, only_forced=only_forced)
        if response is not None:
            self._follow(state, response, now)
            yield response

    def _children(self, state: S, response: Response) -> Iterator[tuple[str, str]]:
        """Type and name of what exists and a client needs for what is new to it in a response."""
        child_type = CHILD_TYPES.get(response.type_url)
        if child_type is None:
            return
        known = self.resources.of_type(child_type)
        untouched = state.untouched(response)
        for resource in response.resources:
            if resource.name not in untouched:
                yield from [(child_type, n) for n in self.resources.children(resource) if n in known]

    def _await_children(self, state: S, response: Response, now: float) -> None:
        """What the client has not asked for yet, it will, unless a wildcard brings it what it is to have. This is
        looked at when a response is sent, and when it is taken: the client may have let go of something in between, not
        knowing that it is wanted again."""
        for type_url, name in self._children(state, response):
            if not self._is_asked(type_url, name) and not self._has_wildcard(type_url):
                self._awaited[type_url, name] = now + ASK_S

    def _follow(self, state: S, response: Response, now: float) -> None:
        """A response was sent."""
        self._await_children(state, response, now)
        if response.type_url != CLUSTER:
            return
        names = {name for _, name in self._children(state, response)}
        if endpoints := self.types.get(ENDPOINTS):
            endpoints.force([name for name in names if self._is_asked(ENDPOINTS, name)])
        else:
            self._unwarmed |= names

    def warm(self, endpoints: S) -> None:
        """The client asks for endpoints for the first time: it needs those of the clusters that it was sent before,
        even if it shows to have them from an earlier stream."""
        endpoints.force([name for name in self._unwarmed if self._is_asked(ENDPOINTS, name)])
        self._unwarmed.clear()

    # Requests

    def check(self, request: Any) -> None:
        """Raise BadRequest for what no client may send."""
        if not request.type_url or len(request.type_url) > MAX_TYPE_URL:
            raise BadRequest("a request on an aggregated stream tells its type_url")

    def open(self, type_url: str, now: float) -> tuple[S, bool]:
        """The state of a type, and whether this is the first that is heard of it. Raises BadRequest."""
        state = self.types.get(type_url)
        if state is not None:
            return state, False
        if len(self.types) >= MAX_TYPES:
            raise BadRequest(f"more than {MAX_TYPES} types on one stream")
        state = self.types[type_url] = self.make_substream(type_url, now)
        return state, True

    def make_substream(self, type_url: str, now: float) -> S:
        """The state of a new type."""
        raise NotImplementedError

    def on_request(self, request: Any, now: float) -> list[Response]:
        """Take a request; what to send now, in order. Raises BadRequest."""
        raise NotImplementedError

    def answered(self, state: S, request: Any, now: float) -> None:
        """Take a request as the answer to the pending response, if it is one."""
        if state.pending is None or request.response_nonce != state.nonce:
            return
        if request.HasField("error_detail"):
            reason = clean(request.error_detail.message, MAX_REASON) or "the client gives no reason"
            logger.warning(
                "%r rejects version %s of %s: %s",
                self.node_key,
                state.version_sent,
                state.type_url,
                reason[:MAX_LOGGED],
            )
            self.counters.on_nack(state.type_url)
            state.on_nack(reason, now)
        else:
            self.counters.on_ack(state.type_url)
            self._await_children(state, state.pending.response, now)
            state.on_ack(now)

    # Order

    def _order(self) -> Iterator[str]:
        yield from TYPES
        yield from [type_url for type_url in self.types if type_url not in TYPES]

    def _must_wait(self, type_url: str) -> bool:
        return type_url in USERS and (self._is_pending(MAKERS) or self._awaits(ENDPOINTS))

    def _clusters_wait(self) -> bool:
        """Clusters that wait for the answer to others are perhaps those that changed endpoints are for. Endpoints that
        the client asks for must not wait for them: Envoy answers no clusters while one of those it has is warming."""
        clusters = self.types.get(CLUSTER)
        return clusters is not None and clusters.pending is not None and clusters.has_news

    def _is_asked(self, type_url: str, name: str) -> bool:
        state, resource = self.types.get(type_url), self.resources.of_type(type_url).get(name)
        return resource is None or (state is not None and state.subscription.takes(resource))

    def _has_wildcard(self, type_url: str) -> bool:
        state = self.types.get(type_url)
        return state is not None and state.subscription.wildcard

    def _is_pending(self, types: tuple[str, ...]) -> bool:
        return any(state.pending is not None for type_url in types if (state := self.types.get(type_url)))

    def _awaits(self, type_url: str) -> bool:
        return any(key[0] == type_url for key in self._awaited)

    def _lacks_users(self) -> bool:
        return not all(type_url in self.types for type_url in USERS)

    def _may_break(self, now: float) -> bool:
        if self._lacks_users() and now < self.opened_at + ASK_S:
            return False
        if self._awaited or self._is_pending(MAKERS):
            return False
        return not any(state.is_busy for type_url in USERS if (state := self.types.get(type_url)))
