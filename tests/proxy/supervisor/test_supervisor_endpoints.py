"""What workers are told of a cluster's endpoints, and what the admin shows of them."""

from turnout.proxy.cluster.target import State, Target
from turnout.proxy.supervisor.counters import Counts
from turnout.proxy.supervisor.dns import Resolver
from turnout.proxy.supervisor.dumps import clusters_dump, config_dump
from turnout.proxy.supervisor.endpoints import addresses_of, resolve
from turnout.proxy.supervisor.state import State as ProxyState
from turnout.proxy.supervisor.states.cluster_states import Standing
from turnout.proxy.telemetry.layout import Layout
from turnout.rules.snapshot import Cluster, Endpoint


async def make_resolver(**answers: tuple[str, ...]) -> Resolver:
    """One that has asked for these names and asks no more."""

    async def look_up(host: str) -> tuple[str, ...]:
        return answers[host]

    resolver = Resolver(look_up, 3600.0, lambda host: None)
    await resolver.follow(answers, timeout_s=5)
    return resolver


def told_of(cluster, resolver, layout, standing=lambda cluster, address: Standing()):
    return resolve(cluster, addresses_of(cluster, resolver), layout, standing)


async def test_each_address_is_told_with_what_its_endpoint_says():
    resolver = await make_resolver(model=("10.0.0.1", "10.0.0.2"))
    cluster = Cluster("c", (Endpoint("model", 9, 5, 1, locality="a/b"), Endpoint("::1", 8, 2)))
    layout = Layout()

    def standing(name, address):
        assert name == "c"
        return Standing(State.HALF_OPEN, 1, 0.0) if address.host == "::1" else Standing(State.AVAILABLE, -1, 7.0)

    told = told_of(cluster, resolver, layout, standing)
    keys = [("endpoint", "c", text) for text in ("10.0.0.1:9", "10.0.0.2:9", "[::1]:8")]
    one, two, three = layout.allot(keys)
    assert told.cluster == "c"
    assert [told.record] == layout.allot([("cluster", "c", "")])
    assert told.endpoints == [
        Target("10.0.0.1", 9, one, 5, 1, "a/b", State.AVAILABLE, -1, 7.0),
        Target("10.0.0.2", 9, two, 5, 1, "a/b", State.AVAILABLE, -1, 7.0),
        Target("::1", 8, three, 2, 0, "", State.HALF_OPEN, 1),
    ]
    resolver.keep_only(set())


async def test_an_address_that_is_there_twice_is_that_of_the_lowest_priority():
    resolver = await make_resolver(model=("10.0.0.1",))
    twice = (Endpoint("model", 9, 2, 1), Endpoint("10.0.0.1", 9, 3, 0), Endpoint("10.0.0.1", 9, 4, 0))
    told = told_of(Cluster("c", twice), resolver, Layout())
    assert [(t.address, t.weight, t.priority) for t in told.endpoints] == [("10.0.0.1", 3, 0)]
    resolver.keep_only(set())


async def test_the_admin_shows_health_weight_and_priority():
    resolver = await make_resolver()
    cluster = Cluster("c", (Endpoint("10.0.0.1", 9, 5, 1, healthy=False), Endpoint("10.0.0.2", 9)))
    (dumped,) = clusters_dump([cluster], resolver, {}, Counts(), [], 0.0)["clusters"]
    shown = [[e[name] for name in ("address", "port", "state", "weight", "priority")] for e in dumped["endpoints"]]
    assert shown == [["10.0.0.1", 9, "UNHEALTHY", 5, 1], ["10.0.0.2", 9, "AVAILABLE", 1, 0]]


def test_what_the_source_tells_is_in_the_configuration_dump():
    assert config_dump(ProxyState(), {"connected": True})["source"] == {"connected": True}
    assert config_dump(ProxyState())["source"] is None
