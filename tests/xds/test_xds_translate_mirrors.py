"""Mirrors to Envoy's `request_mirror_policies` and back, and what only one of the two can say."""

from typing import Any

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import MessageToDict, ParseDict
from msgspec.structs import replace
from refusals import refused

from turnout.rules import resilience as r
from turnout.rules import snapshot as s
from turnout.rules.mirroring import Mirror, MirrorLimits, PauseAbove
from turnout.xds.client.needs import read_needs
from turnout.xds.resources import ROUTES, make_resource
from turnout.xds.translate.emit.hints import write_hint
from turnout.xds.translate.from_envoy import from_xds
from turnout.xds.translate.to_envoy import to_xds

TO_A = s.Forward((s.Backend("a"),))
MARK = {
    "append": {
        "header": {"key": "x-turnout-shadow", "value": "true"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
}


def mirrored(*mirrors: Mirror, **more: Any) -> s.Forward:
    return replace(TO_A, mirrors=mirrors, **more)


def snapshot(action: s.Action, *missing: str, host: str = "*") -> s.Snapshot:
    route = s.Route("r", s.Match(), action)
    listener = s.Listener("l", (s.VirtualHost("v", (host,), (route,)),), "127.0.0.1", 8080)
    return s.Snapshot((listener,), (s.Cluster("a"), s.Cluster("b")), missing)


def told_of(action: s.Action, *missing: str) -> dict[str, Any]:
    """The first route, as JSON."""
    message = RouteConfiguration.FromString(to_xds(snapshot(action, *missing))[ROUTES]["l"].body)
    (host,) = MessageToDict(message, preserving_proto_field_name=True)["virtual_hosts"]
    found: dict[str, Any] = host["routes"][0]
    return found


# Ours


def test_a_copy_has_the_requests_host_and_says_what_it_is() -> None:
    told = told_of(mirrored(Mirror("b"), Mirror("c", 2_500)), "c")
    usual = {"disable_shadow_host_suffix_append": True, "request_headers_mutations": [MARK]}
    share = {"runtime_fraction": {"default_value": {"numerator": 2_500, "denominator": "MILLION"}}}
    assert told["route"]["request_mirror_policies"] == [{"cluster": "b", **usual}, {"cluster": "c", **usual, **share}]
    assert "metadata" not in told


@pytest.mark.parametrize("per_million", [0, 1, 500_000, 999_999, 1_000_000])
def test_a_share_survives(per_million: int) -> None:
    whole = snapshot(mirrored(Mirror("b", per_million), Mirror("a")))
    assert from_xds(to_xds(whole)) == whole


@pytest.mark.parametrize(
    "more",
    [
        {"mirror_by": r.HashKey("header", "x-user")},
        {"mirror_limits": MirrorLimits(1.5, 9, r.RateLimit(2.0, 3), PauseAbove(0.5, 10, 0))},
    ],
)
def test_what_envoy_has_no_word_for_travels_beside_it(more: dict[str, Any]) -> None:
    whole = snapshot(mirrored(Mirror("b", 1_000), **more))
    assert "metadata" in told_of(mirrored(Mirror("b", 1_000), **more))
    assert from_xds(to_xds(whole)) == whole


def test_a_mirror_that_nothing_has_is_missing_and_others_are_awaited_but_by_nobody() -> None:
    whole = snapshot(mirrored(Mirror("nowhere"), Mirror("b")), "nowhere")
    assert from_xds(to_xds(whole)) == whole
    resources = to_xds(snapshot(mirrored(Mirror("b"))))
    for of_type in resources.values():
        of_type.pop("b", None)
    found = from_xds(resources)
    found.check()
    assert (found.cold, found.missing) == (("b",), ())
    assert read_needs(ROUTES, resources[ROUTES]["l"].body).clusters == {"a": False}


def test_a_split_that_becomes_several_routes_is_mirrored_in_each() -> None:
    apart = s.Backend("b", 1, rewrite=s.Rewrite(None, s.PathRewrite("full", "/f")))
    whole = snapshot(replace(TO_A, backends=(s.Backend("a", 3), apart), mirrors=(Mirror("b", 7),)))
    assert from_xds(to_xds(whole)) == whole
    message = RouteConfiguration.FromString(to_xds(whole)[ROUTES]["l"].body)
    assert [len(found.route.request_mirror_policies) for found in message.virtual_hosts[0].routes] == [1, 1]


def test_clients_of_grpc_are_told_of_no_mirrors() -> None:
    told = to_xds(snapshot(mirrored(Mirror("b"), mirror_by=r.HashKey("source_address")), host="h.example"))
    (host,) = RouteConfiguration.FromString(told[ROUTES]["grpc/h.example"].body).virtual_hosts
    assert not any(found.route.request_mirror_policies for found in host.routes)


# What others say


def configuration(route: Any = (), host: Any = (), whole: Any = (), **more: Any) -> RouteConfiguration:
    """With these policies for a route, its virtual host, and all; `more` goes into the route."""
    action = {"cluster": "a", **policies(route)}
    hosts = [
        {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action, **more}]}
        | policies(host)
    ]
    return ParseDict({"name": "l", "virtual_hosts": hosts, **policies(whole)}, RouteConfiguration())


