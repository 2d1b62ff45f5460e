"""The ADS server under changes at any moment: nothing is named before it is there, nothing is taken while it is named,
and in the end everybody has what they should have. Clients are honest, but slow, and may reject at whim."""

from typing import Any

import pytest
from ads_script import Bench, DeltaClient, SotwClient, cluster, endpoints, listener, routes
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from hypothesis import given
from hypothesis import strategies as st

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource
from turnout.xds.server.substream import Response

NAMES = ("a", "b", "c")


def world(version: int, names: list[str], variant: int) -> list[Resource]:
    """A consistent configuration: all clusters that routes name are there, with endpoints."""
    used = names[: 1 + variant % len(names)] if names else []
    table = "r" if variant % 3 else "other"
    return [
        *(cluster(n, 1 + (version if variant % 2 else 0)) for n in names),
        *(endpoints(n, 1 + version % 7) for n in names),
        listener("web", table, prefix=f"p{variant}"),
        routes(table, **{f"to{n}": n for n in used}),
    ]


class Proxy:
    """What Envoy does with responses: clusters warm by a load assignment, listeners ask for their routes."""

    def __init__(self, client: DeltaClient | SotwClient) -> None:
        self.client = client
        self.have: dict[str, dict[str, Resource]] = {t: {} for t in (CLUSTER, ENDPOINTS, LISTENER, ROUTES)}
        self.warm: set[str] = set()
        self.asked: set[str] = set()
        self.wanted_routes: set[str] = set()
        self.messages = 0
        client.send(CLUSTER)
        client.send(LISTENER)

    def step(self, *, reject: bool = False) -> None:
        """Take one response."""
        if not self.client.inbox:
            return
        self.messages += 1
        response = self.client.inbox.pop(0)
        if reject:
            self.client.nack(response, "at whim")
            return
        self._apply(response)
        self.client.ack(response)
        self._ask()

    def _apply(self, response: Response) -> None:
        held = self.have[response.type_url]
        gone = set(response.removed)
        if isinstance(self.client, SotwClient) and response.type_url in (CLUSTER, LISTENER):
            gone = held.keys() - {r.name for r in response.resources}
        for name in gone:
            held.pop(name, None)
        held.update({r.name: r for r in response.resources})
        if response.type_url == CLUSTER:
            self.warm &= held.keys()
            named = self._named()
            assert not gone & named, f"{gone} are taken away while routes name {named}"
        if response.type_url == ENDPOINTS:
            self.warm |= {r.name for r in response.resources} & self.have[CLUSTER].keys()
        if response.type_url == ROUTES:
            for resource in response.resources:
                assert clusters_of(resource) <= self.warm, "routes run ahead of their clusters"

    def _named(self) -> set[str]:
        return {c for name, r in self.have[ROUTES].items() if name in self.wanted_routes for c in clusters_of(r)}

    def _ask(self) -> None:
        tables = {n for r in self.have[LISTENER].values() for n in self.client.session.resources.children(r)}
        self._subscribe(ENDPOINTS, self.asked, set(self.have[CLUSTER]))
        self._subscribe(ROUTES, self.wanted_routes, tables)
        for name in [n for n in self.have[ROUTES] if n not in tables]:
            del self.have[ROUTES][name]
        self.asked, self.wanted_routes = set(self.have[CLUSTER]), tables

    def _subscribe(self, type_url: str, before: set[str], now: set[str]) -> None:
        if before == now:
            return
        if isinstance(self.client, DeltaClient):
            self.client.send(type_url, sub=sorted(now - before), unsub=sorted(before - now))
        else:
            self.client.send(type_url, sorted(now), self._last_nonce(type_url))

    def _last_nonce(self, type_url: str) -> str:
        """That of the newest response that this client has *taken*; there may be another one under way."""
        under_way = {r.nonce for r in self.client.inbox if r.type_url == type_url}
        state = self.client.session.types.get(type_url)
        return "" if state is None or state.nonce in under_way else state.nonce


def clusters_of(resource: Resource) -> set[str]:
    message: Any = RouteConfiguration.FromString(resource.body)
    return {route.route.cluster for host in message.virtual_hosts for route in host.routes}


changes = st.tuples(st.just("set"), st.lists(st.sampled_from(NAMES), unique=True), st.integers(0, 5))
scripts = st.lists(changes | st.just("step"), max_size=40)


@pytest.mark.parametrize("variant", ["delta", "sotw"])
@given(script=scripts)
def test_make_before_break_holds_at_any_moment(variant: str, script: list[Any]) -> None:
    bench = Bench(*world(0, ["a"], 0))
    proxy = Proxy(getattr(bench, variant)())
    for number, step in enumerate(script):
        if step == "step":
            proxy.step()
        else:
            bench.set(*world(number, step[1], step[2]))
    while proxy.client.inbox:
        proxy.step()
    bench.pass_time(3)
    while proxy.client.inbox:
        proxy.step()
    assert proxy.client.session.is_settled
    for type_url in (CLUSTER, LISTENER):
        assert proxy.have[type_url] == bench.provider.resources[type_url]
    for type_url, wanted in ((ENDPOINTS, proxy.asked), (ROUTES, proxy.wanted_routes)):
        assert {n: r for n, r in proxy.have[type_url].items() if n in wanted} == bench.provider.resources[type_url]


@pytest.mark.parametrize("variant", ["delta", "sotw"])
@given(script=st.lists(changes | st.sampled_from(["step", "reject"]), max_size=40))
def test_rejections_at_whim_end_in_peace(variant: str, script: list[Any]) -> None:
    bench = Bench(*world(0, ["a"], 0))
    client = getattr(bench, variant)()
    client.send(CLUSTER)
    client.send(LISTENER)
    client.send(ENDPOINTS, **({"sub": NAMES} if variant == "delta" else {"names": NAMES}))
    for number, step in enumerate(script):
        if isinstance(step, tuple):
            bench.set(*world(number, step[1], step[2]))
        elif client.inbox:
            response = client.inbox.pop(0)
            client.nack(response, "at whim") if step == "reject" else client.ack(response)
    rounds = 0
    while client.inbox:
        rounds += 1
        assert rounds < 100, "the two quarrel for ever"
        client.nack(client.inbox.pop(0), "at whim")
    bench.set(*world(1000, ["a", "b"], 1))
    while client.inbox:
        client.ack(client.inbox.pop(0))
    bench.pass_time(3)
    while client.inbox:
        client.ack(client.inbox.pop(0))
    bench.set(*world(1001, ["a", "b"], 1))
    while client.inbox:
        client.ack(client.inbox.pop(0))
    bench.pass_time(3)
    while client.inbox:
        client.ack(client.inbox.pop(0))
    assert client.session.is_settled
    held = client.session.types[CLUSTER].held
    assert {n: r.version for n, r in held.items()} == {
        n: r.version for n, r in bench.provider.resources[CLUSTER].items()
    }
