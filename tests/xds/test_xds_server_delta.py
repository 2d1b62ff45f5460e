"""The delta variant against the protocol's text: subscriptions, nonces, reconnects, removals, order, rejections."""

import pytest
from ads_script import Bench, DeltaClient, cluster, endpoints, listener, routes

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, make_resource
from turnout.xds.server.session import MAX_TYPES
from turnout.xds.server.subscription import MAX_NAMES, BadRequest

A, B, C = cluster("a"), cluster("b"), cluster("c")
EA, EB = endpoints("a", 1), endpoints("b", 2)
WEB = listener("web", "r")
R = routes("r", one="a")


def proxy(bench: Bench) -> DeltaClient:
    """A client as Envoy: wildcards, then the names that it learned."""
    client = bench.delta()
    client.send(CLUSTER)
    client.send(LISTENER)
    client.settle()
    names = sorted(bench.provider.resources[ENDPOINTS])
    if names:
        client.send(ENDPOINTS, sub=names)
        client.settle()
    client.send(ROUTES, sub=["r"])
    client.settle()
    return client


def with_version(resource: Resource) -> dict[str, str]:
    return {resource.name: resource.version}


# Subscriptions


def test_naming_nothing_in_the_first_request_asks_for_everything() -> None:
    client = Bench(A, B).delta()
    client.send(CLUSTER)
    response = client.take()
    assert (response.resources, response.removed) == ((A, B), ())
    assert response.nonce


def test_a_star_asks_for_everything_of_any_type() -> None:
    client = Bench(EA, EB).delta()
    client.send(ENDPOINTS, sub=["*"])
    assert client.told() == ["EDS a b"]


@pytest.mark.parametrize("type_url", [ENDPOINTS, ROUTES])
def test_naming_nothing_asks_for_nothing_of_types_without_a_wildcard(type_url: str) -> None:
    client = Bench(EA, R).delta()
    client.send(type_url)
    assert client.told() == []


def test_an_empty_world_is_an_answer_to_a_wildcard() -> None:
    client = Bench().delta()
    client.send(CLUSTER)
    assert client.told() == ["CDS"]


def test_only_what_is_named_is_sent() -> None:
    client = Bench(A, B).delta()
    client.send(CLUSTER, sub=["b"])
    assert client.told() == ["CDS b"]


def test_a_name_that_does_not_exist_is_told_as_removed_and_sent_once_it_does() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER, sub=["b"])
    assert client.settle() == ["CDS -b"]
    bench.set(A, B)
    assert client.settle() == ["CDS b"]


def test_naming_nothing_later_does_not_ask_for_everything() -> None:
    client = Bench(A, B).delta()
    client.send(CLUSTER, sub=["a"])
    client.settle()
    client.send(CLUSTER, unsub=["a"])
    client.send(CLUSTER)
    assert client.told() == []


def test_a_legacy_wildcard_stays_beside_names_until_the_star_is_unsubscribed() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER)
    client.settle()
    client.send(CLUSTER, sub=["a"])
    client.settle()
    bench.set(A, B)
    assert client.settle() == ["CDS b"]
    client.send(CLUSTER, unsub=["*"])
    bench.set(cluster("a", 7), B, C)
    assert client.settle() == ["CDS a"]


def test_what_is_asked_for_again_is_sent_again() -> None:
    client = Bench(A, B).delta()
    client.send(CLUSTER, sub=["a"])
    client.settle()
    client.send(CLUSTER, sub=["a"])
    assert client.settle() == ["CDS a"]


def test_a_star_that_is_asked_for_again_is_sent_again() -> None:
    client = Bench(A, B).delta()
    client.send(CLUSTER, sub=["*"])
    client.settle()
    client.send(CLUSTER, sub=["*"])
    assert client.settle() == ["CDS a b"]


def test_unsubscribing_is_not_answered_and_ends_the_updates() -> None:
    bench = Bench(A, B)
    client = bench.delta()
    client.send(CLUSTER, sub=["a", "b"])
    client.settle()
    client.send(CLUSTER, unsub=["a", "never-asked"])
    assert client.told() == []
    bench.set(cluster("a", 9), B)
    assert client.told() == []


