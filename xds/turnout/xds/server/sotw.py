"""The state-of-the-world variant: a request tells the whole subscription; of some types, a response tells all.

* Listeners and clusters: what is not in a response is deleted, so each response carries everything; what a client has
  rejected stands in it as the version that it had accepted before.
* Other types: a response carries what changed, and nothing can be taken away.
* A request with another nonce than the last one is stale, and means nothing. One with the last nonce may be an answer
  and a changed subscription at once, or only the latter.
* Resources that were just asked for are sent even if they were sent before.
"""

from collections.abc import Iterator
from typing import Any

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, Resource, make_resource
from turnout.xds.server.resource_set import ResourceSet, hash_versions
from turnout.xds.server.session import Session
from turnout.xds.server.subscription import WILDCARD, BadRequest
from turnout.xds.server.substream import Plan, Response, Substream

WHOLE_TYPES = frozenset({CLUSTER, LISTENER})


class PartialSubstream(Substream):
    """A type of which absence says nothing."""

    stand_ins: tuple[Resource, ...] = ()
    """For what is gone, where the client must hear something of it."""

    def compose(self, plan: Plan, resources: ResourceSet, nonce: str) -> Response | None:
        """What was found. There are no words for what is gone: that is only forgotten here."""
        for name in plan.gone:
            self.held.pop(name, None)
        found = (*plan.send, *[stand_in for stand_in in self.stand_ins if stand_in.name in plan.gone])
        if not found:
            return None
        return Response(self.type_url, self._version(resources), nonce, found)

    def subscribe(self, request: Any, resources: ResourceSet, *, first: bool) -> None:
        """Take the names of a DiscoveryRequest. Raises BadRequest."""
        asked, dropped = self.subscription.replace(request.resource_names)
        if WILDCARD in dropped:
            self.drop({*self.held, *self.dirty, *self.refused} - self.subscription.names)
        self.drop(dropped - {WILDCARD})
        if asked:
            self.on_asked(asked, resources, request.version_info if first else "")

    def on_asked(self, asked: set[str], resources: ResourceSet, known_version: str) -> None:
        """These are wanted newly."""
        self.force(asked - {WILDCARD})
        if WILDCARD in asked:
            self.force(resources.of_type(self.type_url))

    def _version(self, resources: ResourceSet) -> str:
        """It differs from that of a response which was rejected."""
        version = resources.version(self.type_url)
        if not self.refused:
            return version
        refused = (Resource(self.type_url, name, b"", v) for name, v in self.refused.items())
        return hash_versions([*refused, Resource(self.type_url, "", b"", version)])


class WholeSubstream(PartialSubstream):
    """A type of which absence is deletion."""

    inherits = False
    """Whether the client has something of an earlier stream, of which we can't tell what it is."""

    def compose(self, plan: Plan, resources: ResourceSet, nonce: str) -> Response | None:
        """Everything, as soon as there is anything to say."""
        if not (plan.send or plan.gone or self.owed):
            return None
        content = self._everything(resources)
        return Response(self.type_url, hash_versions(content), nonce, tuple(content))

    def lost_by(self, plan: Plan, response: Response) -> frozenset[str]:
        """All that the response does not carry."""
        return frozenset(self.held.keys() - {resource.name for resource in response.resources})

    def untouched(self, response: Response) -> set[str]:
        """What the client has already, and would delete if it were not there."""
        return {r.name for r in response.resources if (old := self.held.get(r.name)) and old.version == r.version}

    def on_asked(self, asked: set[str], resources: ResourceSet, known_version: str) -> None:
        """An answer is due, even if there is nothing: that, too, is an answer. But not for a client that comes back
        with what it would get, if all it wants is the wildcard (protocol, "ACK/NACK and resource type instance
        version")."""
        self.inherits = self.inherits or bool(known_version)
        if asked == {WILDCARD} and not self.subscription.names and not self.held:
            content = self._everything(resources)
            if known_version and known_version == hash_versions(content):
                self.held = {resource.name: resource for resource in content}
                self.version_sent = self.version_acked = known_version
                self.acked_at = self.opened_at
                return
        self.owed = True
        super().on_asked(asked, resources, known_version)

    def _everything(self, resources: ResourceSet) -> list[Resource]:
        known = resources.of_type(self.type_url)
        wanted = known if self.subscription.wildcard else sorted(self.subscription.names & known.keys())
        content = []
        for name in wanted:
            resource = known[name]
            if not self.subscription.takes(resource):
                continue
            chosen = self.choose(resource)
            if chosen is None and self.inherits:
                # The client may hold an older version, which leaving this out would delete: it rejects it once more.
                chosen = resource
            if chosen is not None:
                content.append(chosen)
        # Gone, but still in use by others: they go when it is their turn.
        content += [self.held[name] for name in sorted(self.leaving)]
        return content


class SotwSession(Session[PartialSubstream]):
    """A stream of StreamAggregatedResources."""

    variant = "sotw"

    def make_substream(self, type_url: str, now: float) -> PartialSubstream:
        """A new type."""
        kind = WholeSubstream if type_url in WHOLE_TYPES else PartialSubstream
        return kind(type_url, self.node_key, self.rejections, now)

    def _speak(self, type_url: str, now: float, *, may_remove: bool, only_forced: bool = False) -> Iterator[Response]:
        if type_url == ENDPOINTS and (endpoints := self.types.get(ENDPOINTS)):
            endpoints.stand_ins = tuple(self._empty_endpoints(endpoints.forced))
        yield from super()._speak(type_url, now, may_remove=may_remove, only_forced=only_forced)

    def _empty_endpoints(self, asked: set[str]) -> Iterator[Resource]:
        """For clusters that were sent, and gone before the client asked for their endpoints. Envoy would wait 15 s for
        those (`initial_fetch_timeout`) before it answers the clusters, and so takes no others meanwhile."""
        clusters, known = self.types.get(CLUSTER), self.resources.of_type(ENDPOINTS)
        if clusters is None or clusters.pending is None or asked <= known.keys():
            return
        for resource in clusters.pending.response.resources:
            for name in self.resources.children(resource):
                if name in asked and name not in known:
                    yield make_resource(ENDPOINTS, name, ClusterLoadAssignment(cluster_name=name).SerializeToString())

    def on_request(self, request: Any, now: float) -> list[Response]:
        """Take a DiscoveryRequest; what to send now, in order. Raises BadRequest."""
        self.check(request)
        if request.resource_locators:
            raise BadRequest("resource locators are not supported")
        state, first = self.open(request.type_url, now)
        if not first and state.nonce and request.response_nonce not in ("", state.nonce):
            self.counters.stale_nonces += 1
            return []
        self.answered(state, request, now)
        state.subscribe(request, self.resources, first=first)
        return self.flush(now)
