"""Hostile clients of a real control plane: it stays up and small, its log too, and a good client is served all the
time."""

import asyncio
import contextlib
import itertools
import resource
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from actors.control_plane import ControlPlane
from actors.documents import predictor, route
from actors.proxy import open_files, resident_kib, until
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
ROOM_KIB = 64 << 10
"""How much it may grow under an attack that sends hundreds of MB."""
LOG_BYTES = 1 << 20
SPARE_FILES = 8
"""The store may have opened its file once more."""


class Target:
    """The control plane, and a good client that has a stream."""

    def __init__(self, control: ControlPlane) -> None:
        self.control = control
        self._ports = itertools.count(1)

    def channel(self) -> Any:
        return grpc.aio.insecure_channel(self.control.xds, [("grpc.use_local_subchannel_pool", 1)])

    @property
    def pid(self) -> int:
        assert self.control.process is not None
        return self.control.process.pid

    def change(self) -> None:
        self.control.write(predictor("v1", next(self._ports)) + route("{rules: [{backendRefs: [{name: v1}]}]}"))

    async def serves(self, stub: Any) -> None:
        """A client that behaves is told what there is, and follows a change."""
        call = stub.StreamAggregatedResources()
        request = DiscoveryRequest(type_url=ENDPOINTS, resource_names=["default/v1"])
        request.node.id = "good"
        await call.write(request)
        first = await call.read()
        await call.write(answer(first))
        self.change()
        async with asyncio.timeout(10):
            second = await call.read()
        assert second.version_info != first.version_info
        call.cancel()


def answer(response: DiscoveryResponse, reason: str = "") -> DiscoveryRequest:
    request = DiscoveryRequest(
        type_url=response.type_url, resource_names=["default/v1"], response_nonce=response.nonce,
        version_info="" if reason else response.version_info,
    )  # fmt: skip
    if reason:
        request.error_detail.message = reason
    return request


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    control = ControlPlane(tmp_path)
    try:
        target = Target(control)
        target.change()
        control.start()
        await control.ready()
        async with target.channel() as channel:
            await target.serves(AggregatedDiscoveryServiceStub(channel))
            before_kib, before_files = resident_kib(target.pid), open_files(target.pid)
            yield target
            assert resident_kib(target.pid) - before_kib < ROOM_KIB
            await target.serves(AggregatedDiscoveryServiceStub(channel))

        # All of them are gone: so are their connections.
        await until(lambda: open_files(target.pid) <= before_files + SPARE_FILES)
        log = control.events()
        assert "Traceback" not in log
        assert len(log) < LOG_BYTES
        assert await control.stop() == 0
    finally:
        control.close()


async def test_more_connections_than_the_usual_soft_limit(target: Target) -> None:
    soft, hard = resource.prlimit(target.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


async def test_nodes_that_tell_too_much_of_themselves(target: Target) -> None:
    """What is not kept of a first request does not stay for as long as the stream."""
    request = DeltaDiscoveryRequest(type_url=CLUSTER, resource_names_subscribe=["*"])
    for number in range(80_000):
        request.node.metadata.fields[f"{number:06}"].list_value.SetInParent()
    async with target.channel() as channel:
        stub, calls = AggregatedDiscoveryServiceStub(channel), []
        for number in range(20):
            request.node.id = f"{number}" * 1000
            calls.append(stub.DeltaAggregatedResources())
            await calls[-1].write(request)
            await calls[-1].read()
        (status, *_) = (await target.control.status())["proxies"]
        assert len(status["node"]) <= 512
        assert resident_kib(target.pid) < 200 << 10


async def test_streams_that_ask_for_a_million_names(target: Target) -> None:
    async with target.channel() as channel:
        stub = AggregatedDiscoveryServiceStub(channel)
        for names in (map(str, range(300_000)), (f"{n}{'x' * 1500}" for n in range(2_000)), ["x" * 3_000], [""]):
            call = stub.DeltaAggregatedResources()
            await call.write(DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=names))
            assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
        pieces = ([f"{turn}-{n}{'x' * 500}" for n in range(1_000)] for turn in range(100))
        await is_ended(stub, (DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=p) for p in pieces))
        await is_ended(stub, (DeltaDiscoveryRequest(type_url=f"made.up/Type{n}") for n in range(1_000)))


async def is_ended(stub: Any, requests: Iterable[DeltaDiscoveryRequest]) -> None:
    """Wait for the server to end a stream with these, before it has taken all of them."""
    call = stub.DeltaAggregatedResources()
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for request in requests:
            await call.write(request)
    assert await call.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


async def test_nodes_without_end_that_reject_everything(target: Target) -> None:
    async with target.channel() as channel:
        stub = AggregatedDiscoveryServiceStub(channel)

        async def reject(number: int) -> None:
            call = stub.StreamAggregatedResources()
            request = DiscoveryRequest(type_url=ENDPOINTS, resource_names=["default/v1"])
            request.node.id = f"node-{number}"
            request.node.metadata.update({"app": f"app-{number}"})
            await call.write(request)
            told = await call.read()
            for _ in range(3):  # the second and the third are replays
                await call.write(answer(told, "no" + "!\n" * 50_000))
            await call.done_writing()
            await call.code()

        for start in range(0, 400, 20):
            await asyncio.gather(*(reject(start + n) for n in range(20)))

    async def is_counted() -> bool:
        return await metric(target, "turnout_control_nacks_total", 'type="EDS"') == 400

    await until(is_counted)


async def test_clients_that_come_and_go_in_the_midst(target: Target) -> None:
    for number in range(200):
        async with target.channel() as channel:
            call = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
            await call.write(DiscoveryRequest(type_url=ENDPOINTS, resource_names=["default/v1"]))
            if number % 2:
                await call.read()


async def test_clients_that_never_read_or_never_speak(target: Target) -> None:
    async with target.channel() as channel:
        stub = AggregatedDiscoveryServiceStub(channel)
        calls = [stub.DeltaAggregatedResources() for _ in range(300)]
        for call in calls[:100]:
            for type_url in (CLUSTER, ENDPOINTS):
                await call.write(DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=["*"]))
        for _ in range(5):
            await target.serves(stub)

        async def are_those_who_spoke() -> bool:
            # Who has just left is there until its end has been noticed.
            return len((await target.control.status())["proxies"]) == 100

        await until(are_those_who_spoke)


async def test_what_is_no_request(target: Target) -> None:
    path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    nested = AnyMessage(type_url=CLUSTER, value=b"\xff" * 1000)
    odd = DiscoveryRequest(type_url=CLUSTER)
    odd.error_detail.details.append(nested)
    odd.node.extensions.add(name="x" * 1000).version.metadata.fields["a"].null_value = 0
    odd.node.id = "\0\r\n\x1b[31m" * 10_000
    async with target.channel() as channel:
        raw: Any = channel.stream_stream(path)
        for data in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"", bytes(5 << 20)):
            call = raw()
            await call.write(data)
            assert await call.code() != grpc.StatusCode.OK
        call = raw()
        await call.write(odd.SerializeToString())
        assert DiscoveryResponse.FromString(await call.read()).type_url == CLUSTER


async def metric(target: Target, name: str, labels: str) -> float:
    for line in (await target.control.ask("/metrics"))[1].splitlines():
        if line.startswith(f"{name}{{{labels}}}"):
            return float(line.rpartition(" ")[2])
    return 0.0