@pytest.mark.parametrize(("there", "answer"), [([A, B], ["CDS a"]), ([B], ["CDS -a"])])
def test_beside_a_wildcard_an_unsubscribed_name_is_told_one_way_or_the_other(
    there: list[Resource], answer: list[str]
) -> None:
    client = Bench(*there).delta()
    client.send(CLUSTER, sub=["*", "a"])
    client.settle()
    client.send(CLUSTER, unsub=["a"])
    assert client.told() == answer


def test_what_is_for_names_only_is_in_no_wildcard() -> None:
    bench = Bench(WEB, listener("iris.example", "r", api=True))
    client = bench.delta()
    client.send(LISTENER)
    assert client.settle() == ["LDS web"]
    client.send(LISTENER, sub=["iris.example"])
    assert client.settle() == ["LDS iris.example"]


def test_a_type_that_is_not_served_has_none_of_what_is_asked_for() -> None:
    client = Bench(A).delta()
    client.send("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", sub=["key"])
    assert client.told() == ["? -key"]


@pytest.mark.parametrize(
    ("type_url", "names"),
    [("", []), ("x" * 300, []), (CLUSTER, [""]), (CLUSTER, ["n" * 5000]), (CLUSTER, map(str, range(MAX_NAMES + 1)))],
)
def test_what_no_client_sends_ends_the_stream(type_url: str, names: list[str]) -> None:
    with pytest.raises(BadRequest):
        Bench(A).delta().send(type_url, sub=list(names))


def test_names_are_bounded_over_several_requests_too() -> None:
    client = Bench(A).delta()
    client.send(CLUSTER, sub=map(str, range(MAX_NAMES)))
    with pytest.raises(BadRequest):
        client.send(CLUSTER, sub=["one-more"])


def test_types_on_a_stream_are_bounded() -> None:
    client = Bench(A).delta()
    for number in range(MAX_TYPES):
        client.send(f"type.googleapis.com/no.such.Type{number}")
    with pytest.raises(BadRequest):
        client.send(CLUSTER)


# Changes


def test_only_what_changed_is_sent() -> None:
    bench = Bench(A, B)
    client = bench.delta()
    client.send(CLUSTER)
    client.settle()
    newer = cluster("a", 9)
    bench.set(newer, B, C)
    assert client.take().resources == (newer, C)


def test_a_change_of_one_endpoint_sends_that_and_nothing_else() -> None:
    bench = Bench(A, B, EA, EB, WEB, R)
    client = proxy(bench)
    newer = endpoints("b", 3)
    bench.set(A, B, EA, newer, WEB, R)
    assert client.take().resources == (newer,)


def test_equal_resources_in_a_new_set_are_no_change() -> None:
    bench = Bench(A, EA, WEB, R)
    client = proxy(bench)
    bench.set(cluster("a"), endpoints("a", 1), listener("web", "r"), routes("r", one="a"))
    assert client.told() == []


def test_what_is_gone_is_named() -> None:
    bench = Bench(WEB, listener("old", "r"))
    client = bench.delta()
    client.send(LISTENER)
    client.settle()
    bench.set(WEB)
    assert client.told() == ["LDS -old"]


def test_while_a_response_is_not_answered_there_is_no_other_of_its_type() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER)
    client.settle()
    bench.set(cluster("a", 6))
    first = client.take()
    bench.set(cluster("a", 7))
    newest = cluster("a", 8)
    bench.set(newest, B)
    assert client.told() == []
    client.ack(first)
    assert client.take().resources == (newest, B)


def test_a_change_that_is_taken_back_in_time_is_not_sent() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER)
    first = client.take()
    bench.set(cluster("a", 6))
    bench.set(A)
    client.ack(first)
    assert client.told() == []


