"""The delta variant ("Incremental xDS"): only what changed is sent, and what is gone is named.

* What was just asked for is sent even if it was sent before: the client may have forgotten it. It is not if the first
  request shows the version (`initial_resource_versions`).
* What is asked for by name and does not exist is told as removed, so that the client need not wait.
* A nonce only pairs an answer with a response; what a request says of the subscription holds with any nonce.
"""

from typing import Any

from turnout.xds.resources import ENDPOINTS, Resource
from turnout.xds.server.resource_set import ResourceSet
from turnout.xds.server.session import Session
from turnout.xds.server.subscription import WILDCARD, BadRequest, check_names
from turnout.xds.server.substream import Plan, Response, Substream

MAX_VERSION = 128


class DeltaSubstream(Substream):
    """One type of a delta stream."""

    def compose(self, plan: Plan, resources: ResourceSet, nonce: str) -> Response | None:
        """What was found; an empty response only if one is owed."""
        if not (plan.send or plan.gone or self.owed):
            return None
        version = resources.version(self.type_url)
        return Response(self.type_url, version, nonce, tuple(plan.send), tuple(plan.gone))

    def subscribe(self, request: Any, resources: ResourceSet, *, first: bool) -> None:
        """Take what a DeltaDiscoveryRequest says of the subscription. Raises BadRequest."""
        was_wildcard = self.subscription.wildcard
        asked, dropped = self.subscription.edit(
            request.resource_names_subscribe, request.resource_names_unsubscribe, first=first
        )
        if first:
            self._inherit(request.initial_resource_versions, resources)
        if WILDCARD in asked:
            self._ask_for_all(resources, again=was_wildcard, owed=not self.held)
        named = asked - {WILDCARD}
        self.dirty |= named
        self.force(named - self.held.keys() if first else named)
        self._unsubscribe(dropped, resources)

    def _ask_for_all(self, resources: ResourceSet, *, again: bool, owed: bool) -> None:
        names = {name for name, resource in resources.of_type(self.type_url).items() if resource.wildcard}
        self.owed = self.owed or owed
        self.dirty |= names
        if again:
            self.force(names)

    def _inherit(self, versions: Any, resources: ResourceSet) -> None:
        """What the client still has of an earlier stream. Of other versions than ours we don't have the body."""
        check_names(versions)
        known = resources.of_type(self.type_url)
        for name, version in versions.items():
            ours = known.get(name)
            wanted = self.subscription.takes(ours) if ours else self.subscription.wildcard
            if len(version) > MAX_VERSION or not (wanted or name in self.subscription.names):
                continue
            same = ours is not None and ours.version == version
            self.held[name] = ours if ours and same else Resource(self.type_url, name, b"", version)
        self.dirty |= self.held.keys()
        if self.held and all(resource.body for resource in self.held.values()):
            self.version_acked, self.acked_at = resources.version(self.type_url), self.opened_at

    def _unsubscribe(self, dropped: set[str], resources: ResourceSet) -> None:
        if WILDCARD in dropped:
            self.drop({*self.held, *self.dirty, *self.refused} - self.subscription.names)
        names = dropped - {WILDCARD}
        self.drop(names)
        if self.subscription.wildcard:
            # The client can't know whether the wildcard brings it, too: it has to be told, one way or the other.
            self.force(names)


class DeltaSession(Session[DeltaSubstream]):
    """A stream of DeltaAggregatedResources."""

    variant = "delta"

    def make_substream(self, type_url: str, now: float) -> DeltaSubstream:
        """A new type."""
        return DeltaSubstream(type_url, self.node_key, self.rejections, now)

    def on_request(self, request: Any, now: float) -> list[Response]:
        """Take a DeltaDiscoveryRequest; what to send now, in order. Raises BadRequest."""
        self.check(request)
        if request.resource_locators_subscribe or request.resource_locators_unsubscribe:
            raise BadRequest("resource locators are not supported")
        state, first = self.open(request.type_url, now)
        self.answered(state, request, now)
        state.subscribe(request, self.resources, first=first)
        if first and state.type_url == ENDPOINTS:
            self.warm(state)
        return self.flush(now)
