"""What tests of the ADS server share: small resources, a provider and a memory in plain dictionaries, and scripted
clients that write requests and read responses without a network."""

from collections.abc import Collection, Iterable
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from turnout.rules.snapshot import Origin
from turnout.xds.resources import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTES,
    Resource,
    Resources,
    group_resources,
    make_resource,
)
from turnout.xds.server.counters import Counters
from turnout.xds.server.delta import DeltaSession
from turnout.xds.server.node import Node
from turnout.xds.server.rejections import Rejections
from turnout.xds.server.resource_set import ResourceSet
from turnout.xds.server.sotw import SotwSession
from turnout.xds.server.substream import Response


def _make(type_url: str, name: str, message: Any, *, wildcard: bool = True) -> Resource:
    return make_resource(type_url, name, message.SerializeToString(deterministic=True), wildcard=wildcard)


def cluster(name: str, timeout_s: int = 5, *, static: bool = False) -> Resource:
    """A cluster with EDS over ADS, or without endpoints."""
    message = Cluster(name=name)
    message.connect_timeout.seconds = timeout_s
    if not static:
        message.type = Cluster.EDS
        message.eds_cluster_config.eds_config.ads.SetInParent()
        message.eds_cluster_config.eds_config.resource_api_version = 2
    return _make(CLUSTER, name, message)


def endpoints(name: str, *ports: int) -> Resource:
    """A load assignment of loopback ports."""
    message = ClusterLoadAssignment(cluster_name=name)
    for port in ports:
        address = message.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    return _make(ENDPOINTS, name, message)


def listener(name: str, routes: str, port: int = 0, prefix: str = "in", *, api: bool = False) -> Resource:
    """A listener whose routes come by RDS; `api` makes it one for gRPC clients."""
    manager = HttpConnectionManager(stat_prefix=prefix)
    manager.rds.route_config_name = routes
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = 2
    router = manager.http_filters.add(name="router")
    router.typed_config.Pack(Router())
    message = Listener(name=name)
    if api:
        message.api_listener.api_listener.Pack(manager)
    else:
        message.address.socket_address.address, message.address.socket_address.port_value = "127.0.0.1", port
        message.filter_chains.add().filters.add(name="hcm").typed_config.Pack(manager)
    return _make(LISTENER, name, message, wildcard=not api)


def routes(name: str, **clusters: str) -> Resource:
    """Route names to clusters; a route's name is its path, too."""
    message = RouteConfiguration(name=name)
    host = message.virtual_hosts.add(name="all", domains=["*"])
    for route, target in clusters.items():
        item = host.routes.add(name=route)
        item.match.prefix = f"/{route}"
        item.route.cluster = target
    return _make(ROUTES, name, message)


class ScriptProvider:
    """Everybody gets `resources`; origins are looked up by (type, name), those of routes by (type, name, route)."""

    def __init__(self, *resources: Resource) -> None:
        self.resources: Resources = group_resources(resources)
        self.origins: dict[tuple[str, ...], tuple[Origin, ...]] = {}

    def set(self, *resources: Resource) -> None:
        self.resources = group_resources(resources)

    def resources_for(self, node: Node) -> Resources:
        return self.resources

    def origins_of(self, type_url: str, name: str, routes: Collection[str] = ()) -> tuple[Origin, ...]:
        if not routes:
            return self.origins.get((type_url, name), ())
        return tuple(o for route in sorted(routes) for o in self.origins.get((type_url, name, route), ()))


