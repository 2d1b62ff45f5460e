"""A small ADS server that shares nothing with ours, and a strict one: each request is held against the protocol.

It speaks both variants, in the threads of gRPC's synchronous server. `put` and `remove` change what it has, `push`
sends what changed, in the order CDS, EDS, LDS, RDS; `inject` sends a response as it stands. `violations` collects
what a client did that the xDS protocol does not allow (docs of Envoy, "xDS REST and gRPC protocol").
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from envoy.service.discovery.v3.ads_pb2_grpc import (
    AggregatedDiscoveryServiceServicer,
    add_AggregatedDiscoveryServiceServicer_to_server,
)
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse, Resource
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message

PREFIX = "type.googleapis.com/"
CDS = f"{PREFIX}envoy.config.cluster.v3.Cluster"
EDS = f"{PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = f"{PREFIX}envoy.config.listener.v3.Listener"
RDS = f"{PREFIX}envoy.config.route.v3.RouteConfiguration"
ORDER = (CDS, EDS, LDS, RDS)
WILDCARD = (CDS, LDS)
PUSH = object()


def pack(message: Message) -> Packed:
    packed = Packed()
    packed.Pack(message)
    return packed


def name_of(message: Any) -> str:
    return message.cluster_name if hasattr(message, "cluster_name") else message.name


class IndependentAds:
    """`with IndependentAds() as ads`: listens on `ads.port`. `stop` and `start` keep the port and the resources."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.port = 0
        self._credentials = credentials
        self.world: dict[str, dict[str, tuple[str, Packed]]] = {type_url: {} for type_url in ORDER}
        self.violations: list[str] = []
        self.requests: list[Any] = []
        self.streams: list[_Stream] = []
        self.accepted: list[tuple[str, str]] = []
        self.rejected: list[tuple[str, str]] = []
        self.times: list[float] = []
        self.counter = 0
        self.lock = threading.Lock()
        self._server: grpc.Server | None = None

    def __enter__(self) -> "IndependentAds":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        add_AggregatedDiscoveryServiceServicer_to_server(_Service(self), self._server)
        if self._credentials is None:
            self.port = self._server.add_insecure_port(self.address)
        else:
            self.port = self._server.add_secure_port(self.address, self._credentials)
        self._server.start()

    def stop(self) -> None:
        """Cut every stream, as a killed process does."""
        if self._server is not None:
            for stream in self.streams:
                stream.inbox.put(None)
            self._server.stop(None).wait()
            self._server = None

    def put(self, *messages: Message) -> None:
        """Have these, each with a new version; nothing is sent before `push`."""
        with self.lock:
            for message in messages:
                packed = pack(message)
                self.counter += 1
                self.world[packed.type_url][name_of(message)] = (f"v{self.counter}", packed)

    def remove(self, type_url: str, name: str) -> None:
        with self.lock:
            del self.world[type_url][name]

    def push(self) -> None:
        """Send what changed to all streams."""
        for stream in self.streams:
            stream.inbox.put(PUSH)

    def inject(self, response: Any) -> None:
        """Send this on every stream, whatever it is; it gets a nonce."""
        for stream in self.streams:
            stream.inbox.put(response)

    def version(self, type_url: str, name: str) -> str:
        return self.world[type_url][name][0]

    def nonces_left(self) -> int:
        """Responses of streams that live and that were not answered yet."""
        return sum(len(stream.open) for stream in self.streams if stream.alive)


