"""The ADS server and the real Envoy as its client, in both variants, with small resources written by hand."""

import asyncio
import json
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from ads_script import ScriptMemory, ScriptProvider, cluster, endpoints, listener, routes
from real_envoy import BINARY, _bootstrap

from turnout.xds.resources import CLUSTER, SECRET, TYPES, Resource
from turnout.xds.server.service import SERVER_OPTIONS, AdsServer
from turnout.xds.server.status import TypeStatus

A, B = cluster("a"), cluster("b")
EA, EB = endpoints("a", 1), endpoints("b", 2)
WEB = listener("web", "r")
R = routes("r", one="a")


class Interop:
    """A server and an Envoy. The server can be restarted on its port; Envoy then comes back."""

    def __init__(self, folder: Path, api_type: str) -> None:
        self.provider = ScriptProvider(A, EA, WEB, R)
        self.memory = ScriptMemory()
        self._folder = folder
        self._api_type = api_type
        self._port = 0

    async def serve(self) -> None:
        self.ads = AdsServer(self.provider, self.memory)
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self.ads.add_to(self._server)
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()

    async def stop_serving(self) -> None:
        await self._server.stop(None)

    def start_envoy(self) -> None:
        bootstrap: Any = _bootstrap(self._port)
        bootstrap["dynamic_resources"]["ads_config"]["api_type"] = self._api_type
        config = self._folder / "envoy.json"
        config.write_text(json.dumps(bootstrap))
        argv = [BINARY, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
        argv += ["--admin-address-path", self._folder / "admin"]
        with (self._folder / "envoy.log").open("wb") as log:
            self._envoy = subprocess.Popen(argv, stdout=log, stderr=log)

    async def close(self) -> None:
        self._envoy.kill()
        self._envoy.wait()
        await self.stop_serving()

    def set(self, *resources: Resource) -> None:
        self.provider.set(*resources)
        self.ads.on_change()

    def types(self) -> dict[str, TypeStatus]:
        statuses = self.ads.statuses()
        return {t.type_url: t for t in statuses[0].types} if statuses else {}

    async def stat(self, name: str) -> int:
        """One of Envoy's own counters or gauges."""
        url = f"http://{(self._folder / 'admin').read_text()}/stats?format=json&filter=^{name}$"
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
        found = json.loads(body)["stats"]
        return int(found[0]["value"]) if found else 0

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    async def synced(self) -> None:
        """All four types are acknowledged, and nothing waits."""
        await self.until(
            lambda: (
                set(self.types()) == set(TYPES) - {SECRET}
                and all(t.state == "SYNCED" for t in self.types().values())
                and all(stream.session.is_settled for stream in self.ads._streams)
            )
        )


@pytest.fixture(params=["GRPC", "DELTA_GRPC"])
async def interop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Interop]:
    running = Interop(tmp_path, request.param)
    await running.serve()
    running.start_envoy()
    try:
        await running.synced()
        yield running
    finally:
        await running.close()


async def test_envoy_takes_everything_and_follows_changes(interop: Interop) -> None:
    assert await interop.stat("cluster_manager.active_clusters") == 2
    assert await interop.stat("listener_manager.total_listeners_active") == 1
    assert interop.ads.counters.nacks == {}
    pushes = interop.ads.counters.pushes.copy()
    interop.set(A, endpoints("a", 1, 3), WEB, R)
    await interop.until(lambda: interop.ads.counters.acks["EDS"] > pushes["EDS"])
    assert interop.ads.counters.pushes - pushes == {"EDS": 1}
    assert await interop.stat("cluster.a.membership_total") == 2


async def test_a_changed_cluster_is_warm_at_once(interop: Interop) -> None:
    interop.set(cluster("a", 9), EA, WEB, R)
    await interop.until(lambda: interop.ads.counters.convergence.last_s > 0)
    assert interop.ads.counters.convergence.last_s < 5
    async with asyncio.timeout(5):
        while await interop.stat("cluster_manager.warming_clusters"):
            await asyncio.sleep(0.01)
    assert await interop.stat("cluster_manager.cluster_modified") == 1


async def test_a_swap_of_clusters_goes_through_to_the_removal(interop: Interop) -> None:
    interop.set(B, EB, listener("web", "other"), routes("other", one="b"))
    await interop.synced()
    assert interop.ads.counters.convergence.last_s < 5
    assert await interop.stat("cluster_manager.active_clusters") == 2
    assert await interop.stat("cluster.b.membership_total") == 1
    assert await interop.stat("cluster_manager.cluster_removed") == 1
    assert interop.ads.counters.nacks == {}


async def test_what_envoy_rejects_is_told_and_not_sent_again_and_the_rest_goes_on(interop: Interop) -> None:
    bad = cluster("a", 0)
    interop.set(bad, B, EA, EB, WEB, routes("r", one="b"))
    await interop.until(lambda: interop.types()[CLUSTER].state == "ERROR")
    assert [s.name for s in interop.types()[CLUSTER].suspects][:1] == ["a"]
    nacks = interop.ads.counters.nacks["CDS"]
    interop.set(bad, cluster("c"), EA, endpoints("c", 3), WEB, routes("r", one="c"))
    async with asyncio.timeout(10):
        while await interop.stat("cluster.c.membership_total") != 1:
            await asyncio.sleep(0.02)
    assert interop.ads.counters.nacks["CDS"] == nacks
    interop.set(cluster("a", 3), cluster("c"), EA, endpoints("c", 3), WEB, routes("r", one="c"))
    await interop.synced()


async def test_envoy_comes_back_to_a_new_server_and_is_told_what_changed(interop: Interop) -> None:
    await interop.stop_serving()
    interop.provider.set(A, endpoints("a", 1, 3), WEB, R)
    await interop.serve()
    await interop.synced()
    async with asyncio.timeout(5):
        while await interop.stat("cluster.a.membership_total") != 2:
            await asyncio.sleep(0.02)
    assert interop.ads.counters.nacks == {}
    if interop.ads.statuses()[0].variant == "delta":
        assert interop.ads.counters.pushes == {"EDS": 1}
    else:
        assert interop.ads.counters.pushes.keys() == {"EDS", "RDS"}, "the wildcards are as they were"


async def test_a_cluster_that_changed_while_the_server_was_away_is_warm_at_once(interop: Interop) -> None:
    await interop.stop_serving()
    interop.provider.set(cluster("a", 9), EA, WEB, R)
    await interop.serve()
    async with asyncio.timeout(10):
        while await interop.stat("cluster_manager.cluster_modified") != 1:
            await asyncio.sleep(0.02)
        while await interop.stat("cluster_manager.warming_clusters"):
            await asyncio.sleep(0.02)
