"""The state-of-the-world variant against the protocol's text: subscriptions, nonces, wholeness, order, rejections."""

import pytest
from ads_script import Bench, SotwClient, cluster, endpoints, listener, routes
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from turnout.xds.server.subscription import MAX_NAMES, BadRequest

A, B, C = cluster("a"), cluster("b"), cluster("c")
EA, EB = endpoints("a", 1), endpoints("b", 2)
WEB = listener("web", "r")
R = routes("r", one="a")


def proxy(bench: Bench) -> SotwClient:
    """A client as Envoy: wildcards, then the names that it learned."""
    client = bench.sotw()
    client.send(CLUSTER)
    client.settle()
    names = sorted(bench.provider.resources[ENDPOINTS])
    if names:
        client.send(ENDPOINTS, names)
        client.settle()
    client.send(LISTENER)
    client.settle()
    client.send(ROUTES, ["r"])
    client.settle()
    return client


# Subscriptions


def test_naming_nothing_asks_for_everything_as_long_as_nothing_was_named() -> None:
    bench = Bench(A, B)
    client = bench.sotw()
    client.send(CLUSTER)
    assert client.settle() == ["CDS a b"]
    bench.set(A, B, C)
    assert client.settle() == ["CDS a b c"]


def test_a_star_with_a_name_is_both_and_dropping_the_star_leaves_the_name() -> None:
    bench = Bench(A, B)
    client = bench.sotw()
    client.send(CLUSTER)
    last = client.take()
    client.ack(last, ["*", "a"])
    last = client.take()
    assert last.resources == (A, B)
    client.ack(last, ["a"])
    bench.set(cluster("a", 8), cluster("b", 8))
    assert client.settle() == ["CDS a"]


def test_naming_nothing_after_a_name_wants_nothing() -> None:
    bench = Bench(A, B)
    client = bench.sotw()
    client.send(CLUSTER, ["a"])
    last = client.take()
    client.ack(last, [])
    bench.set(cluster("a", 9), B)
    assert client.told() == []


def test_a_changed_subscription_that_looks_like_an_ack_is_answered() -> None:
    client = Bench(A, EA, EB).sotw()
    client.send(ENDPOINTS, ["a"])
    first = client.take()
    client.ack(first)
    client.send(ENDPOINTS, ["a", "b"], first.nonce)
    assert client.take().resources == (EB,)


def test_an_ack_that_repeats_the_names_is_not_answered() -> None:
    client = Bench(A, EA).sotw()
    client.send(ENDPOINTS, ["a"])
    first = client.take()
    client.ack(first)
    client.send(ENDPOINTS, ["a"], first.nonce)
    assert client.told() == []


def test_a_name_that_was_dropped_and_is_asked_for_again_is_sent_again() -> None:
    client = Bench(EA).sotw()
    client.send(ENDPOINTS, ["a"])
    first = client.take()
    client.ack(first, [])
    client.send(ENDPOINTS, ["a"], first.nonce)
    assert client.told() == ["EDS a"]


def test_there_is_no_answer_for_what_does_not_exist_until_it_does() -> None:
    bench = Bench()
    client = bench.sotw()
    client.send(ROUTES, ["r"])
    assert client.told() == []
    bench.set(R)
    assert client.told() == ["RDS r"]


def test_that_a_named_listener_does_not_exist_is_an_answer() -> None:
    client = Bench(WEB).sotw()
    client.send(LISTENER, ["iris.example"])
    assert client.take().resources == ()


def test_what_is_for_names_only_is_in_no_wildcard() -> None:
    api = listener("iris.example", "r", api=True)
    bench = Bench(WEB, api)
    wild, named = bench.sotw(), bench.sotw()
    wild.send(LISTENER)
    named.send(LISTENER, ["iris.example"])
    assert (wild.settle(), named.settle()) == (["LDS web"], ["LDS iris.example"])
    bench.set(WEB, listener("iris.example", "r2", api=True))
    assert (wild.settle(), named.settle()) == ([], ["LDS iris.example"])


@pytest.mark.parametrize("names", [[""], ["n" * 5000], list(map(str, range(MAX_NAMES + 1)))])
def test_what_no_client_sends_ends_the_stream(names: list[str]) -> None:
    with pytest.raises(BadRequest):
        Bench(A).sotw().send(CLUSTER, names)


# Nonces


def test_a_stale_nonce_means_nothing() -> None:
    bench = Bench(EA, EB)
    client = bench.sotw()
    client.send(ENDPOINTS, ["a"])
    first = client.take()
    client.ack(first)
    bench.set(endpoints("a", 5), EB)
    second = client.take()
    client.send(ENDPOINTS, ["a", "b"], first.nonce)
    assert client.told() == []
    client.ack(second)
    assert client.told() == ["EDS b"]
    assert bench.counters.stale_nonces == 1


def test_a_stale_nack_rejects_nothing() -> None:
    bench = Bench(A)
    client = bench.sotw()
    client.send(CLUSTER)
    first = client.take()
    client.ack(first)
    bench.set(B)
    client.send(CLUSTER, nonce=first.nonce, error="late")
    assert client.session.types[CLUSTER].refused == {}