class _Service(AggregatedDiscoveryServiceServicer):
    def __init__(self, ads: IndependentAds) -> None:
        self._ads = ads

    def DeltaAggregatedResources(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        return _DeltaStream(self._ads).run(request_iterator, context)

    def StreamAggregatedResources(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        return _SotwStream(self._ads).run(request_iterator, context)


class _Stream:
    """What both variants share: the inbox, nonces, and the invariants of each request."""

    def __init__(self, ads: IndependentAds) -> None:
        self.ads = ads
        self.inbox: queue.Queue[Any] = queue.Queue()
        self.sent: dict[str, str] = {}
        self.open: dict[str, str] = {}
        self.types: set[str] = set()
        self.settled: set[str] = set()
        self.alive = True
        self.number = len(ads.streams)
        ads.streams.append(self)

    def run(self, requests: Any, context: Any) -> Iterator[Any]:
        def read() -> None:
            try:
                for request in requests:
                    self.inbox.put(request)
            except Exception:  # gRPC raises its base class when the client has gone
                self.alive = False
            self.inbox.put(None)

        threading.Thread(target=read, daemon=True).start()
        try:
            while (item := self.inbox.get()) is not None:
                with self.ads.lock:
                    yield from self.answer(item)
        finally:
            self.alive = False

    def answer(self, item: Any) -> list[Any]:
        if item is PUSH:
            return self.changes()
        if item.DESCRIPTOR.name.endswith("Response"):
            return [self.register(item)]
        self.check(item)
        return self.on_request(item)

    def register(self, response: Any) -> Any:
        nonce = f"{self.number}-{len(self.sent)}"
        response.nonce = nonce
        self.sent[nonce] = self.open[nonce] = response.type_url
        return response

    def check(self, request: Any) -> None:
        """The rules that both variants share."""
        first = not self.types
        if first:
            self.must(bool(request.node.id), "the first request tells the node")
        self.must(request.type_url in ORDER, f"{request.type_url} is a type that a client asks for")
        nonce = request.response_nonce
        if request.type_url not in self.types:
            self.must(not nonce, "the first request of a type has no nonce")
            self.must(not request.HasField("error_detail"), "the first request of a type rejects nothing")
        if nonce:
            self.must(self.sent.get(nonce) == request.type_url, f"nonce {nonce} was sent for {request.type_url}")
        self.ads.requests.append(request)
        self.types.add(request.type_url)

    def settle(self, request: Any) -> str:
        """Count an ACK or NACK; its nonce if this is one."""
        nonce = request.response_nonce
        if self.open.pop(nonce, None) is None:
            return ""
        self.settled.add(request.type_url)
        if request.HasField("error_detail"):
            self.must(bool(request.error_detail.message), "a NACK says why")
            self.must(request.error_detail.code != 0, "a NACK has a code")
            self.ads.times.append(time.monotonic())
            self.ads.rejected.append((request.type_url, request.error_detail.message))
        else:
            self.ads.accepted.append((request.type_url, nonce))
        return nonce

    def must(self, holds: bool, rule: str) -> None:
        if not holds:
            self.ads.violations.append(rule)

    changes: Callable[[], list[Any]]
    on_request: Callable[[Any], list[Any]]


class _DeltaStream(_Stream):
    def __init__(self, ads: IndependentAds) -> None:
        super().__init__(ads)
        self.known: dict[str, dict[str, str]] = {type_url: {} for type_url in ORDER}
        self.names: dict[str, set[str]] = {type_url: set() for type_url in ORDER}

    def check(self, request: Any) -> None:
        new = request.type_url not in self.types
        super().check(request)
        subscribe, unsubscribe = set(request.resource_names_subscribe), set(request.resource_names_unsubscribe)
        names = self.names[request.type_url]
        if request.type_url in WILDCARD:
            self.must(not subscribe | unsubscribe, "wildcard types name nothing")
        elif new:
            self.must(bool(subscribe), "a first request without names would be a wildcard")
        if not new:
            self.must(not request.initial_resource_versions, "versions are told in the first request of a type")
        self.must(unsubscribe <= names, "only what is subscribed is unsubscribed")
        self.must(not subscribe & names, "what is subscribed is not subscribed again")
        if not request.response_nonce:
            self.must(not request.HasField("error_detail"), "a NACK has a nonce")

    def on_request(self, request: Any) -> list[Any]:
        type_url = request.type_url
        self.settle(request)
        new = set(request.resource_names_subscribe)
        self.names[type_url] = (self.names[type_url] | new) - set(request.resource_names_unsubscribe)
        for name in request.resource_names_unsubscribe:
            self.known[type_url].pop(name, None)
        self.known[type_url] |= dict(request.initial_resource_versions)
        if request.response_nonce:
            return []
        # Who asks is answered, even with nothing.
        return self.differences(type_url, force=bool(new) or type_url in WILDCARD)

    def changes(self) -> list[Any]:
        return [response for type_url in ORDER if type_url in self.types for response in self.differences(type_url)]

    def differences(self, type_url: str, force: bool = False) -> list[Any]:
        world, known = self.ads.world[type_url], self.known[type_url]
        names = set(world) if type_url in WILDCARD else self.names[type_url] & set(world)
        changed = [name for name in sorted(names) if known.get(name) != world[name][0]]
        gone = sorted(known.keys() - names)
        if not (changed or gone or force):
            return []
        response = DeltaDiscoveryResponse(type_url=type_url, removed_resources=gone)
        for name in changed:
            known[name] = world[name][0]
            response.resources.append(Resource(name=name, version=world[name][0], resource=world[name][1]))
        for name in gone:
            del known[name]
        return [self.register(response)]


class _SotwStream(_Stream):
    def __init__(self, ads: IndependentAds) -> None:
        super().__init__(ads)
        self.names: dict[str, list[str]] = {type_url: [] for type_url in ORDER}
        self.versions: dict[str, str] = {}
        self.acked: dict[str, str | None] = {}
        self.told: dict[str, Any] = {}

    def check(self, request: Any) -> None:
        new = request.type_url not in self.types
        super().check(request)
        if request.type_url in WILDCARD:
            self.must(not request.resource_names, "wildcard types name nothing")
        elif new:
            self.must(bool(request.resource_names), "a first request without names would be a wildcard")
        if new:
            # What it had before the stream.
            self.acked[request.type_url] = request.version_info
        elif request.response_nonce in self.open and not request.HasField("error_detail"):
            wanted = self.versions[request.response_nonce]
            self.must(request.version_info == wanted, "an ACK has the version of the response")
            self.acked[request.type_url] = wanted
        else:
            self.must(request.version_info == self.acked[request.type_url], "it tells the last accepted version")
            self.must(bool(request.response_nonce) or request.type_url not in self.settled, "after an ACK: a nonce")

    def register(self, response: Any) -> Any:
        super().register(response)
        self.versions[response.nonce] = response.version_info
        return response

    def on_request(self, request: Any) -> list[Any]:
        type_url, names = request.type_url, sorted(request.resource_names)
        answered = self.settle(request)
        changed = names != self.names[type_url]
        self.names[type_url] = names
        if type_url in self.told and (answered or not changed) and not changed:
            return []
        if changed and not names:
            return []
        return self.state(type_url)

    def changes(self) -> list[Any]:
        return [
            response
            for type_url in ORDER
            if type_url in self.types and self.told.get(type_url) != self.present(type_url)
            for response in self.state(type_url)
        ]

    def present(self, type_url: str) -> dict[str, tuple[str, Packed]]:
        world = self.ads.world[type_url]
        return dict(world) if type_url in WILDCARD else {n: world[n] for n in self.names[type_url] if n in world}

    def state(self, type_url: str) -> list[Any]:
        present = self.told[type_url] = self.present(type_url)
        if type_url not in WILDCARD and not present:
            return []
        self.ads.counter += 1
        version = f"w{self.ads.counter}"
        packed = [packed for _, packed in present.values()]
        return [self.register(DiscoveryResponse(type_url=type_url, version_info=version, resources=packed))]
