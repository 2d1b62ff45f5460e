"""The control plane on its loop: what it waits for, when it pushes, and what outlives it. Discovery is a fake here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from grpc import aio

from turnout.rules.snapshot import Snapshot
from turnout.xds.control.catalog import Catalog
from turnout.xds.control.ledger import Signature, Text
from turnout.xds.control.options import Address, ControlOptions
from turnout.xds.control.plane import ControlPlane, Parts
from turnout.xds.control.transport import TransportError
from turnout.xds.resources import CLUSTER, Resource, group_resources, make_resource
from turnout.xds.server.counters import Counters
from turnout.xds.server.status import ProxyStatus
from turnout.xds.store.memory import RejectionMemory
from turnout.xds.store.store import StoreError
from turnout.xds.translate.reuse import Reuse

PREDICTOR = """\
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: a}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {rules: [{backendRefs: [{name: a}]}]}
"""


class AnyNode:
    """A node that says nothing of itself."""

    metadata: Mapping[str, str] = {}


class FakeDiscovery:
    """Remembers what it would push."""

    def __init__(self, catalog: Catalog, memory: RejectionMemory) -> None:
        self.catalog = catalog
        self.memory = memory
        self.counters = Counters()
        self.pushes: list[list[str]] = []
        self.news = asyncio.Event()
        self.server: aio.Server | None = None

    def add_to(self, server: aio.Server) -> None:
        self.server = server

    def on_change(self, since: float | None = None) -> None:
        clusters = self.catalog.resources_for(AnyNode())[CLUSTER]
        self.pushes.append([resource.body.decode() for resource in clusters.values()])
        self.news.set()

    def end(self) -> None:
        """There are no streams."""

    def statuses(self) -> list[ProxyStatus]:
        return []

    async def pushed(self, count: int) -> list[list[str]]:
        async with asyncio.timeout(10):
            while len(self.pushes) < count:
                self.news.clear()
                await self.news.wait()
        return self.pushes


def translate(snapshot: Snapshot, _: Reuse) -> Mapping[str, Mapping[str, Resource]]:
    if any(e.port == 666 for cluster in snapshot.clusters for e in cluster.endpoints):
        raise RuntimeError("no words for it")
    return group_resources(
        make_resource(CLUSTER, cluster.name, ",".join(str(e.port) for e in cluster.endpoints).encode())
        for cluster in snapshot.clusters
    )


class Running(ControlPlane):
    """A control plane whose discovery can be looked at."""

    def __init__(self, options: ControlOptions) -> None:
        self.discoveries: list[FakeDiscovery] = []

        def make(catalog: Catalog, memory: RejectionMemory) -> FakeDiscovery:
            self.discoveries.append(FakeDiscovery(catalog, memory))
            return self.discoveries[0]

        super().__init__(options, Parts(translate, lambda *_: {}, make))

    @property
    def discovery(self) -> FakeDiscovery:
        return self.discoveries[0]

    async def ask(self, method: str, path: str, **body: Any) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.api_port}{path}"
        async with ClientSession() as session, session.request(method, url, json=body or None) as answer:
            return answer.status, await answer.text()

    async def apply(self, text: str) -> int:
        return (await self.ask("POST", "/api/v1/apply", files=[{"text": text}]))[0]


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    running: list[Running] = []

    async def start(**more: Any) -> Running:
        while running:
            await running.pop().stop()
        local = Address("127.0.0.1", 0)
        options = {"xds": local, "api": local, "state": str(tmp_path / "state.db"), "drain_s": 0.0, **more}
        plane = Running(ControlOptions(**options))
        running.append(plane)
        await plane.start()
        return plane

    yield start
    for plane in running:
        await plane.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_an_empty_store_tells_nobody_anything(start: Start) -> None:
    plane = await start()
    assert await plane.ask("GET", "/ready") == (503, "there is no state yet\n")
    assert await plane.apply(PREDICTOR) == 200
    assert await plane.discovery.pushed(1) == [["80"]]
    await until(lambda: plane.why_not_ready() == "")
    assert (await plane.ask("GET", "/ready"))[0] == 200


async def test_files_are_followed_and_errors_in_them_go_nowhere(start: Start, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("{")
    plane = await start(rules=(str(rules),))
    await until(lambda: plane.registry.ledger.files_read)
    assert plane.why_not_ready() == "there is no state yet, and the files have errors"
    rules.write_text(PREDICTOR)
    assert await plane.discovery.pushed(1) == [["80"]]
    rules.write_text(PREDICTOR.replace("80", "0"))
    await until(lambda: bool(plane.registry.ledger.file_faults))
    assert plane.why_not_ready() == ""
    rules.write_text(PREDICTOR.replace("80", "81"))
    assert await plane.discovery.pushed(2) == [["80"], ["81"]]


async def test_changes_in_quick_succession_are_one_push(start: Start) -> None:
    plane = await start(quiet_s=0.3, max_wait_s=5.0)
    for port in range(80, 85):
        assert await plane.apply(PREDICTOR.replace("80", str(port))) == 200
        await plane.discovery.pushed(1)  # the first state does not wait
    assert await plane.discovery.pushed(2) == [["80"], ["84"]]


async def test_what_is_accepted_is_pushed_after_a_restart_without_being_asked(start: Start) -> None:
    plane = await start()
    assert await plane.apply(PREDICTOR) == 200
    plane.discovery.memory.reject("node", "type", "name", "v1")
    plane = await start()
    assert await plane.discovery.pushed(1) == [["80"]]
    assert plane.discovery.memory.is_rejected("node", "type", "name", "v1")


async def test_a_state_that_can_not_be_translated_leaves_the_last_one(start: Start) -> None:
    plane = await start(quiet_s=0.0)
    assert await plane.apply(PREDICTOR) == 200
    await plane.discovery.pushed(1)
    published = plane.published()
    assert await plane.apply(PREDICTOR.replace("80", "666")) == 200
    await until(lambda: "no words for it" in plane.why_not_ready())
    assert plane.published() == published
    assert "turnout_control_publish_failures_total 1.0" in (await plane.ask("GET", "/metrics"))[1]
    assert await plane.apply(PREDICTOR.replace("80", "81")) == 200
    assert await plane.discovery.pushed(2) == [["80"], ["81"]]
    assert plane.why_not_ready() == ""


async def test_a_taken_port_is_told_and_the_store_let_go(start: Start, tmp_path: Path) -> None:
    first = await start()
    taken = Address("127.0.0.1", first.xds_port)
    options = ControlOptions(xds=taken, api=Address("127.0.0.1", 0), state=str(tmp_path / "other.db"))
    for _ in range(2):
        with pytest.raises(TransportError, match="is it taken"):
            Running(options)
    with pytest.raises(StoreError, match="in use"):
        Running(ControlOptions(state=str(tmp_path / "state.db")))


async def test_a_change_that_has_begun_ends_though_nobody_waits(start: Start) -> None:
    plane = await start()
    caller = asyncio.create_task(plane.registry.apply([Text("a", PREDICTOR)], Signature("ann", "why")))
    await asyncio.sleep(0)  # it begins
    caller.cancel()
    assert await plane.discovery.pushed(1) == [["80"]]
    assert plane.registry.accepted is not None
    plane = await start()
    assert await plane.discovery.pushed(1) == [["80"]]
