"""`turnout proxy --xds`, real processes, driven by an independent control plane with hand-written Envoy resources."""

import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from actors.documents import split
from actors.echo import Echo
from actors.load import Load
from actors.proxy import Proxy, until
from actors.wire import connect
from actors.xds_proxy import XdsProxy
from free_ports import free_port

sys.path.insert(0, str(Path(__file__).parents[1] / "xds"))

from envoy_messages import cluster, endpoints, listener, routes, static, to
from independent_ads import CDS, RDS, IndependentAds

StartXdsProxy = Callable[..., XdsProxy]
BAD_ROUTES = routes(to("v1", retry_policy={"retry_on": "retriable-headers"}))


@pytest.fixture
def ads() -> Iterator[IndependentAds]:
    with IndependentAds() as ads:
        yield ads
    assert ads.violations == []


@pytest.fixture
def start_xds(tmp_path: Path, ads: IndependentAds) -> Iterator[StartXdsProxy]:
    """`start_xds(*arguments, folder="a", workers=1)`: a proxy of that control plane, which runs in that folder."""
    proxies: list[XdsProxy] = []

    def start(*arguments: str, folder: str = "a", workers: int = 1) -> XdsProxy:
        proxies.append(XdsProxy(tmp_path / folder, ads.address, *arguments, workers=workers))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


async def answers(proxy: Proxy, count: int = 4) -> set[str]:
    load = Load(proxy.port)
    await load.ask(count, clients=1)
    assert not load.failures
    return set(load.answers)


async def answered_by(proxy: Proxy, *names: str) -> None:
    """Wait until these answer, and nobody else."""

    async def holds() -> bool:
        return await answers(proxy) == set(names)

    await until(holds)


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("variant", [(), ("--xds-sotw",)], ids=["delta", "sotw"])
async def test_it_holds_until_the_first_configuration_and_follows_each_change(ads, start_xds, variant) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        proxy = start_xds("--node-metadata", "app=iris", "version=v2", *variant)

        async def holds_back() -> bool:
            return await proxy.admin_soon("/ready") == (503, "no configuration is served yet\n")

        await until(holds_back)
        await until(lambda: ads.requests)
        assert not is_open(proxy.port)
        assert dict(ads.requests[0].node.metadata) == {"app": "iris", "version": "v2"}

        ads.put(cluster("v1"), endpoints("v1", v1.port), listener(), routes(to("v1")))
        ads.push()
        await proxy.ready()
        assert await answers(proxy) == {"v1"}

        ads.put(endpoints("v1", v2.port))
        ads.push()
        await answered_by(proxy, "v2")

        ads.put(static("static", v1.port), routes(to("static")))
        ads.push()
        await answered_by(proxy, "v1")
        proxy.signal(signal.SIGTERM)
        assert await proxy.wait() == 0


async def test_a_push_that_cannot_be_used_is_rejected_and_shown_and_the_rest_goes_on(ads, start_xds) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        ads.put(cluster("v1"), endpoints("v1", v1.port), listener(), routes(to("v1")))
        proxy = start_xds()
        await proxy.ready()
        ads.put(BAD_ROUTES, endpoints("v1", v2.port))
        ads.push()
        await answered_by(proxy, "v2")
        await until(lambda: ads.rejected)
        assert ads.rejected[0][0] == RDS
        assert "RDS main: virtual_hosts[0].routes[0].route.retry_policy" in ads.rejected[0][1]
        dump = (await proxy.dump())["source"]
        states = {(one["type"], one["name"]): one["state"] for one in dump["resources"]}
        assert states == {
            ("CDS", "v1"): "ACKED",
            ("EDS", "v1"): "ACKED",
            ("LDS", "main"): "ACKED",
            ("RDS", "main"): "NACKED",
        }
        assert (dump["connected"], dump["node"]["id"]) == (True, "node-1")
        assert "rejected: RDS main: virtual_hosts[0].routes[0].route.retry_policy" in proxy.events()
        assert (await proxy.admin("/ready"))[0] == 200
        text = (await proxy.admin("/metrics"))[1]
        assert {"turnout_xds_connected 1.0", 'turnout_xds_nacks_total{type="RDS"} 1.0'} <= set(text.splitlines())
        there = set(re.findall(r"^# TYPE (turnout_xds_\w+) ", text, re.MULTILINE))
        page = Path(__file__).parents[2].joinpath("docs/metrics.md").read_text()
        assert there == set(re.findall(r"^\| `(turnout_xds_\w+)", page, re.MULTILINE))