def test_the_nonce_of_an_earlier_stream_opens_a_new_one() -> None:
    client = Bench(A).sotw()
    client.send(CLUSTER, nonce="17")
    assert client.told() == ["CDS a"]


def test_nonces_are_different_on_a_stream() -> None:
    client = Bench(A, EA, WEB).sotw()
    for type_url, names in ((CLUSTER, []), (ENDPOINTS, ["a"]), (LISTENER, [])):
        client.send(type_url, names)
    client.inbox, seen = [], [state.nonce for state in client.session.types.values()]
    assert len(set(seen) - {""}) == len([nonce for nonce in seen if nonce])


# Wholeness


@pytest.mark.parametrize(("type_url", "old", "new"), [(CLUSTER, A, B), (LISTENER, WEB, listener("b", "r"))])
def test_each_response_of_listeners_and_clusters_carries_everything(type_url: str, old: object, new: object) -> None:
    bench = Bench(old)  # type: ignore[arg-type]
    client = bench.sotw()
    client.send(type_url)
    client.settle()
    bench.set(old, new)  # type: ignore[arg-type]
    assert set(client.take().resources) == {old, new}


def test_a_response_of_endpoints_carries_what_changed() -> None:
    bench = Bench(A, B, EA, EB, WEB, R)
    client = proxy(bench)
    newer = endpoints("b", 7)
    bench.set(A, B, EA, newer, WEB, R)
    assert client.take().resources == (newer,)


def test_what_is_absent_is_deleted() -> None:
    bench = Bench(WEB, listener("old", "r"))
    client = bench.sotw()
    client.send(LISTENER)
    client.settle()
    bench.set(WEB)
    assert client.settle() == ["LDS web"]
    bench.set()
    assert client.settle() == ["LDS"]


def test_nothing_is_said_of_routes_that_are_gone() -> None:
    bench = Bench(A, EA, WEB, R)
    client = proxy(bench)
    bench.set(A, EA, WEB)
    assert client.told() == []
    assert client.session.is_settled


def test_a_version_is_that_of_the_content_on_every_server() -> None:
    versions = []
    for bench in (Bench(A, B), Bench(B, A)):
        client = bench.sotw()
        client.send(CLUSTER)
        versions.append(client.take().version)
    assert versions[0] == versions[1]


def test_one_that_comes_back_with_what_it_would_get_is_not_told_again() -> None:
    bench = Bench(A, B)
    client = bench.sotw()
    client.send(CLUSTER)
    client.settle()
    again = bench.sotw()
    again.versions = client.versions
    again.send(CLUSTER)
    assert again.told() == []
    assert again.session.is_settled
    bench.set(A)
    bench.pass_time(3)
    assert again.told() == ["CDS a"]


def test_one_that_comes_back_by_name_is_told_again() -> None:
    bench = Bench(A)
    client = bench.sotw()
    client.send(CLUSTER, ["a"])
    client.settle()
    again = bench.sotw()
    again.versions = client.versions
    again.send(CLUSTER, ["a"])
    assert again.told() == ["CDS a"]


# Order


def test_endpoints_of_a_changed_cluster_are_sent_again_and_those_of_others_not() -> None:
    bench = Bench(A, B, EA, EB, WEB, R)
    client = proxy(bench)
    bench.set(cluster("a", 9), B, EA, EB, WEB, R)
    assert client.told() == ["CDS a b", "EDS a"]


def test_a_swap_of_clusters_is_made_before_it_is_broken() -> None:
    bench = Bench(A, EA, WEB, R)
    client = proxy(bench)
    bench.set(B, EB, listener("web", "r", prefix="new"), routes("r", one="b"))
    both = client.take()
    assert [r.name for r in both.resources] == ["b", "a"]
    client.ack(both)
    assert client.told() == []
    client.send(ENDPOINTS, ["a", "b"], client.session.types[ENDPOINTS].nonce)
    assert client.settle() == ["EDS b", "LDS web", "RDS r", "CDS b"]


def test_endpoints_that_are_asked_for_do_not_wait_for_an_answer_that_waits_for_them() -> None:
    """Envoy answers no clusters while one of them is warming (its CDS subscription is paused)."""
    bench = Bench(A, EA, WEB, R)
    client = proxy(bench)
    bench.set(A, EA, B, EB, WEB, R)
    assert client.take().resources == (A, B)
    bench.set(A, endpoints("a", 7), B, EB, C, WEB, R)
    client.send(ENDPOINTS, ["a", "b"])
    assert client.take().resources == (EB,), "and those of `a` wait: they may be for a cluster that waits"


def test_endpoints_of_a_cluster_that_was_sent_and_is_gone_are_none() -> None:
    bench = Bench(A, EA, WEB, R)
    client = proxy(bench)
    bench.set(A, EA, B, EB, WEB, R)
    clusters = client.take()
    bench.set(A, EA, WEB, R)
    client.send(ENDPOINTS, ["a", "b"])
    last = client.take()
    assert [ClusterLoadAssignment.FromString(r.body) for r in last.resources] == [
        ClusterLoadAssignment(cluster_name="b")
    ]
    client.ack(last, ["a", "b"])
    client.ack(clusters)
    assert client.settle() == ["CDS a"]


