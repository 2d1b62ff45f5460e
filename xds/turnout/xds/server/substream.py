"""One type on one stream: what the client wants, what it has, what it is owed. The same for both variants.

* `dirty` are names to look at; whatever may have changed is put there, and is compared when its turn comes. So a burst
  of changes costs one response, and a change that is taken back costs none.
* At most one response is *pending*: the next one waits for its ACK or NACK. A slow client is not queued for.
* `held` is what the client has acknowledged. What it can't have (a version that it rejected) is never sent again; it
  keeps what it has, or gets what it had accepted before.
* A resource that is gone is taken away when the caller says so (`may_remove`), since others may still need it.

What differs between state of the world and delta is `compose` and what is done with requests.
"""

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from turnout.xds.resources import Resource
from turnout.xds.server.blame import find_names, find_suspects
from turnout.xds.server.rejections import Rejections
from turnout.xds.server.resource_set import ResourceSet
from turnout.xds.server.subscription import Subscription

STALE_S = 10.0
"""A client that has not answered for so long does not keep up."""


class Response(msgspec.Struct, frozen=True):
    """What is to be sent. `removed` is what a delta client is told to forget."""

    type_url: str
    version: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()


class Pending(NamedTuple):
    """A response without an answer. `gone` is what the client loses by it, told or not."""

    response: Response
    gone: frozenset[str]
    sent_at: float


class Plan(NamedTuple):
    """What a look at the dirty names found: what to send, and what to take away."""

    send: list[Resource]
    gone: list[str]