def test_a_stale_nonce_answers_nothing_but_its_subscription_holds() -> None:
    bench = Bench(A, B)
    client = bench.delta()
    client.send(CLUSTER, sub=["a"])
    first = client.take()
    client.send(CLUSTER, nonce="made-up", sub=["b"])
    assert client.told() == []
    client.ack(first)
    assert client.told() == ["CDS b"]


def test_an_answer_may_carry_a_subscription() -> None:
    client = Bench(A, B).delta()
    client.send(CLUSTER, sub=["a"])
    client.ack(client.take(), sub=["b"])
    assert client.told() == ["CDS b"]


def test_a_name_that_is_dropped_while_its_response_is_under_way_is_not_held() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER, sub=["a"])
    response = client.take()
    client.send(CLUSTER, unsub=["a"])
    client.ack(response)
    bench.set()
    assert client.told() == []


# Reconnects


def test_what_the_client_shows_to_have_is_not_sent_again() -> None:
    client = Bench(A, B, C).delta()
    client.send(CLUSTER, initial={**with_version(A), **with_version(cluster("b", 99))})
    assert client.told() == ["CDS b c"]


def test_one_that_has_everything_is_told_nothing_and_is_in_sync() -> None:
    client = Bench(A).delta()
    client.send(CLUSTER, initial=with_version(A))
    assert client.told() == []
    assert client.session.is_settled
    assert client.session.types[CLUSTER].version_acked


def test_names_with_versions_are_not_sent_again_though_they_are_just_asked_for() -> None:
    client = Bench(EA, EB).delta()
    client.send(ENDPOINTS, sub=["a", "b"], initial=with_version(EA))
    assert client.told() == ["EDS b"]


def test_endpoints_are_sent_again_with_a_cluster_that_changed_while_the_client_was_away() -> None:
    client = Bench(cluster("a", 9), B, EA, EB).delta()
    client.send(CLUSTER, initial=with_version(A) | with_version(B))
    client.send(ENDPOINTS, sub=["a", "b"], initial=with_version(EA) | with_version(EB))
    assert client.settle() == ["CDS a", "EDS a"]


def test_what_went_while_the_client_was_away_is_named() -> None:
    client = Bench(WEB).delta()
    client.send(LISTENER, initial={**with_version(WEB), "gone": "1"})
    assert client.told() == ["LDS -gone"]


def test_clusters_that_went_meanwhile_are_taken_away_after_the_routes_have_come() -> None:
    bench = Bench(A, EA, WEB, R)
    client = bench.delta()
    client.send(CLUSTER, initial={**with_version(A), "gone": "1"})
    client.send(ENDPOINTS, sub=["a"], initial=with_version(EA))
    client.send(LISTENER, initial=with_version(WEB))
    assert client.told() == []
    client.send(ROUTES, sub=["r"], initial={"r": "older"})
    assert client.settle() == ["RDS r", "CDS -gone"]


def test_one_that_asks_for_clusters_only_hears_of_it_a_little_later() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER, initial={**with_version(A), "gone": "1"})
    assert client.told() == []
    bench.pass_time(3)
    assert client.told() == ["CDS -gone"]


def test_versions_in_a_later_request_mean_nothing() -> None:
    client = Bench(A, B).delta()
    client.send(CLUSTER, sub=["a"])
    client.settle()
    client.send(CLUSTER, sub=["b"], initial=with_version(B))
    assert client.told() == ["CDS b"]


# Order


def test_endpoints_are_sent_again_with_their_cluster() -> None:
    bench = Bench(A, B, EA, EB, WEB, R)
    client = proxy(bench)
    bench.set(cluster("a", 9), B, EA, EB, WEB, R)
    assert client.told() == ["CDS a", "EDS a"]


def test_routes_wait_until_the_endpoints_of_a_new_cluster_were_asked_for_and_taken() -> None:
    bench = Bench(A, EA, WEB, R)
    client = proxy(bench)
    bench.set(A, B, EA, EB, WEB, routes("r", one="b"))
    new_cluster = client.take()
    assert new_cluster.resources == (B,)
    client.ack(new_cluster)
    assert client.told() == []
    client.send(ENDPOINTS, sub=["b"])
    new_endpoints = client.take()
    assert new_endpoints.resources == (EB,)
    client.ack(new_endpoints)
    assert client.settle() == ["RDS r"]


