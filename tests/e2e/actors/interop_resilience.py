"""Envoy and `turnout proxy` on one control plane, with replicas behind them that do to each request what a test says.

What is different between what comes of a request is different between the two. What Envoy is told passes a relay, which
asks for two things more: a line in an access log, and the `x-envoy-…` fields that our control plane switches off.
"""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import grpc.aio
import yaml
from actors.control_plane import ControlPlane
from actors.envoy import Envoy
from actors.interop import read_bootstrap
from actors.interop_documents import DATA_PLANES, MARKER_HOST, DataPlane, spread
from actors.proxy import until
from actors.replica import Handler, Replica, answer
from actors.wire import PATIENCE_S, Message, Wire, connect
from actors.xds_proxy import XdsProxy
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3 import ads_pb2_grpc
from free_ports import free_port

from turnout.xds.resources import LISTENER

ENVOY, TURNOUT = DATA_PLANES[0], DATA_PLANES[2]
PLANES = (ENVOY, TURNOUT)
LOG_FORMAT = "%REQ(X-REQUEST-ID)% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"
FLUSH_BYTES = 65_536
"""Envoy writes its log when there is more than this, or after 10 s: so each line is as long."""


class Asked(NamedTuple):
    """A request: its method and target, where it is for, and what it has beside."""

    start: str
    host: str
    fields: tuple[str, ...] = ()
    body: bytes = b""

    def data(self, request_id: str) -> bytes:
        lines = [f"{self.start} HTTP/1.1", f"Host: {self.host}", f"x-request-id: {request_id}", *self.fields]
        lines += [f"Content-Length: {len(self.body)}"] if self.body or not self.start.startswith("GET") else []
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Outcome(NamedTuple):
    """What came of it. `status` 0: no answer. `requests` are what replicas got; `flags` and `logged`, the number of
    attempts, are the access log's."""

    status: int
    requests: tuple[Message, ...]
    flags: frozenset[str]
    logged: int
    took_s: float
    message: Message | None

    @property
    def numbers(self) -> tuple[str | None, ...]:
        """Which attempt each of the requests was said to be."""
        return tuple(request.get("x-envoy-attempt-count") for request in self.requests)

    @property
    def overloaded(self) -> bool:
        return self.message is not None and self.message.get("x-envoy-overloaded") == "true"

    @property
    def who(self) -> str:
        """Who answered; or the status, if that is not 200."""
        return self.message.body.decode() if self.message and self.status == 200 else str(self.status)


