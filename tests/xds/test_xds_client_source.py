"""The client as a Source, against an independent control plane over real gRPC, in both variants."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse, Resource
from envoy_messages import cluster, endpoints, listener, routes, static, to
from google.protobuf.any_pb2 import Any as Packed
from independent_ads import CDS, EDS, LDS, RDS, IndependentAds

from turnout.rules.snapshot import Forward, Snapshot
from turnout.rules.source import Loaded, Update
from turnout.xds.client.options import Variant, XdsOptions
from turnout.xds.client.source import XdsSource

BAD_ROUTES = routes(to("a", retry_policy={"retry_on": "retriable-headers"}))


class Follower:
    """Reads a source as the supervisor does, one update after the other."""

    def __init__(self, source: XdsSource) -> None:
        self.source = source
        self.serves: Callable[[Snapshot], bool] = lambda _: True
        self.updates: list[Update] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for update in self.source.updates():
            self.updates.append(update)
            if isinstance(update, Loaded) and self.serves(update.snapshot):
                self.source.on_served(update)
            self._news.set()

    async def until(self, holds: Callable[[Snapshot], Any]) -> Snapshot:
        """Wait for a last Snapshot for which this holds."""
        async with asyncio.timeout(10):
            while True:
                if self._task.done():
                    self._task.result()
                last = self.updates[-1] if self.updates else None
                if isinstance(last, Loaded) and holds(last.snapshot):
                    return last.snapshot
                self._news.clear()
                await self._news.wait()

    async def dumped(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until this holds for what is dumped."""
        async with asyncio.timeout(10):
            while not holds(dump := self.source.dump()):
                await asyncio.sleep(0.01)
        return dump

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


@pytest.fixture(params=["delta", "sotw"])
def variant(request: pytest.FixtureRequest) -> Variant:
    return request.param


@pytest.fixture
def ads() -> Iterator[IndependentAds]:
    with IndependentAds() as ads:
        yield ads
    assert ads.violations == []


@pytest.fixture
async def follow(ads: IndependentAds, variant: Variant) -> AsyncIterator[Callable[..., Follower]]:
    """`follow(cache=None)` starts a client of `ads`."""
    followers: list[Follower] = []

    def start(warm_timeout_s: float = 15.0, **options: Any) -> Follower:
        chosen = XdsOptions(ads.address, "node-1", {"app": "iris"}, variant, **options)
        followers.append(Follower(XdsSource(chosen, warm_timeout_s)))
        return followers[-1]

    yield start
    for follower in followers:
        await follower.close()


def serve(ads: IndependentAds, name: str = "a", port: int = 1) -> None:
    """A listener that sends everything to one cluster."""
    ads.put(cluster(name), endpoints(name, port), listener(), routes(to(name)))
    ads.push()


def backends(snapshot: Snapshot) -> list[str]:
    actions = [route.action for route in snapshot.routes()]
    return [backend.cluster for action in actions if isinstance(action, Forward) for backend in action.backends]


def ports(snapshot: Snapshot) -> dict[str, list[int]]:
    return {cluster.name: [endpoint.port for endpoint in cluster.endpoints] for cluster in snapshot.clusters}


async def test_the_first_snapshot_comes_once_it_is_whole(ads, follow):
    serve(ads)
    follower = follow()
    snapshot = await follower.until(lambda s: True)
    assert (backends(snapshot), ports(snapshot), snapshot.cold) == (["a"], {"a": [1]}, ())
    assert [(one.name, one.port) for one in snapshot.listeners] == [("main", 18080)]
    node = ads.requests[0].node
    assert (node.id, dict(node.metadata), node.user_agent_name) == ("node-1", {"app": "iris"}, "turnout")


async def test_a_change_of_endpoints_and_of_routes_arrives(ads, follow):
    serve(ads)
    follower = follow()
    await follower.until(lambda s: True)
    ads.put(endpoints("a", 2, 3))
    ads.push()
    await follower.until(lambda s: ports(s) == {"a": [2, 3]})
    ads.put(cluster("b"), endpoints("b", 4), routes(to("b")))
    ads.push()
    await follower.until(lambda s: backends(s) == ["b"])
    ads.remove(CDS, "a")
    ads.push()
    await follower.until(lambda s: ports(s) == {"b": [4]})
    await follower.dumped(lambda _: ads.nonces_left() == 0)
    assert ads.rejected == []


async def test_a_route_waits_for_its_cluster_and_what_does_not_come_is_cold(ads, follow):
    serve(ads)
    follower = follow(warm_timeout_s=0.5)
    await follower.until(lambda s: True)
    ads.put(cluster("late"), routes(to("late", "/late"), to("a")))
    ads.push()
    dump = await follower.dumped(lambda d: d["waiting"])
    assert [(one["type"], one["name"]) for one in dump["waiting"]] == [("CDS", "late")]
    assert len(follower.updates) == 1
    snapshot = await follower.until(lambda s: s.cold)
    assert (backends(snapshot), snapshot.cold) == (["late", "a"], ("late",))
    ads.put(endpoints("late", 9))
    ads.push()
    snapshot = await follower.until(lambda s: not s.cold)
    assert ports(snapshot)["late"] == [9]