def test_a_grpc_client_that_goes_from_listener_to_endpoints_is_not_held_up() -> None:
    api = listener("iris.example", "r", api=True)
    client = Bench(A, EA, WEB, api, R).sotw()
    lines = []
    for type_url, name in ((LISTENER, "iris.example"), (ROUTES, "r"), (CLUSTER, "a"), (ENDPOINTS, "a")):
        client.send(type_url, [name])
        lines += client.settle()
    assert lines == ["LDS iris.example", "RDS r", "CDS a", "EDS a"]


def test_a_grpc_client_follows_its_routes_to_a_new_cluster() -> None:
    api = listener("iris.example", "r", api=True)
    bench = Bench(A, EA, api, R)
    client = bench.sotw()
    for type_url, name in ((LISTENER, "iris.example"), (ROUTES, "r"), (CLUSTER, "a"), (ENDPOINTS, "a")):
        client.send(type_url, [name])
        client.settle()
    bench.set(B, EB, api, routes("r", one="b"))
    response = client.take()
    client.ack(response)
    assert client.told() == [], "the old cluster stays until the new one was asked for"
    client.send(CLUSTER, ["a", "b"], client.session.types[CLUSTER].nonce)
    both = client.take()
    assert set(both.resources) == {A, B}
    client.ack(both)
    client.send(ENDPOINTS, ["a", "b"], client.session.types[ENDPOINTS].nonce)
    assert client.settle() == ["EDS b", "CDS b"]


# Rejections


def test_a_rejected_resource_stands_in_as_it_was_accepted_before() -> None:
    bench = Bench(A, B)
    client = bench.sotw()
    client.send(CLUSTER)
    client.settle()
    bad, newer = cluster("a", 0), cluster("b", 9)
    bench.set(bad, newer)
    client.nack(client.take(), "Error adding/updating cluster(s) a: bad")
    response = client.take()
    assert response.resources == (A, newer)
    client.ack(response)
    bench.set(bad, newer, C)
    assert client.take().resources == (A, newer, C)


def test_a_rejection_of_all_that_changed_is_not_answered() -> None:
    bench = Bench(A, B)
    client = bench.sotw()
    client.send(CLUSTER)
    client.settle()
    bench.set(cluster("a", 0), B)
    client.nack(client.take())
    assert client.told() == []
    assert client.session.types[CLUSTER].held == {"a": A, "b": B}


def test_what_was_never_accepted_is_left_out() -> None:
    client = Bench(A, B).sotw()
    client.send(CLUSTER)
    client.nack(client.take(), "cluster 'b' is bad")
    assert client.settle() == ["CDS a"]


def test_the_accepted_version_is_known_after_a_reconnect() -> None:
    bench = Bench(A, B)
    client = bench.sotw()
    client.send(CLUSTER)
    client.settle()
    bench.set(cluster("a", 0), B)
    client.nack(client.take())
    again = bench.sotw()
    again.send(CLUSTER)
    assert again.take().resources == (A, B)


def test_after_a_restart_a_client_is_not_made_to_delete_what_only_it_knows() -> None:
    bench = Bench(A, B)
    client = bench.sotw()
    client.send(CLUSTER)
    client.settle()
    bad = cluster("a", 0)
    bench.set(bad, B)
    client.nack(client.take())
    bench.restart()
    again = bench.sotw()
    again.versions = client.versions
    again.send(CLUSTER)
    whole = again.take()
    assert whole.resources == (bad, B)
    again.nack(whole, "no")
    assert again.told() == []
    bench.set(bad, B, C)
    again.nack(again.take(), "no")
    assert again.told() == []
    assert again.session.types[CLUSTER].refused == {"a": bad.version}


def test_after_a_restart_a_fresh_client_is_spared_what_it_rejected() -> None:
    bench = Bench(A, B)
    client = bench.sotw()
    client.send(CLUSTER)
    client.nack(client.take(), "a is bad")
    bench.restart()
    again = bench.sotw()
    again.send(CLUSTER)
    assert again.told() == ["CDS b"]


def test_a_version_that_was_rejected_is_not_the_name_of_what_is_sent_instead() -> None:
    bench = Bench(R, routes("s", one="a"))
    client = bench.sotw()
    client.send(ROUTES, ["r", "s"])
    rejected = client.take()
    client.nack(rejected, "route configuration s is bad")
    assert client.take().version != rejected.version


def test_something_newer_ends_the_rejection() -> None:
    bench = Bench(A)
    client = bench.sotw()
    client.send(CLUSTER)
    client.settle()
    bench.set(cluster("a", 0))
    client.nack(client.take())
    newer = cluster("a", 3)
    bench.set(newer)
    response = client.take()
    assert response.resources == (newer,)
    client.ack(response)
    assert (bench.memory.versions, client.session.types[CLUSTER].reason) == ({}, "")