def test_a_client_that_never_asks_for_endpoints_is_not_waited_for_for_ever() -> None:
    bench = Bench(A, EA, WEB, R)
    client = proxy(bench)
    bench.set(A, B, EA, EB, WEB, routes("r", one="b"))
    assert client.settle() == ["CDS b"]
    bench.pass_time(3)
    assert client.settle() == ["RDS r"]


def test_a_rejected_cluster_does_not_hold_up_the_routes() -> None:
    bench = Bench(A, WEB, R)
    client = proxy(bench)
    bench.set(A, cluster("s", static=True), WEB, routes("r", one="s"))
    client.nack(client.take())
    assert client.settle() == ["RDS r"]


def test_what_routes_have_left_is_taken_away_after_they_have() -> None:
    bench = Bench(A, B, EA, EB, WEB, routes("r", one="b"))
    client = proxy(bench)
    bench.set(A, EA, WEB, R)
    new_routes = client.take()
    assert new_routes.resources == (R,)
    client.ack(new_routes)
    assert client.settle() == ["CDS -b", "EDS -b"]


def test_a_cluster_that_routes_still_name_is_taken_away_at_once_from_who_asks_for_all() -> None:
    bench = Bench(A, B, EA, EB, WEB, routes("r", one="b"))
    client = proxy(bench)
    for_names_only = make_resource(CLUSTER, "b", B.body, wildcard=False)
    bench.set(A, EA, for_names_only, WEB, routes("r", one="b", two="b"))
    assert client.settle() == ["RDS r", "CDS -b", "EDS -b"]


def test_a_swap_of_clusters_is_made_before_it_is_broken() -> None:
    bench = Bench(A, EA, WEB, R)
    client = proxy(bench)
    bench.set(B, EB, listener("web", "r", prefix="new"), routes("r", one="b"))
    assert client.settle() == ["CDS b"]
    client.send(ENDPOINTS, sub=["b"])
    assert client.settle() == ["EDS b", "LDS web", "RDS r", "CDS -a", "EDS -a"]


def test_clusters_stay_while_a_new_listener_has_not_asked_for_its_routes() -> None:
    bench = Bench(A, B, EA, EB, WEB, R)
    client = proxy(bench)
    other = routes("other", one="b")
    bench.set(B, EB, listener("web", "other"), other)
    assert client.settle() == ["LDS web"]
    client.send(ROUTES, sub=["other"])
    assert client.settle() == ["RDS other", "CDS -a", "EDS -a", "RDS -r"]


def test_a_cluster_that_comes_back_before_it_was_taken_away_stays() -> None:
    bench = Bench(A, B, EA, EB, WEB, routes("r", one="b"))
    client = proxy(bench)
    bench.set(A, EA, WEB, R)
    new_routes = client.take()
    bench.set(A, B, EA, EB, WEB, R)
    client.ack(new_routes)
    assert client.told() == []


def test_a_cluster_that_comes_back_while_it_is_taken_away_has_its_endpoints_before_its_routes() -> None:
    bench = Bench(A, B, EA, EB, WEB, routes("r", one="b"))
    client = proxy(bench)
    bench.set(A, EA, WEB, R)
    client.ack(client.take())
    assert [r.type_url for r in client.inbox] == [CLUSTER, ENDPOINTS]
    bench.set(A, B, EA, EB, WEB, routes("r", one="b"))
    assert client.settle() == ["CDS -b", "EDS -b", "CDS b", "EDS b", "RDS r"]


