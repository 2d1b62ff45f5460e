"""The small parts of the ADS server: nodes, blame, versions, bytes, statuses."""

import pytest
from ads_script import Bench, cluster, endpoints, listener, routes
from envoy.config.core.v3.base_pb2 import Node as NodeMessage
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from turnout.rules.snapshot import Origin
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, group_resources
from turnout.xds.server.blame import changed_routes, find_names
from turnout.xds.server.csds import to_client_config
from turnout.xds.server.encode import KEPT_RESPONSES, Encoder
from turnout.xds.server.node import MAX_ID, MAX_LABELS, Node, read_node
from turnout.xds.server.references import find_children
from turnout.xds.server.resource_set import ResourceSet
from turnout.xds.server.status import ProxyStatus, describe_types
from turnout.xds.server.subscription import BadRequest, check_names
from turnout.xds.server.substream import Response

A, B = cluster("a"), cluster("b")


# Nodes


def test_a_node_is_read_with_its_flat_metadata() -> None:
    message = NodeMessage(id="n1", cluster="c", user_agent_name="envoy")
    message.user_agent_build_version.version.major_number = 1
    message.user_agent_build_version.version.minor_number = 40
    message.metadata.update({"app": "iris", "gpu": True, "shard": 3, "deep": {"x": "y"}, "list": [1]})
    assert read_node(message) == Node("n1", "c", {"app": "iris", "gpu": "true", "shard": "3"}, "envoy 1.40.0")


def test_what_a_hostile_node_says_is_bounded() -> None:
    message = NodeMessage(id="\x1b[31m" + "n" * 10_000, cluster="c" * 10_000)
    message.metadata.update({f"k{i}": "v" for i in range(1000)} | {"long": "v" * 1000, "line": "a\nb"})
    node = read_node(message)
    assert len(node.id) == MAX_ID
    assert node.id.isprintable()
    assert len(node.metadata) == MAX_LABELS
    assert not {"long", "line"} & node.metadata.keys()


def test_names_are_bounded_in_number_length_and_all_together() -> None:
    check_names([f"{n:050}" for n in range(20_000)])
    for names, reason in (
        ([str(n) for n in range(20_001)], "20000 names"),
        (["x" * 2049], "2048 characters"),
        ([f"{n:02000}" for n in range(1_100)], "2097152 characters"),
        (["a", ""], "empty"),
    ):
        with pytest.raises(BadRequest, match=reason):
            check_names(names)


# Blame


def test_names_stand_in_a_text_as_whole_words() -> None:
    names = ["a", "a-b", "ns/a", "iris", "iris.example", "iris.example:8080"]
    assert find_names(names, "cluster 'a-b': bad") == {"a-b"}
    assert find_names(names, "ns/a, a: bad") == {"ns/a", "a"}
    assert find_names(names, "iris.example:8080 is wrong.") == {"iris.example:8080"}
    assert find_names(names, "Error adding/updating listener(s) iris.example: no") == {"iris.example"}
    assert find_names(names, "It was iris.") == {"iris"}
    assert find_names(names, "aa ab iris2 b-a") == set()


def test_of_a_route_configuration_the_changed_routes_are_named() -> None:
    old = routes("r", one="a", two="b")
    assert changed_routes(old, routes("r", one="a", two="c", three="a")) == {"two", "three"}
    assert changed_routes(old, routes("r", zero="a", one="a", two="b")) == {"zero"}
    assert changed_routes(None, old) == frozenset()
    assert changed_routes(A, cluster("a", 9)) == frozenset()
    assert changed_routes(Resource(ROUTES, "r", b"\xff", "1"), old) == frozenset()


def test_suspects_are_told_with_the_places_of_what_changed() -> None:
    bench = Bench(A, routes("r", one="a", two="a"))
    bench.provider.origins = {
        (ROUTES, "r"): (Origin("one.yaml", 1), Origin("two.yaml", 1)),
        (ROUTES, "r", "two"): (Origin("two.yaml", 1),),
    }
    client = bench.delta()
    client.send(ROUTES, sub=["r"])
    client.settle()
    bench.set(A, routes("r", one="a", two="b"))
    client.nack(client.take(), "route: unknown\ncluster")
    (status,) = describe_types(client.session, bench.now, 0.0)
    assert (status.state, status.reason) == ("ERROR", "route: unknown cluster")
    assert [(s.name, s.origins) for s in status.suspects] == [("r", (Origin("two.yaml", 1),))]


# Sets


def test_two_sets_are_compared_once_and_by_version() -> None:
    old = ResourceSet(group_resources([A, B, endpoints("a", 1)]))
    new = ResourceSet(group_resources([A, cluster("b", 9), endpoints("a", 1), listener("web", "r")]))
    changes = new.changes_since(old)
    assert changes == {CLUSTER: {"b"}, LISTENER: {"web"}}
    assert new.changes_since(old) is changes
    assert new.version(ENDPOINTS) == old.version(ENDPOINTS)
    assert new.version(CLUSTER) != old.version(CLUSTER)