class ScriptMemory:
    """The newest rejected version of each (node, type, name)."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str, str], str] = {}

    def is_rejected(self, node_id: str, type_url: str, name: str, version: str) -> bool:
        return self.versions.get((node_id, type_url, name)) == version

    def reject(self, node_id: str, type_url: str, name: str, version: str) -> None:
        self.versions[node_id, type_url, name] = version

    def forgive(self, node_id: str, type_url: str, name: str) -> None:
        self.versions.pop((node_id, type_url, name), None)


class Bench:
    """A server without a network. `now` is the clock."""

    def __init__(self, *resources: Resource) -> None:
        self.provider = ScriptProvider(*resources)
        self.memory = ScriptMemory()
        self.rejections = Rejections(self.memory, self.provider)
        self.counters = Counters()
        self.now = 100.0
        self._set = ResourceSet(self.provider.resources)
        self._clients: list[ScriptClient] = []

    def restart(self) -> None:
        """A new process, with the same memory."""
        self.rejections = Rejections(self.memory, self.provider)
        self._clients.clear()

    def delta(self, node: str = "n1") -> "DeltaClient":
        session = DeltaSession(node, self._set, self.rejections, self.counters, self.now)
        client = DeltaClient(self, session)
        self._clients.append(client)
        return client

    def sotw(self, node: str = "n1") -> "SotwClient":
        session = SotwSession(node, self._set, self.rejections, self.counters, self.now)
        client = SotwClient(self, session)
        self._clients.append(client)
        return client

    def set(self, *resources: Resource) -> None:
        """Change what everybody gets, and tell the connected."""
        self.provider.set(*resources)
        self._set = ResourceSet(self.provider.resources)
        for client in self._clients:
            client.receive(client.session.on_change(self._set, self.now))

    def pass_time(self, seconds: float) -> None:
        """Later, the wakes that come due are taken."""
        end = self.now + seconds
        while due := [at for c in self._clients if (at := c.session.wake_at(self.now)) is not None and at <= end]:
            self.now = min(due)
            for client in self._clients:
                client.receive(client.session.flush(self.now))
        self.now = end


class ScriptClient:
    """`inbox` are the responses that were not taken yet; `have` what the client acknowledged, by type and name."""

    session: DeltaSession | SotwSession

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.inbox: list[Response] = []

    def receive(self, responses: Iterable[Response]) -> None:
        self.inbox.extend(responses)

    def take(self) -> Response:
        """The one response that is there."""
        assert len(self.inbox) == 1, self.inbox
        return self.inbox.pop()

    def told(self) -> list[str]:
        """What came, in short, and take it: `CDS a b -c`."""
        lines = [short(response) for response in self.inbox]
        self.inbox.clear()
        return lines


class DeltaClient(ScriptClient):
    """Writes DeltaDiscoveryRequests."""

    def __init__(self, bench: Bench, session: DeltaSession) -> None:
        super().__init__(bench)
        self.session: DeltaSession = session

    def send(self, type_url: str, nonce: str = "", error: str | None = None, **fields: Any) -> None:
        renamed = {"sub": "resource_names_subscribe", "unsub": "resource_names_unsubscribe"}
        request = DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce)
        for key, value in fields.items():
            name = renamed.get(key, "initial_resource_versions")
            getattr(request, name).update(value) if isinstance(value, dict) else getattr(request, name).extend(value)
        if error is not None:
            request.error_detail.code, request.error_detail.message = 13, error
        self.receive(self.session.on_request(request, self.bench.now))

    def ack(self, response: Response, **fields: Any) -> None:
        self.send(response.type_url, response.nonce, **fields)

    def nack(self, response: Response, error: str = "no", **fields: Any) -> None:
        self.send(response.type_url, response.nonce, error, **fields)

    def settle(self) -> list[str]:
        """Acknowledge all that comes, until nothing does; what came."""
        lines = []
        while self.inbox:
            response = self.inbox.pop(0)
            lines.append(short(response))
            self.ack(response)
        return lines


class SotwClient(ScriptClient):
    """Writes DiscoveryRequests; remembers names and version of each type, as real clients do."""

    def __init__(self, bench: Bench, session: SotwSession) -> None:
        super().__init__(bench)
        self.session: SotwSession = session
        self.names: dict[str, list[str]] = {}
        self.versions: dict[str, str] = {}

    def send(
        self, type_url: str, names: Iterable[str] | None = None, nonce: str = "", error: str | None = None
    ) -> None:
        if names is not None:
            self.names[type_url] = list(names)
        request = DiscoveryRequest(
            type_url=type_url,
            resource_names=self.names.setdefault(type_url, []),
            response_nonce=nonce,
            version_info=self.versions.get(type_url, ""),
        )
        if error is not None:
            request.error_detail.code, request.error_detail.message = 13, error
        self.receive(self.session.on_request(request, self.bench.now))

    def ack(self, response: Response, names: Iterable[str] | None = None) -> None:
        self.versions[response.type_url] = response.version
        self.send(response.type_url, names, response.nonce)

    def nack(self, response: Response, error: str = "no") -> None:
        self.send(response.type_url, None, response.nonce, error)

    def settle(self) -> list[str]:
        """Acknowledge all that comes, until nothing does; what came."""
        lines = []
        while self.inbox:
            response = self.inbox.pop(0)
            lines.append(short(response))
            self.ack(response)
        return lines


def short(response: Response) -> str:
    """`CDS a b -c`."""
    kind = {CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS", ROUTES: "RDS"}.get(response.type_url, "?")
    return " ".join([kind, *sorted(r.name for r in response.resources), *(f"-{n}" for n in response.removed)])