async def test_a_push_that_cannot_be_used_is_rejected_by_field_and_the_rest_goes_on(ads, follow):
    serve(ads)
    follower = follow()
    await follower.until(lambda s: True)
    ads.put(BAD_ROUTES, endpoints("a", 5))
    ads.push()
    await follower.until(lambda s: ports(s) == {"a": [5]})
    dump = await follower.dumped(lambda d: d["counts"]["nacks"])
    (rejected,) = [one for one in dump["resources"] if one["state"] == "NACKED"]
    assert (rejected["type"], rejected["name"]) == ("RDS", "main")
    assert rejected["version"] == rejected["live_version"] != rejected["rejected"]["version"]
    assert "virtual_hosts[0].routes[0].route.retry_policy" in rejected["rejected"]["reason"]
    numbers = follower.source.discovery()
    assert (numbers.connected, numbers.nacks) == (True, {"RDS": 1})
    assert numbers.acks.keys() == {"CDS", "EDS", "LDS", "RDS"}
    assert time.time() - 60 < numbers.updated_at <= time.time()
    type_url, message = ads.rejected[0]
    assert type_url == RDS
    assert "RDS main: virtual_hosts[0].routes[0].route.retry_policy" in message
    ads.put(routes(to("a", "/new")))
    ads.push()
    await follower.until(lambda s: next(s.routes()).match.path.value == "/new")
    assert not [one for one in follower.source.dump()["resources"] if one["state"] == "NACKED"]


async def test_the_client_comes_back_when_the_control_plane_does(ads, follow, variant):
    serve(ads)
    follower = follow()
    await follower.until(lambda s: True)
    ads.stop()
    dump = await follower.dumped(lambda d: not d["connected"])
    assert dump["error"]
    ads.put(endpoints("a", 7))
    ads.start()
    await follower.until(lambda s: ports(s) == {"a": [7]})
    dump = follower.source.dump()
    assert (dump["connected"], dump["error"]) == (True, None)
    last = ads.streams[-1]
    if variant == "delta":
        assert last.known[LDS]["main"] == ads.version(LDS, "main")
    await follower.dumped(lambda _: ads.nonces_left() == 0)


async def test_what_was_removed_while_the_control_plane_was_away_is_gone_after_it(ads, follow):
    serve(ads)
    ads.put(static("b", 8), listener("second", port=18081))
    follower = follow()
    await follower.until(lambda s: len(s.listeners) == 2)
    ads.stop()
    ads.remove(LDS, "second")
    ads.remove(CDS, "b")
    ads.start()
    snapshot = await follower.until(lambda s: len(s.listeners) == 1 and len(s.clusters) == 1)
    assert backends(snapshot) == ["a"]


async def test_a_restart_without_control_plane_serves_what_was_last_good(ads, follow, tmp_path: Path):
    cache = str(tmp_path / "state" / "proxy.snapshot")
    serve(ads)
    first = follow(cache=cache)
    snapshot = await first.until(lambda s: True)
    await first.dumped(lambda _: Path(cache).exists())
    await first.close()
    ads.stop()
    second = follow(cache=cache)
    assert await second.until(lambda s: True) == snapshot
    assert second.source.dump()["cache"] == {"path": cache, "serves": True, "error": None}
    ads.put(endpoints("a", 6))
    ads.start()
    await second.until(lambda s: ports(s) == {"a": [6]})
    assert second.source.dump()["cache"]["serves"] is False


async def test_what_could_not_be_served_is_not_on_disk(ads, follow, tmp_path: Path):
    cache = str(tmp_path / "proxy.snapshot")
    serve(ads)
    first = follow(cache=cache)
    first.serves = lambda snapshot: ports(snapshot) != {"a": [6]}
    good = await first.until(lambda s: True)
    await first.dumped(lambda _: Path(cache).exists())
    ads.put(endpoints("a", 6))
    ads.push()
    await first.until(lambda s: ports(s) == {"a": [6]})
    # That it asks for this says that it has kept all that it will of the one before.
    ads.put(routes(to("a", "/new")))
    ads.push()
    await first.until(lambda s: next(s.routes()).match.path.value == "/new")
    await first.close()
    ads.stop()
    assert await follow(cache=cache).until(lambda s: True) == good


async def test_what_is_on_disk_and_equal_to_what_comes_is_not_told_twice(ads, follow, tmp_path: Path):
    cache = str(tmp_path / "proxy.snapshot")
    serve(ads)
    first = follow(cache=cache)
    await first.until(lambda s: True)
    await first.dumped(lambda _: Path(cache).exists())
    await first.close()
    second = follow(cache=cache)
    await second.until(lambda s: True)
    await second.dumped(lambda d: not d["cache"]["serves"])
    assert len(second.updates) == 1