def policies(told: Any) -> dict[str, Any]:
    return {"request_mirror_policies": list(told)} if told else {}


def policy(cluster: str = "b", **more: Any) -> dict[str, Any]:
    return {"cluster": cluster, "disable_shadow_host_suffix_append": True, **more}


def share(numerator: int, denominator: str) -> dict[str, Any]:
    return {"runtime_fraction": {"default_value": {"numerator": numerator, "denominator": denominator}}}


def mirrors_of(message: RouteConfiguration) -> tuple[Mirror, ...]:
    assert refused(ROUTES, message) == {}
    resources = to_xds(snapshot(TO_A))
    resources[ROUTES]["l"] = make_resource(ROUTES, "l", message.SerializeToString())
    (host,) = from_xds(resources).listeners[0].virtual_hosts
    action = host.routes[0].action
    assert isinstance(action, s.Forward)
    return action.mirrors


@pytest.mark.parametrize(
    ("numerator", "denominator", "per_million"),
    [
        (25, "HUNDRED", 250_000),
        (25, "TEN_THOUSAND", 2_500),
        (25, "MILLION", 25),
        (0, "HUNDRED", 0),
        (300, "HUNDRED", 10**6),
    ],
)
def test_a_share_may_be_of_a_hundred_of_ten_thousand_and_of_a_million(
    numerator: int, denominator: str, per_million: int
) -> None:
    message = configuration([policy(**share(numerator, denominator))])
    assert mirrors_of(message) == (Mirror("b", per_million),)


def test_the_narrowest_that_says_something_holds_and_nothing_is_put_together() -> None:
    of_host, of_all = [policy("b")], [policy("c")]
    assert mirrors_of(configuration((), of_host, of_all)) == (Mirror("b"),)
    assert mirrors_of(configuration((), (), of_all)) == (Mirror("c"),)
    assert mirrors_of(configuration([policy("d"), policy("e")], of_host, of_all)) == (Mirror("d"), Mirror("e"))


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ({"cluster": "b"}, "disable_shadow_host_suffix_append"),
        (policy(""), "cluster"),
        ({"cluster_header": "x-to", "disable_shadow_host_suffix_append": True}, "cluster_header"),
        (policy(trace_sampled=False), "trace_sampled"),
        (policy(host_rewrite_literal="h.example"), "host_rewrite_literal"),
        (policy(request_headers_mutations=[MARK, MARK]), "request_headers_mutations"),
        (policy(request_headers_mutations=[{"remove": "x"}]), "request_headers_mutations[0].remove"),
        (
            policy(request_headers_mutations=[{"append": {"header": {"key": "x-other", "value": "true"}}}]),
            "request_headers_mutations",
        ),
    ],
)
@pytest.mark.parametrize("level", ["route", "host", "whole"])
def test_what_only_envoy_can_do_is_refused_by_its_field(level: str, told: dict[str, Any], place: str) -> None:
    at = {"route": "virtual_hosts[0].routes[0].route.", "host": "virtual_hosts[0].", "whole": ""}[level]
    found = refused(ROUTES, configuration(**{level: [told]}))
    assert f"{at}request_mirror_policies[0].{place}" in found


@pytest.mark.parametrize(
    "claimed",
    [
        {"mirror_by": r.HashKey("header", "No Name")},
        {"mirror_limits": MirrorLimits(timeout_s=0.0)},
        {"mirror_limits": MirrorLimits(max_requests=0)},
        {"mirror_limits": MirrorLimits(rate=r.RateLimit(1.0, 1, "x-tenant"))},
        {"mirror_limits": MirrorLimits(rate=r.RateLimit(0.0, 1))},
        {"mirror_limits": MirrorLimits(pause_above=PauseAbove(active_requests=-1))},
    ],
)
def test_our_own_words_are_checked_like_all_else(claimed: dict[str, Any]) -> None:
    route = s.Route("r", s.Match(s.PathMatch("prefix", "/")), mirrored(Mirror("b"), **claimed))
    told = {"metadata": {"filter_metadata": {"turnout.dev": {"route": write_hint(route)}}}}
    assert "virtual_hosts[0].routes[0].metadata" in refused(ROUTES, configuration([policy()], **told))
