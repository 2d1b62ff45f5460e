"""Simulated proxies: delta ADS clients in one process, as light as they can be. Run as a script by `fleet.py`.

Each has a connection of its own, subscribes, acknowledges whatever comes, and keeps note of it; nothing is translated
or checked. A client that names no clusters wants everything, as a sidecar does: CDS and LDS by wildcard, then the
routes of each listener and the endpoints of each cluster. One that names some takes these, as a gRPC client does.

It talks in lines of JSON. The first on standard input names the clients, each with the clusters it wants (none: all).
On standard output, when all have acknowledged what they asked for: `{"ready": true}`. From then on `{"expect": N}` asks
for what comes: once N responses were acknowledged, or at once if that is 0, the answer is `{"pushes": [[client, type,
[names], bytes], …], "last": SECONDS}`, the time of the last ACK by the system's monotonic clock; then they are
forgotten.
"""

import asyncio
import json
import sys
from typing import Any

import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_PREFIX = "type.googleapis.com/envoy.config."
CLUSTER = f"{_PREFIX}cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_PREFIX}listener.v3.Listener"
ROUTES = f"{_PREFIX}route.v3.RouteConfiguration"

OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
)
CHILDREN = {CLUSTER: ENDPOINTS, LISTENER: ROUTES}
"""In our control plane's resources, children have the names of their parents."""


class Notes:
    """What came to all clients of the process."""

    def __init__(self, clients: int) -> None:
        self._loading = clients
        self._expected: int | None = None
        self._pushes: list[tuple[int, str, list[str], int]] = []
        self._last = 0.0

    def on_ready(self) -> None:
        """A client has all that it asked for."""
        self._loading -= 1
        if not self._loading:
            self._pushes.clear()
            _say(ready=True)

    def on_push(self, client: int, message: DeltaDiscoveryResponse, now: float) -> None:
        """A response was acknowledged."""
        names = [*(r.name for r in message.resources), *message.removed_resources]
        self._pushes.append((client, message.type_url.rpartition(".")[2], names, message.ByteSize()))
        self._last = now
        self._tell()

    def expect(self, count: int) -> None:
        """Tell what came once it is so much."""
        self._expected = count
        self._tell()

    def _tell(self) -> None:
        if self._expected is not None and len(self._pushes) >= self._expected:
            _say(pushes=self._pushes, last=self._last)
            self._expected = None
            self._pushes.clear()


class Client:
    """One simulated proxy; `names` are the clusters it wants, none for all."""

    def __init__(self, number: int, names: list[str], notes: Notes) -> None:
        self._number = number
        self._names = names
        self._notes = notes
        self._waits = {CLUSTER, ENDPOINTS} if names else {CLUSTER, ENDPOINTS, LISTENER, ROUTES}

    async def run(self, address: str) -> None:
        """Until it is cancelled."""
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            call = channel.stream_stream(
                METHOD, DeltaDiscoveryRequest.SerializeToString, DeltaDiscoveryResponse.FromString
            )()
            first = DeltaDiscoveryRequest(type_url=CLUSTER, resource_names_subscribe=self._names)
            first.node.id = f"client-{self._number}"
            await call.write(first)
            if not self._names:
                await call.write(DeltaDiscoveryRequest(type_url=LISTENER))
            async for message in call:
                await self._take(call, message)

    async def _take(self, call: Any, message: DeltaDiscoveryResponse) -> None:
        kind = message.type_url
        await call.write(DeltaDiscoveryRequest(type_url=kind, response_nonce=message.nonce))
        if kind in self._waits:
            self._waits.discard(kind)
            if kind in CHILDREN:
                names = [resource.name for resource in message.resources]
                await call.write(DeltaDiscoveryRequest(type_url=CHILDREN[kind], resource_names_subscribe=names))
            if not self._waits:
                self._notes.on_ready()
            return
        self._notes.on_push(self._number, message, asyncio.get_running_loop().time())


async def _serve(address: str) -> None:
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    clients: dict[str, list[str]] = json.loads(await reader.readline())
    notes = Notes(len(clients))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(Client(int(n), names, notes).run(address)) for n, names in clients.items()]
        while line := await reader.readline():
            notes.expect(json.loads(line)["expect"])
        for task in tasks:
            task.cancel()


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