def test_references_are_those_of_the_messages() -> None:
    assert find_children(A) == ("a",)
    assert find_children(cluster("s", static=True)) == ()
    assert find_children(listener("web", "r")) == ("r",)
    assert find_children(listener("web", "r", api=True)) == ("r",)
    assert find_children(routes("r", one="a", two="b", three="a")) == ("a", "b")
    assert find_children(endpoints("a", 1)) == ()
    assert find_children(Resource(CLUSTER, "x", b"\xff\xff", "1")) == ()


# Bytes


def test_responses_are_the_messages_of_the_protocol() -> None:
    encoder = Encoder()
    delta = DeltaDiscoveryResponse.FromString(encoder.delta(Response(CLUSTER, "v", "7", (A,), ("gone",))))
    assert (delta.type_url, delta.system_version_info, delta.nonce) == (CLUSTER, "v", "7")
    assert [(r.name, r.version, r.resource.type_url, r.resource.value) for r in delta.resources] == [
        ("a", A.version, CLUSTER, A.body)
    ]
    assert list(delta.removed_resources) == ["gone"]
    whole = DiscoveryResponse.FromString(encoder.sotw(Response(CLUSTER, "v", "8", (A, B))))
    assert (whole.type_url, whole.version_info, whole.nonce) == (CLUSTER, "v", "8")
    assert [r.value for r in whole.resources] == [A.body, B.body]


def test_equal_responses_share_their_bytes_but_for_the_nonce() -> None:
    encoder = Encoder()
    first = encoder.delta(Response(CLUSTER, "v", "1", (A,)))
    second = encoder.delta(Response(CLUSTER, "v", "2", (cluster("a"),)))
    assert (first[:-1], first[-1:], second[-1:]) == (second[:-1], b"1", b"2")
    assert encoder.delta(Response(CLUSTER, "v", "1", (A,), ("b",))) != first
    assert DeltaDiscoveryResponse.FromString(encoder.delta(Response(CLUSTER, "v", "1", (B,)))).resources[0].name == "b"


def test_what_is_kept_of_responses_is_bounded_in_number_too() -> None:
    encoder = Encoder()
    for number in range(KEPT_RESPONSES + 10):
        encoder.delta(Response(CLUSTER, "v", "1", (), (f"gone-{number}",)))
    assert len(encoder._kept) == KEPT_RESPONSES


# Statuses


def states(bench: Bench, client: object) -> dict[str, str]:
    return {t.type_url: t.state for t in describe_types(client.session, bench.now, 0.0)}  # type: ignore[attr-defined]


def test_a_type_is_not_sent_then_synced_then_stale() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER)
    client.send(ROUTES, sub=["r"])
    assert states(bench, client)[CLUSTER] == "NOT_SENT"
    client.settle()
    assert states(bench, client)[CLUSTER] == "SYNCED"
    bench.set(B)
    bench.now += 9
    assert states(bench, client)[CLUSTER] == "SYNCED"
    bench.now += 1
    assert states(bench, client)[CLUSTER] == "STALE"
    client.settle()
    assert states(bench, client)[CLUSTER] == "SYNCED"


def test_an_error_that_only_the_memory_knows_is_told_with_its_places() -> None:
    bench = Bench(A, B)
    bench.memory.reject("n1", CLUSTER, "a", A.version)
    bench.provider.origins[CLUSTER, "a"] = (Origin("a.yaml", 3, "spec"),)
    client = bench.sotw()
    client.send(CLUSTER)
    client.settle()
    (status,) = describe_types(client.session, bench.now, 1000.0)
    assert (status.state, status.reason) == ("ERROR", "rejected before this server was started")
    assert status.since == bench.now + 1000
    assert [s.origins for s in status.suspects] == [(Origin("a.yaml", 3, "spec"),)]


def test_a_status_is_told_in_the_words_of_csds() -> None:
    bench = Bench(A, B)
    bench.provider.origins[CLUSTER, "a"] = (Origin("a.yaml", 3, "spec"),)
    client = bench.sotw()
    client.send(CLUSTER)
    client.nack(client.take(), "a is bad")
    client.settle()
    types = describe_types(client.session, bench.now, 0.0)
    config = to_client_config(ProxyStatus(Node("n1", "", {"app": "iris"}), "sotw", "peer", 0.0, types))
    assert (config.node.id, config.node.metadata["app"]) == ("n1", "iris")
    assert [(x.status, x.WhichOneof("per_xds_config")) for x in config.xds_config] == [(4, "cluster_config")]
    whole, suspect = config.generic_xds_configs
    assert (whole.name, whole.config_status, whole.version_info) == ("", 4, types[0].version_acked)
    assert (suspect.name, suspect.error_state.details) == ("a", "a is bad (a.yaml:3 (spec))")