class Relay(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Between Envoy and its control plane: all is handed on, and listeners are watched from then on."""

    def __init__(self, control_plane: str, access_log: Path) -> None:
        self._control_plane = control_plane
        self._access_log = access_log
        self._server = grpc.aio.server()
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    async def start(self) -> None:
        await self._server.start()

    async def close(self) -> None:
        await self._server.stop(None)

    async def StreamAggregatedResources(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async with grpc.aio.insecure_channel(self._control_plane) as channel:
            stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
            async for response in stub.StreamAggregatedResources(requests):
                if response.type_url == LISTENER:
                    for resource in response.resources:
                        self._watch(resource)
                yield response

    def _watch(self, resource: Any) -> None:
        listener, manager, router = Listener(), HttpConnectionManager(), Router()
        resource.Unpack(listener)
        packed = listener.filter_chains[0].filters[0].typed_config
        packed.Unpack(manager)
        log = FileAccessLog(path=str(self._access_log))
        log.log_format.text_format_source.inline_string = f"{LOG_FORMAT}{' ' * FLUSH_BYTES}\n"
        entry = AccessLog(name="envoy.access_loggers.file")
        entry.typed_config.Pack(log)
        manager.access_log.append(entry)
        manager.http_filters[-1].typed_config.Unpack(router)
        router.suppress_envoy_headers = False
        manager.http_filters[-1].typed_config.Pack(router)
        packed.Pack(manager, deterministic=True)
        resource.Pack(listener, deterministic=True)


class Pair:
    """All of it. The replica at port N of the documents is `replicas[N]`; what its health check is answered is
    `health[N]`, and `always[N]` what it answers to requests of which nothing else is said."""

    def __init__(self, folder: Path) -> None:
        self.control = ControlPlane(folder / "control", "--debounce", "20ms")
        self.port = free_port(ENVOY.address)
        self.replicas: dict[int, Replica] = {}
        self.health: dict[int, Handler] = {}
        self.always: dict[int, Handler] = {}
        self._folder = folder
        self._closing = contextlib.AsyncExitStack()
        self._envoy_log = folder / "envoy.access.log"
        self._envoy_read = 0
        self._envoy_lines: dict[str, tuple[frozenset[str], int]] = {}
        self._scripts: dict[str, list[Handler]] = {}
        self._ids = map("request-{}".format, itertools.count(1))

    async def start(self, documents: str) -> None:
        """Wait until both serve these documents."""
        loaded = yaml.safe_dump_all(spread([d for d in yaml.safe_load_all(documents) if d], 0, PLANES))
        for number in sorted({int(port) for port in re.findall(r"\bport: (9\d\d\d)\b", loaded)}):
            replica = self.replicas[number] = Replica(str(number))
            replica.handler = self._make_handler(number)
            await self._closing.enter_async_context(replica)
            loaded = re.sub(rf"\bport: {number}\b", f"port: {replica.port}", loaded)
        self.control.write(re.sub(r"\bport: 8080\b", f"port: {self.port}", loaded))
        self._closing.callback(self.control.close)
        self.control.start()
        await self.control.ready()
        self.relay = Relay(self.control.xds, self._envoy_log)
        await self.relay.start()
        self._closing.push_async_callback(self.relay.close)
        self.envoy = Envoy(self._folder / "envoy", read_bootstrap(self.relay.port, ENVOY.name))
        self._closing.callback(self.envoy.close)
        self.proxy = XdsProxy(
            self._folder / "turnout", self.control.xds,
            "--node-id", TURNOUT.name, "--node-metadata", f"plane={TURNOUT.name}",
        )  # fmt: skip
        self._closing.callback(self.proxy.close)
        self._places = {ENVOY: (self.port, ENVOY.address), TURNOUT: (self.proxy.port, self.proxy.host)}
        for plane in PLANES:
            await until(lambda plane=plane: self._is_served(plane))
        await until(lambda: not self.envoy.count("cluster_manager.warming_clusters"))

    async def close(self) -> None:
        await self._closing.aclose()

    async def _is_served(self, plane: DataPlane) -> bool:
        try:
            wire = await connect(*self._places[plane])
            await wire.send(Asked("GET /", MARKER_HOST).data("marker"))
            message = await wire.read_response()
            wire.close()
        except (OSError, asyncio.IncompleteReadError):
            return False
        return message.status == 302

    # The replicas' side

    def _make_handler(self, number: int) -> Handler:
        well = answer(body=str(number).encode())

        async def handle(wire: Wire, request: Message) -> None:
            if request.target == "/health":
                self.replicas[number].requests.remove(request)
                await self.health.get(number, well)(wire, request)
                return
            script = self._scripts.get(request.get("x-request-id") or "")
            await (script.pop(0) if script else self.always.get(number, well))(wire, request)

        return handle

    def requests_of(self, request_id: str) -> tuple[Message, ...]:
        """What replicas got of it, in its order."""
        found = [
            r for replica in self.replicas.values() for r in replica.requests if r.get("x-request-id") == request_id
        ]
        return tuple(sorted(found, key=lambda message: message.get("x-envoy-attempt-count") or ""))

    # The client's side

    async def ask(self, plane: DataPlane, asked: Asked, script: Iterable[Handler] = ()) -> Outcome:
        """One request on a connection of its own; `script` is what happens to its attempts, wherever they come."""
        return await self.begin(plane, asked, script)[1]

    def begin(
        self, plane: DataPlane, asked: Asked, script: Iterable[Handler] = (), patience_s: float = PATIENCE_S
    ) -> tuple[str, "asyncio.Task[Outcome]"]:
        """The same, not waited for: its id. With less patience the client leaves."""
        request_id = next(self._ids)
        self._scripts[request_id] = list(script)
        return request_id, asyncio.create_task(self._ask(plane, asked, request_id, patience_s))

    async def who(self, plane: DataPlane, asked: Asked) -> str:
        """Who answers; or the status, if that is not 200."""
        return (await self._send(plane, asked, next(self._ids), PATIENCE_S)).who

    async def _ask(self, plane: DataPlane, asked: Asked, request_id: str, patience_s: float) -> Outcome:
        outcome = await self._send(plane, asked, request_id, patience_s)
        flags, logged = await self.logged(plane, request_id)
        return outcome._replace(requests=self.requests_of(request_id), flags=flags, logged=logged)

    async def _send(self, plane: DataPlane, asked: Asked, request_id: str, patience_s: float) -> Outcome:
        """What the client sees of it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        message = None
        wire = await connect(*self._places[plane])
        try:
            async with asyncio.timeout(patience_s):
                await wire.send(asked.data(request_id))
                message = await wire.read_head()
                if length := message.get("content-length"):
                    message.body = await wire.reader.read(int(length))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # there is no more than what came
        took_s = loop.time() - began
        wire.close()
        return Outcome(0 if message is None else message.status, (), frozenset(), 0, took_s, message)

    async def logged(self, plane: DataPlane, request_id: str) -> tuple[frozenset[str], int]:
        """The flags and the attempts of a request in the access log, as soon as it is there."""
        if plane == TURNOUT:
            (line,) = await self.proxy.access(1, request_id=request_id)
            return frozenset({line["flag"]}), line["attempts"]
        return await until(lambda: self._read_envoys().get(request_id))

    def _read_envoys(self) -> dict[str, tuple[frozenset[str], int]]:
        """Read on in Envoy's access log; all that was read."""
        if self._envoy_log.exists():
            with self._envoy_log.open("rb") as file:
                file.seek(self._envoy_read)
                *lines, rest = file.read().split(b"\n")
                self._envoy_read = file.tell() - len(rest)
            for line in lines:
                request_id, flags, attempts = line.decode().split()
                self._envoy_lines[request_id] = frozenset(flags.split(",")), int(attempts)
        return self._envoy_lines

    # What they say of themselves

    async def ejections(self, plane: DataPlane, predictor: str) -> int:
        """How often an endpoint of a predictor was ejected."""
        if plane == ENVOY:
            name = f"cluster.default/{predictor}.outlier_detection.ejections_enforced_total"
            return await asyncio.to_thread(self.envoy.count, name)
        events = (await self.proxy.json("/events"))["events"]
        return sum((event["what"], event["predictor"]) == ("ejected", f"default/{predictor}") for event in events)

    async def healthy(self, plane: DataPlane, predictor: str) -> int:
        """How many of its endpoints are well."""
        if plane == ENVOY:
            return await asyncio.to_thread(self.envoy.count, f"cluster.default/{predictor}.membership_healthy")
        return sum(endpoint["state"] == "AVAILABLE" for endpoint in (await self._cluster(predictor))["endpoints"])

    async def pending(self, plane: DataPlane, predictor: str) -> int:
        """How many requests wait for a connection, or in its queue."""
        if plane == ENVOY:
            name = f"cluster.default/{predictor}.upstream_rq_pending_active"
            return await asyncio.to_thread(self.envoy.count, name)
        return int((await self._cluster(predictor))["limits"]["pending_requests"]["used"])

    async def _cluster(self, predictor: str) -> Any:
        clusters = (await self.proxy.json("/clusters"))["clusters"]
        return next(cluster for cluster in clusters if cluster["name"].endswith(f"/{predictor}"))
