"""The ADS server on a real gRPC channel of loopback, with the stubs of xds-protos as clients."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from ads_script import ScriptMemory, ScriptProvider, cluster, endpoints
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from envoy.service.status.v3.csds_pb2 import ClientStatusRequest, ConfigStatus
from envoy.service.status.v3.csds_pb2_grpc import ClientStatusDiscoveryServiceStub
from grpc._cython import cygrpc

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, Resources
from turnout.xds.server import service
from turnout.xds.server.node import Node
from turnout.xds.server.service import SERVER_OPTIONS, AdsServer
from turnout.xds.server.stream import write_message

A, B = cluster("a"), cluster("b")


class Running:
    """A server, and a channel to it."""

    def __init__(self, server: AdsServer, provider: ScriptProvider, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.provider = provider
        self.channel = channel

    def set(self, *resources: Any) -> None:
        self.provider.set(*resources)
        self.server.on_change()

    def delta(self) -> Any:
        return AggregatedDiscoveryServiceStub(self.channel).DeltaAggregatedResources()

    def sotw(self) -> Any:
        return AggregatedDiscoveryServiceStub(self.channel).StreamAggregatedResources()

    async def subscribe(self, node_id: str = "n1", type_url: str = CLUSTER) -> Any:
        """A delta stream with a wildcard, whose first response was acknowledged."""
        call = self.delta()
        request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=["*"])
        request.node.id = node_id
        await call.write(request)
        await acknowledge(call)
        return call


async def acknowledge(call: Any) -> Any:
    """Take a delta response; say so; what it was."""
    response = await call.read()
    assert response is not grpc.aio.EOF
    await call.write(DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))
    return response


async def until(condition: Any) -> None:
    """Wait for the server to have come so far."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    provider = ScriptProvider(A)
    ads = AdsServer(provider, ScriptMemory())
    server = grpc.aio.server(options=SERVER_OPTIONS)
    ads.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Running(ads, provider, channel)
    await server.stop(None)


async def test_a_delta_client_is_told_and_told_again(running: Running) -> None:
    call = await running.subscribe()
    running.set(A, B)
    response = await acknowledge(call)
    assert [(r.name, r.resource.value) for r in response.resources] == [("b", B.body)]
    running.set(A)
    await until(lambda: running.server.statuses()[0].types[0].resources == 2)
    assert list((await acknowledge(call)).removed_resources) == ["b"]


async def test_a_state_of_the_world_client_is_told_and_told_again(running: Running) -> None:
    call = running.sotw()
    request = DiscoveryRequest(type_url=CLUSTER)
    request.node.id = "n1"
    await call.write(request)
    first = await call.read()
    assert [r.value for r in first.resources] == [A.body]
    await call.write(DiscoveryRequest(type_url=CLUSTER, response_nonce=first.nonce, version_info=first.version_info))
    running.set(A, B)
    second = await call.read()
    assert [r.value for r in second.resources] == [A.body, B.body]
    assert second.version_info != first.version_info


async def test_the_status_says_who_has_what_and_csds_says_the_same(running: Running) -> None:
    call = await running.subscribe("iris-1")
    await until(lambda: running.server.statuses()[0].types[0].state == "SYNCED")
    running.set(cluster("a", 0))
    response = await call.read()
    nack = DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=response.nonce)
    nack.error_detail.message = "cluster a: connect_timeout"
    await call.write(nack)
    await until(lambda: running.server.statuses()[0].types[0].state == "ERROR")
    (status,) = running.server.statuses()
    assert (status.node.id, status.variant, status.types[0].suspects[0].name) == ("iris-1", "delta", "a")
    csds = ClientStatusDiscoveryServiceStub(running.channel)
    answer = await csds.FetchClientStatus(ClientStatusRequest())
    assert [(c.node.id, c.xds_config[0].status) for c in answer.config] == [("iris-1", ConfigStatus.ERROR)]
    stream = csds.StreamClientStatus()
    request = ClientStatusRequest()
    request.node_matchers.add().node_id.exact = "other"
    await stream.write(request)
    assert list((await stream.read()).config) == []
    request.node_matchers.add().node_id.prefix = "iris"
    await stream.write(request)
    assert len((await stream.read()).config) == 1
    stream.cancel()
    call.cancel()
    await until(lambda: running.server.statuses() == [])


async def test_a_matcher_that_csds_does_not_know_is_refused(running: Running) -> None:
    request = ClientStatusRequest()
    request.node_matchers.add().node_id.safe_regex.regex = ".*"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ClientStatusDiscoveryServiceStub(running.channel).FetchClientStatus(request)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_bad_request_ends_its_stream_and_no_other(running: Running) -> None:
    good = await running.subscribe("good")
    bad = running.delta()
    await bad.write(DeltaDiscoveryRequest(type_url=""))
    assert await bad.code() == grpc.StatusCode.INVALID_ARGUMENT
    running.set(B)
    assert [r.name for r in (await acknowledge(good)).resources] == ["b"]
    assert running.server.connected == 1


async def test_bytes_that_are_no_message_end_their_stream_and_no_other(running: Running) -> None:
    good = await running.subscribe("good")
    path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
    raw: Any = running.channel.stream_stream(path)
    call = raw()
    await call.write(b"\xff\xff\xff\xff")
    assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
    running.set(B)
    assert [r.name for r in (await acknowledge(good)).resources] == ["b"]