async def test_a_route_never_runs_ahead_of_its_cluster(ads, start_xds) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        ads.put(cluster("v1"), endpoints("v1", v1.port), listener(), routes(to("v1")))
        proxy = start_xds()
        await proxy.ready()
        async with Load(proxy.port).running() as load:
            ads.put(cluster("v2"), routes(to("v2")))
            ads.push()

            async def waits() -> bool:
                return bool((await proxy.dump())["source"]["waiting"])

            await until(waits)
            ads.put(endpoints("v2", v2.port))
            ads.push()
            await until(lambda: load.answers["v2"])
        assert set(load.answers) == {"v1", "v2"}
        assert not load.failures


@pytest.mark.soak
async def test_a_cluster_that_never_comes_costs_its_own_share_alone(ads, start_xds) -> None:
    """It takes the 15 s that a cluster is waited for."""
    async with Echo("v1") as v1:
        ads.put(cluster("v1"), cluster("cold"), endpoints("v1", v1.port))
        ads.put(listener(), routes(to("cold", "/cold"), to("v1")))
        proxy = start_xds()
        await proxy.ready()
        assert await answers(proxy) == {"v1"}
        wire = await connect(proxy.port)
        await wire.send(b"GET /cold HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await wire.read_response()
        wire.close()
        assert answer.status == 503
        assert b'"NC"' in answer.body


async def test_a_restart_with_the_control_plane_away_serves_at_once(ads, start_xds) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        ads.put(cluster("v1"), endpoints("v1", v1.port), listener(), routes(to("v1")))
        first = start_xds()
        await first.ready()
        await until(lambda: list(first.event_log.parent.glob(".turnout/*.snapshot")))
        first.signal(signal.SIGTERM)
        assert await first.wait() == 0
        ads.stop()
        second = start_xds()
        await second.ready()
        assert await answers(second) == {"v1"}
        assert (await second.dump())["source"]["cache"]["serves"] is True
        ads.put(endpoints("v1", v2.port))
        ads.start()
        await answered_by(second, "v2")


async def test_a_damaged_file_of_the_last_good_configuration_is_not_used(ads, start_xds, tmp_path: Path) -> None:
    async with Echo("v1") as v1:
        cache = tmp_path / "cache"
        cache.write_bytes(b"turnout snapshot 1\n" + bytes(100))
        proxy = start_xds("--xds-cache", str(cache))
        await until(lambda: "is not a whole Snapshot" in proxy.events())
        ads.put(cluster("v1"), endpoints("v1", v1.port), listener(), routes(to("v1")))
        ads.push()
        await proxy.ready()
        assert await answers(proxy) == {"v1"}


async def test_the_listener_is_where_the_control_plane_says_unless_listen_is_given(ads, start_xds) -> None:
    async with Echo("v1") as v1:
        told = free_port()
        ads.put(cluster("v1"), endpoints("v1", v1.port), listener(port=told), routes(to("v1")))
        proxies = [start_xds("--node-id", f"n{n}", folder=str(n)) for n in range(2)]
        for proxy in proxies:
            await proxy.ready()
            assert await answers(proxy) == {"v1"}
        assert not is_open(told)
        snapshots = [(await proxy.dump())["snapshot"]["listeners"][0]["port"] for proxy in proxies]
        assert snapshots == [told, told]


async def test_a_first_listener_that_cannot_be_opened_is_waited_out(ads, start_xds) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        proxy = start_xds()
        await until(lambda: ads.requests)
        with socket.create_server(("127.0.0.1", proxy.port)):
            ads.put(cluster("v1"), endpoints("v1", v1.port), listener(), routes(to("v1")))
            ads.push()
            await until(lambda: "address already in use" in proxy.events())
        assert (await proxy.admin("/ready"))[0] == 503
        ads.put(endpoints("v1", v2.port))
        ads.push()
        await proxy.ready()
        assert await answers(proxy) == {"v2"}


@pytest.mark.parametrize("variant", [(), ("--xds-sotw",)], ids=["delta", "sotw"])
async def test_no_request_notices_that_the_control_plane_is_killed_during_pushes(ads, start_xds, variant) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        ads.put(cluster("v1"), cluster("v2"), endpoints("v1", v1.port), endpoints("v2", v2.port))
        ads.put(listener(), routes(to("v1")))
        proxy = start_xds(*variant, workers=2)
        await proxy.ready()
        async with Load(proxy.port).running(clients=4) as load:
            for turn in range(5):
                name, other = ("v2", "v1") if turn % 2 == 0 else ("v1", "v2")
                ads.put(cluster(f"extra-{turn}"), endpoints(f"extra-{turn}", 1), routes(to(name)))
                ads.push()
                ads.stop()
                ads.put(cluster(name), routes(to(name), to(other, "/never")))
                ads.start()
                before = load.answers[name]
                await until(lambda name=name, before=before: load.answers[name] > before + 10)
        assert set(load.answers) == {"v1", "v2"}
        assert not load.failures
        await until(lambda: ads.nonces_left() == 0)


async def test_workers_are_replaced_beside_a_live_stream(ads, start_xds) -> None:
    """A child made while gRPC runs must be a fresh interpreter."""
    async with Echo("v1") as v1, Echo("v2") as v2:
        ads.put(cluster("v1"), endpoints("v1", v1.port), listener(), routes(to("v1")))
        proxy = start_xds(workers=2)
        await proxy.ready()
        for deaths in range(1, 6):
            os.kill((await proxy.workers())[deaths % 2], signal.SIGKILL)

            async def is_replaced(deaths: int = deaths) -> bool:
                return (await proxy.stats())["supervisor"]["worker_restarts"] == deaths

            await until(is_replaced)
            await proxy.ready()
        ads.put(endpoints("v1", v2.port))
        ads.push()
        await answered_by(proxy, "v2")
        assert len(ads.streams) == 1


async def test_a_hot_restart_refuses_no_connection(ads, start_xds) -> None:
    async with Echo("v1") as v1:
        ads.put(cluster("v1"), endpoints("v1", v1.port), listener(), routes(to("v1")))
        proxy = start_xds()
        await proxy.ready()
        async with Load(proxy.port, fresh=True).running(clients=2) as load:
            proxy.signal(signal.SIGUSR2)
            assert await proxy.wait() == 0

            async def successor_answers() -> bool:
                return (await proxy.admin_soon("/ready"))[0] == 200

            await until(successor_answers)
        assert set(load.answers) == {"v1"}
        assert not load.failures
        assert len({stream.number for stream in ads.streams}) >= 2


async def test_grpc_is_where_it_is_needed_and_nowhere_else(ads, start_xds, start_proxy) -> None:
    """A sidecar with rules of its own, and every worker, load neither gRPC nor protobuf."""
    async with Echo("v1") as v1:
        ads.put(static("v1", v1.port), listener(), routes(to("v1")))
        by_files, by_xds = start_proxy(split(v1=(v1, 1))), start_xds()
        await by_xds.ready()
        assert loaded(by_xds.process.pid) == {"grpc", "google"}
        for pid in (by_files.process.pid, *await by_files.workers(), *await by_xds.workers()):
            assert loaded(pid) == set()


def loaded(pid: int) -> set[str]:
    """Which of the two a process has in its memory."""
    return set(re.findall(r"site-packages/(grpc|google)/", Path(f"/proc/{pid}/maps").read_text()))


async def test_removing_what_routes_do_not_name_any_more_breaks_nothing(ads, start_xds) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        ads.put(cluster("v1"), cluster("v2"), endpoints("v1", v1.port), endpoints("v2", v2.port))
        ads.put(listener(), routes(to("v1")))
        proxy = start_xds()
        await proxy.ready()
        async with Load(proxy.port).running(clients=2) as load:
            # In the wrong order: the cluster first, its route after it.
            ads.remove(CDS, "v1")
            ads.push()
            ads.put(routes(to("v2")))
            ads.push()
            await until(lambda: load.answers["v2"])

            async def is_gone() -> bool:
                names = [one["name"] for one in (await proxy.dump())["snapshot"]["clusters"]]
                return names == ["v2"]

            await until(is_gone)
        assert set(load.answers) == {"v1", "v2"}
        assert not load.failures