def test_a_client_that_lets_go_of_endpoints_is_given_time_to_ask_for_them_again() -> None:
    bench = Bench(A, EA, WEB, R)
    client = proxy(bench)
    bench.set(A, B, EA, EB, WEB, routes("r", one="b"))
    client.send(ENDPOINTS, sub=["b"])
    clusters, assignment = client.inbox
    client.inbox.clear()
    client.ack(assignment)
    client.send(ENDPOINTS, unsub=["b"])
    client.ack(clusters)
    assert client.told() == []
    client.send(ENDPOINTS, sub=["b"])
    assert client.settle() == ["EDS b", "RDS r"]


# Rejections


def test_what_was_rejected_is_not_sent_again_until_it_changes() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER)
    client.settle()
    bad = cluster("a", 0)
    bench.set(bad)
    client.nack(client.take(), "connect_timeout must be above 0")
    assert client.told() == []
    bench.set(bad, B)
    assert client.settle() == ["CDS b"]
    bench.set(cluster("a", 1), B)
    assert client.settle() == ["CDS a"]
    assert bench.memory.versions == {}


def test_the_others_of_a_rejected_response_go_on() -> None:
    bench = Bench(A, B, C)
    client = bench.delta()
    client.send(CLUSTER)
    client.nack(client.take(), "Error adding/updating cluster(s) b: no such thing")
    assert client.settle() == ["CDS a c"]
    assert client.session.types[CLUSTER].refused == {"b": B.version}


def test_all_that_changed_is_suspected_if_the_text_names_nothing() -> None:
    bench = Bench(A, B)
    client = bench.delta()
    client.send(CLUSTER)
    client.settle()
    client.send(CLUSTER, sub=["a"])
    again = client.take()
    bench.set(A, cluster("b", 6), C)
    client.ack(again)
    client.nack(client.take(), "something is wrong")
    assert client.told() == []
    assert set(client.session.types[CLUSTER].refused) == {"b", "c"}


def test_a_nack_of_what_was_taken_before_is_not_quarrelled_about() -> None:
    client = Bench(A).delta()
    client.send(CLUSTER, sub=["a"])
    client.settle()
    client.send(CLUSTER, sub=["a"])
    client.nack(client.take())
    assert client.told() == []
    assert client.session.types[CLUSTER].reason == "no"


def test_a_rejection_is_remembered_over_reconnects_and_restarts() -> None:
    bench = Bench(A, B)
    client = bench.delta()
    client.send(CLUSTER)
    client.nack(client.take(), "cluster a is bad")
    client.settle()
    bench.restart()
    again = bench.delta()
    again.send(CLUSTER, initial=with_version(B))
    assert again.told() == []
    assert again.session.types[CLUSTER].refused == {"a": A.version}
    other = bench.delta("n2")
    other.send(CLUSTER)
    assert other.told() == ["CDS a b"]


def test_a_client_that_starts_afresh_gets_what_it_had_accepted_before() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER)
    client.settle()
    bench.set(cluster("a", 0))
    client.nack(client.take())
    again = bench.delta()
    again.send(CLUSTER)
    assert again.take().resources == (A,)


def test_a_substitute_that_is_rejected_too_ends_it() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER)
    client.settle()
    bench.set(cluster("a", 0))
    client.nack(client.take())
    again = bench.delta()
    again.send(CLUSTER)
    rounds = 0
    while again.inbox:
        again.nack(again.take())
        rounds += 1
    assert rounds <= 3


def test_going_back_to_what_the_client_has_ends_the_error() -> None:
    bench = Bench(A)
    client = bench.delta()
    client.send(CLUSTER)
    client.settle()
    bench.set(cluster("a", 0))
    client.nack(client.take())
    bench.set(A)
    state = client.session.types[CLUSTER]
    assert (client.told(), state.refused, state.reason) == ([], {}, "")


def test_removals_in_a_rejected_response_are_told_again() -> None:
    bench = Bench(WEB, listener("old", "r"))
    client = bench.delta()
    client.send(LISTENER)
    client.settle()
    bench.set(listener("web", "r", prefix="bad"))
    client.nack(client.take(), "listener web is bad")
    assert client.settle() == ["LDS -old"]