async def test_a_stream_that_ends_is_forgotten(running: Running) -> None:
    call = await running.subscribe()
    await until(lambda: running.server.connected == 1)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    await until(lambda: running.server.connected == 0)
    silent = running.delta()
    await silent.done_writing()
    assert await silent.read() is grpc.aio.EOF


async def test_a_server_that_ends_tells_its_clients_to_come_back(running: Running, caplog) -> None:
    calls = [await running.subscribe(), await running.subscribe("other", ENDPOINTS)]
    await until(lambda: running.server.connected == 2)
    running.server.end()
    for call in calls:
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert await call.details() == "the control plane ends"
    await until(lambda: running.server.connected == 0)
    assert caplog.text == ""


async def test_a_client_that_does_not_read_is_not_queued_for(running: Running) -> None:
    slow = await running.subscribe("slow", ENDPOINTS)
    await until(lambda: running.server.counters.acks["EDS"] == 1)
    pushes = running.server.counters.pushes["EDS"]
    quick = await running.subscribe("quick", CLUSTER)
    for port in range(1, 51):
        running.set(cluster("a", port), endpoints("a", port))
        names = [r.resource.value for r in (await acknowledge(quick)).resources]
        assert names == [cluster("a", port).body]
    assert running.server.counters.pushes["EDS"] - pushes <= 1
    assert (await acknowledge(slow)).resources[0].resource.value == endpoints("a", 1).body
    assert (await acknowledge(slow)).resources[0].resource.value == endpoints("a", 50).body


async def test_the_time_until_all_have_answered_is_measured(running: Running) -> None:
    calls = [await running.subscribe(f"n{i}") for i in range(3)]
    await until(lambda: running.server.counters.acks["CDS"] == 3)
    running.set(A, B)
    for call in calls[:2]:
        await acknowledge(call)
    await until(lambda: running.server.counters.acks["CDS"] == 5)
    assert sum(running.server.counters.convergence.counts) == 0
    await acknowledge(calls[2])
    await until(lambda: sum(running.server.counters.convergence.counts) == 1)
    assert running.server.counters.pushes["CDS"] == 6
    assert running.server.counters.bytes["CDS"] > 6 * len(B.body)


async def test_a_change_of_another_type_is_nothing_to_a_client(running: Running) -> None:
    await running.subscribe("n1", LISTENER)
    await until(lambda: running.server.counters.acks["LDS"] == 1)
    running.set(A, B, endpoints("b", 1))
    quick = await running.subscribe("n2", CLUSTER)
    await until(lambda: running.server.counters.acks["CDS"] == 1)
    assert running.server.counters.pushes == {"LDS": 1, "CDS": 1}
    assert sum(running.server.counters.convergence.counts) == 0
    quick.cancel()


class Picky(ScriptProvider):
    """Knows nothing for the node `unknown`."""

    def resources_for(self, node: Node) -> Resources:
        if node.id == "unknown":
            raise ValueError("no such selection")
        return super().resources_for(node)


async def test_a_provider_that_fails_for_one_client_fails_for_no_other(running: Running) -> None:
    running.server._provider = Picky(A)
    good = await running.subscribe("good")
    bad = running.delta()
    request = DeltaDiscoveryRequest(type_url=CLUSTER)
    request.node.id = "unknown"
    await bad.write(request)
    assert await bad.code() == grpc.StatusCode.UNAVAILABLE
    running.server._provider = Picky(A, B)
    running.server.on_change()
    assert [r.name for r in (await acknowledge(good)).resources] == ["b"]


async def test_streams_that_say_nothing_are_counted(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_STREAMS", 3)
    silent = [running.delta() for _ in range(3)]
    await asyncio.gather(*(call.wait_for_connection() for call in silent))
    await until(lambda: running.server.counters.streams == 3)
    assert await running.delta().code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.server.counters.refused_streams == 1
    for call in silent:
        call.cancel()
    await until(lambda: not running.server._calls)
    await running.subscribe()


def test_every_option_of_the_server_is_one_that_grpc_knows() -> None:
    """It is silent about others. A client that pings more often than the server allows is cut off after two minutes."""
    library = Path(cygrpc.__file__).read_bytes()
    assert [name for name, _ in SERVER_OPTIONS if name.encode() + b"\0" not in library] == []


async def test_that_the_last_write_to_a_client_that_has_gone_fails_is_not_logged() -> None:
    class Gone:
        """A call whose client goes while we write."""

        def __init__(self) -> None:
            self.begun, self.gone = asyncio.Event(), asyncio.Event()

        async def write(self, message: bytes) -> None:
            self.begun.set()
            await self.gone.wait()
            raise ConnectionError(message)

    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    call = Gone()
    writer = asyncio.create_task(write_message(call, b"news"))
    await call.begun.wait()
    writer.cancel()
    await asyncio.sleep(0)  # it waits for the write to end
    writer.cancel()
    await asyncio.wait((writer,))
    assert writer.cancelled()
    del writer
    call.gone.set()
    await asyncio.sleep(0)
    gc.collect()
    assert said == []