class Substream:
    """State of one type. The session decides when it may speak."""

    def __init__(self, type_url: str, node_key: str, rejections: Rejections, now: float) -> None:
        self.type_url = type_url
        self.node_key = node_key
        self.subscription = Subscription(type_url)
        self.held: dict[str, Resource] = {}
        self.dirty: set[str] = set()
        self.forced: set[str] = set()
        """Of the dirty names, those to be sent even if they are held: just asked for, or to warm a cluster."""
        self.leaving: set[str] = set()
        """Names that are held and gone, and wait until nobody needs them."""
        self.refused: dict[str, str] = {}
        """Versions that the client can't use, as far as it would get them now."""
        self.pending: Pending | None = None
        self.nonce = ""
        self.owed = False
        """Whether an answer is due even if it is empty."""
        self.version_sent = self.version_acked = self.reason = ""
        self.opened_at = now
        self.acked_at = self.rejected_at = 0.0
        self._rejections = rejections

    def __repr__(self) -> str:
        state = "pending" if self.pending else "dirty" if self.has_news else "idle"
        return f"<{type(self).__name__} {self.type_url.rpartition('.')[2]} {state} held={len(self.held)}>"

    @property
    def has_news(self) -> bool:
        """Whether there may be something to say, other than what is to be taken away."""
        return self.owed or bool(self.dirty)

    @property
    def is_busy(self) -> bool:
        """Whether something is to be said, or was said and not answered yet; other than what is to be taken away."""
        return self.pending is not None or self.has_news

    def is_stale(self, now: float) -> bool:
        """Whether an answer is overdue."""
        return self.pending is not None and now - self.pending.sent_at >= STALE_S

    # What happens

    def force(self, names: Collection[str]) -> None:
        """These are to be sent, held or not."""
        self.forced.update(names)
        self.dirty.update(names)

    def mark(self, names: frozenset[str]) -> None:
        """These have changed."""
        self.dirty |= names if self.subscription.wildcard else names & self.subscription.names

    def drop(self, names: Collection[str]) -> None:
        """The client does not want these any longer, and has forgotten them."""
        for name in names:
            self.held.pop(name, None)
            self.refused.pop(name, None)
        for waiting in (self.dirty, self.forced, self.leaving):
            waiting.difference_update(names)

    def on_ack(self, now: float) -> None:
        """The client has taken the pending response."""
        assert self.pending is not None
        response, gone, _ = self.pending
        self.pending = None
        for name in gone:
            self.held.pop(name, None)
        for resource in response.resources:
            if self.subscription.takes(resource):
                self.held[resource.name] = resource
                self._forgive(resource)
        self.version_acked, self.acked_at = response.version, now
        if not self.refused:
            self.reason = ""

    def on_nack(self, reason: str, now: float) -> None:
        """The client has not taken it: the suspects are not sent again, the others are. A NACK that tells of nothing
        new is not answered, so the two of us can't quarrel for ever."""
        assert self.pending is not None
        response, gone, _ = self.pending
        self.pending = None
        self.reason, self.rejected_at = reason, now
        suspects = find_suspects(response.resources, self.held, reason)
        for resource in (suspects := self._fresh(suspects, reason)):
            self.refused[resource.name] = resource.version
            self._rejections.reject(self.node_key, resource, self.held.get(resource.name), reason, now)
        if suspects:
            others = {r.name for r in response.resources if self.subscription.takes(r)} - {r.name for r in suspects}
            self.dirty |= gone
            self.dirty |= {r.name for r in suspects}
            self.force(others - self.untouched(response))

    # What to say

    def speak(
        self, resources: ResourceSet, nonce: str, now: float, *, may_remove: bool, only_forced: bool = False
    ) -> Response | None:
        """The next response, which is then pending; None if there is nothing to say. Not while one is pending."""
        names = self.forced if only_forced else self.dirty | self.leaving
        plan = self._examine(resources, sorted(names), may_remove=may_remove)
        response = self.compose(plan, resources, nonce)
        self.owed = False
        if response is None:
            return None
        self.pending = Pending(response, self.lost_by(plan, response), now)
        self.nonce, self.version_sent = nonce, response.version
        return response

    def compose(self, plan: Plan, resources: ResourceSet, nonce: str) -> Response | None:
        """The response for a plan, or None if it needs none."""
        raise NotImplementedError

    def lost_by(self, plan: Plan, response: Response) -> frozenset[str]:
        """What the client does not hold any longer once it has taken the response."""
        return frozenset(plan.gone)

    def untouched(self, response: Response) -> set[str]:
        """Names that were in a response only because such a response carries everything."""
        return set()

    def choose(self, resource: Resource) -> Resource | None:
        """What the client gets for a resource that it wants: that, or what it had before it rejected that."""
        name, held = resource.name, self.held.get(resource.name)
        if held is not None and held.version == resource.version:
            return resource
        if self.refused.get(name) != resource.version and not self._rejections.is_rejected(self.node_key, resource):
            return resource
        self.refused[name] = resource.version
        return held if held is not None and held.body else self._rejections.predecessor(self.node_key, resource)

    def _examine(self, resources: ResourceSet, names: list[str], *, may_remove: bool) -> Plan:
        plan = Plan([], [])
        known = resources.of_type(self.type_url)
        self.leaving.difference_update(names)
        for name in names:
            resource = known.get(name)
            if resource is not None and self.subscription.takes(resource):
                chosen, held = self.choose(resource), self.held.get(name)
                if held is not None and held.version == resource.version:
                    self._pardon(name)
                if chosen and (name in self.forced or held is None or held.version != chosen.version):
                    plan.send.append(chosen)
                continue
            self._pardon(name)
            if name in self.held and not may_remove:
                self.leaving.add(name)
            elif name in self.held or name in self.forced:
                plan.gone.append(name)
        self.dirty.difference_update(names)
        self.forced.difference_update(names)
        return plan

    def _fresh(self, suspects: list[Resource], reason: str) -> list[Resource]:
        """Without those that were sent in the knowledge that they will be rejected. If there are such, they explain a
        NACK that names nothing."""
        fresh = [r for r in suspects if self.refused.get(r.name) != r.version]
        if len(fresh) < len(suspects):
            named = find_names((r.name for r in fresh), reason)
            fresh = [r for r in fresh if r.name in named]
        return fresh

    def _pardon(self, name: str) -> None:
        """What was rejected is not what the client should have now."""
        if self.refused.pop(name, None) is not None and not self.refused:
            self.reason = ""

    def _forgive(self, resource: Resource) -> None:
        refused = self.refused.get(resource.name)
        if refused is not None and not self._is_substitute(resource):
            del self.refused[resource.name]
            self._rejections.forgive(self.node_key, self.type_url, resource.name)

    def _is_substitute(self, resource: Resource) -> bool:
        rejection = self._rejections.find(self.node_key, self.type_url, resource.name)
        accepted = rejection.accepted if rejection else None
        return accepted is not None and accepted.version == resource.version