async def test_a_reload_tells_the_present_state_again(ads, follow):
    serve(ads)
    follower = follow()
    await follower.until(lambda s: True)
    follower.source.reload()
    await follower.dumped(lambda _: len(follower.updates) == 2)
    assert follower.updates[0] == follower.updates[1]


async def test_hostile_responses_are_survived(ads, follow, variant):
    """Bytes that are no resource, types that were not asked for, and nonsense in general."""
    serve(ads)
    follower = follow()
    await follower.until(lambda s: True)
    make = DeltaDiscoveryResponse if variant == "delta" else DiscoveryResponse
    broken = Packed(type_url=CDS, value=b"\xff\x00\xff")
    ads.inject(make(type_url=CDS, resources=[Resource(name="x", resource=broken) if variant == "delta" else broken]))
    ads.inject(make(type_url="type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"))
    ads.inject(make())
    await follower.dumped(lambda d: d["counts"]["nacks"] == 1)
    ads.put(endpoints("a", 3))
    ads.push()
    await follower.until(lambda s: ports(s) == {"a": [3]})
    assert len(ads.streams) == 1
    assert [type_url for type_url, _ in ads.rejected] == [CDS]


async def test_a_response_that_is_too_large_ends_the_stream_and_is_not_asked_for_all_the_time(ads, follow):
    serve(ads)
    follower = follow(max_message_bytes=20_000)
    await follower.until(lambda s: True)
    ads.put(*(static("a" * 1_000 + str(number), 1) for number in range(100)))
    ads.push()
    await follower.dumped(lambda d: d["error"] and "RESOURCE_EXHAUSTED" in d["error"] and d["streams"] >= 3)
    assert len(follower.updates) == 1


async def test_what_repeats_is_not_answered_at_once(ads, follow, variant):
    """A server may send again what was rejected as soon as it is told so."""
    serve(ads)
    follower = follow()
    await follower.until(lambda s: True)
    make = DeltaDiscoveryResponse if variant == "delta" else DiscoveryResponse
    broken = Packed(type_url=CDS, value=b"\xff")
    bad = make(type_url=CDS, resources=[Resource(name="x", resource=broken) if variant == "delta" else broken])
    for _ in range(2):
        ads.inject(make.FromString(bad.SerializeToString()))
    ads.put(endpoints("a", 4))
    ads.push()
    await follower.until(lambda s: ports(s) == {"a": [4]})
    await follower.dumped(lambda _: len(ads.rejected) == 2)
    assert ads.times[-1] - ads.times[0] > 0.5


async def test_no_control_plane_at_all_is_waited_for(ads, follow):
    ads.stop()
    follower = follow()
    dump = await follower.dumped(lambda d: d["error"])
    assert (dump["connected"], follower.updates) == (False, [])
    assert "UNAVAILABLE" in dump["error"]
    serve(ads)
    ads.start()
    await follower.until(lambda s: backends(s) == ["a"])


def make_certificate(openssl: str, folder: Path, name: str) -> tuple[str, str]:
    """The paths of a self-signed certificate for loopback, good for either side, and of its key."""
    certificate, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


async def test_both_sides_know_each_other_by_certificates(require_tool, tmp_path: Path):
    openssl = require_tool("openssl")
    ours, theirs, strangers = (make_certificate(openssl, tmp_path, name) for name in ("proxy", "control", "stranger"))
    pair = tuple(Path(path).read_bytes() for path in (theirs[1], theirs[0]))
    credentials = grpc.ssl_server_credentials([pair], Path(ours[0]).read_bytes(), require_client_auth=True)
    with IndependentAds(credentials) as ads:
        serve(ads)
        known = XdsOptions(ads.address, "n", ca=theirs[0], cert=ours[0], key=ours[1])
        unknown = XdsOptions(ads.address, "n", ca=theirs[0], cert=strangers[0], key=strangers[1])
        fooled = XdsOptions(ads.address, "n", ca=strangers[0], cert=ours[0], key=ours[1])
        lost = XdsOptions(ads.address, "n", ca=str(tmp_path / "nothing.pem"))
        plain = XdsOptions(ads.address, "n")
        followers = [Follower(XdsSource(options)) for options in (known, unknown, fooled, lost, plain)]
        try:
            await followers[0].until(lambda s: backends(s) == ["a"])
            errors = [(await follower.dumped(lambda d: d["error"]))["error"] for follower in followers[1:]]
        finally:
            for follower in followers:
                await follower.close()
    assert all("UNAVAILABLE" in error for error in (errors[0], errors[1], errors[3]))
    assert errors[2].endswith("nothing.pem can't be read: No such file or directory")
    assert all(follower.updates == [] for follower in followers[1:])


async def test_only_what_is_needed_is_asked_for(ads, follow, variant):
    serve(ads)
    ads.put(static("b", 2))
    follower = follow()
    await follower.until(lambda s: True)
    names = {type_url: set(ads.streams[0].names[type_url]) for type_url in (CDS, EDS, LDS, RDS)}
    assert names == {CDS: set(), EDS: {"a"}, LDS: set(), RDS: {"main"}}
