"""Who may ask, to and from Envoy's RBAC filter: the same to both, and what only Envoy could say is refused by field."""

from typing import Any

import envoy_messages as written
import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2  # noqa: F401  (json_format has to know the type)
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from turnout.proxy.route.admission import compile_admission
from turnout.rules import snapshot as s
from turnout.xds.resources import LISTENER, ROUTES, make_resource
from turnout.xds.translate.from_envoy import from_xds
from turnout.xds.translate.to_envoy import to_xds

NAME = "envoy.filters.http.rbac"
TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3"
APPS, ROOT, ONE = "spiffe://td/ns/apps/*", "spiffe://td/ns/ops/sa/root", "spiffe://td/ns/apps/sa/one"
TO_A = s.Forward((s.Backend("a"),))
WORDS: dict[str, Any] = {APPS: {"prefix": APPS[:-1]}, ROOT: {"exact": ROOT}, ONE: {"exact": ONE}}


def snapshot(*routes: s.Route, allowed: tuple[str, ...] = (), domain: str = "h.example") -> s.Snapshot:
    host = s.VirtualHost("v", (domain,), routes, allowed)
    return s.Snapshot((s.Listener("l", (host,), "127.0.0.1", 8080),), (s.Cluster("a"),))


def route(*allowed: str, name: str = "r", path: str = "/x", action: s.Action = TO_A) -> s.Route:
    return s.Route(name, s.Match(s.PathMatch("path_prefix", path)), action, allowed_identities=allowed)


def principal(pattern: str) -> dict[str, Any]:
    return {"authenticated": {"principal_name": WORDS[pattern]}}


def any_of(*patterns: str) -> dict[str, Any]:
    return {"or_ids": {"ids": [principal(pattern) for pattern in patterns]}}


def guard(*principals: dict[str, Any], **more: Any) -> dict[str, Any]:
    policies = {"p": {"permissions": [{"any": True}], "principals": list(principals)}}
    return {"@type": f"{TYPE}.RBACPerRoute", "rbac": {"rules": {"policies": policies, **more}}}


def configuration(host: dict[str, Any] | None, *routes: dict[str, Any] | None) -> RouteConfiguration:
    """A virtual host with these guards for itself and for its routes."""
    told = [{"match": {"prefix": f"/{at}"}, "route": {"cluster": "a"}, **per_filter(r)} for at, r in enumerate(routes)]
    whole = {"name": "v", "domains": ["*"], "routes": told, **per_filter(host)}
    return ParseDict({"name": "l", "virtual_hosts": [whole]}, RouteConfiguration())


def per_filter(told: dict[str, Any] | None) -> dict[str, Any]:
    return {} if told is None else {"typed_per_filter_config": {NAME: told}}


def read_back(message: RouteConfiguration) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Whom the host and each of its routes allow."""
    assert refused(ROUTES, message) == {}
    resources = to_xds(snapshot())
    resources[ROUTES]["l"] = make_resource(ROUTES, "l", message.SerializeToString())
    (host,) = from_xds(resources).listeners[0].virtual_hosts
    return host.allowed_identities, [found.allowed_identities for found in host.routes]


# Ours


RESPOND, REDIRECT = s.Respond(500, "none"), s.Redirect(302, hostname="h.example")
SPLIT = s.Forward((s.Backend("a"), s.Backend("a", rewrite=s.Rewrite(None, s.PathRewrite("full", "/f")))))


@pytest.mark.parametrize("allowed", [(), (ROOT,), (APPS, ROOT)])
@pytest.mark.parametrize("action", [TO_A, SPLIT, RESPOND, REDIRECT])
def test_identities_survive_for_hosts_and_for_routes_of_every_kind(allowed: tuple[str, ...], action: s.Action) -> None:
    told = snapshot(route(APPS, action=action), route(ONE, ROOT, name="q", path="/y", action=action), allowed=allowed)
    assert from_xds(to_xds(told)) == told
    half_open = snapshot(route(action=action), route(ONE, name="q", path="/y"), allowed=allowed)
    assert from_xds(to_xds(half_open)) == half_open


def test_a_route_says_what_its_host_says_and_its_own() -> None:
    message = RouteConfiguration.FromString(to_xds(snapshot(route(ONE), allowed=(APPS, ROOT)))[ROUTES]["l"].body)
    (host,) = MessageToDict(message, preserving_proto_field_name=True)["virtual_hosts"]
    policies = {
        "identities": {
            "permissions": [{"any": True}],
            "principals": [{"and_ids": {"ids": [any_of(APPS, ROOT), any_of(ONE)]}}],
        }
    }
    told = {"@type": f"{TYPE}.RBACPerRoute", "rbac": {"rules": {"policies": policies}}}
    assert [r["typed_per_filter_config"] for r in host["routes"]] == [{NAME: told}] * 2
    policies["identities"]["principals"] = [principal(APPS), principal(ROOT)]
    assert host["typed_per_filter_config"] == {NAME: told}


@pytest.mark.parametrize(
    ("told", "is_there"),
    [(snapshot(route()), False), (snapshot(route(ONE)), True), (snapshot(route(), allowed=(ONE,)), True)],
)
def test_the_filter_is_in_the_chain_where_something_uses_it_and_is_the_first(told: s.Snapshot, is_there: bool) -> None:
    limited = s.RateLimit(1.0, 1)
    (listener,) = told.listeners
    (host,) = listener.virtual_hosts
    more = s.Route("limited", s.Match(), s.Forward((s.Backend("a"),), rate_limit=limited))
    host = s.VirtualHost(host.name, host.domains, (*host.routes, more), host.allowed_identities)
    message = Listener.FromString(to_xds(s.Snapshot((s.Listener("l", (host,)),), told.clusters))[LISTENER]["l"].body)
    (chain,) = MessageToDict(message, preserving_proto_field_name=True)["filter_chains"]
    names = [found["name"] for found in chain["filters"][0]["typed_config"]["http_filters"]]
    rest = ["envoy.filters.http.local_ratelimit", "envoy.filters.http.router"]
    assert names == ([NAME, *rest] if is_there else rest)


def test_what_is_not_for_everybody_is_for_no_client_of_grpc() -> None:
    """It goes to endpoints by itself, and nobody would look at its certificate for us."""
    told = snapshot(route(ONE), route(name="q", path="/y", action=s.Forward((s.Backend("b"),))))
    made = to_xds(s.Snapshot(told.listeners, (s.Cluster("a"), s.Cluster("b"))))
    message = RouteConfiguration.FromString(made[ROUTES]["grpc/h.example"].body)
    found = [found.WhichOneof("action") for found in message.virtual_hosts[0].routes]
    assert found == ["direct_response"] * 2 + ["route"] * 2
    assert "grpc/a" not in {name for of_type in made.values() for name in of_type}
    assert b"rbac" not in made[ROUTES]["grpc/h.example"].body
    whole = to_xds(snapshot(route(), allowed=(APPS,)))[ROUTES]["grpc/h.example"].body
    (host,) = RouteConfiguration.FromString(whole).virtual_hosts
    assert {found.direct_response.status for found in host.routes} == {403}


# What others say


def test_a_route_without_words_of_its_own_has_those_of_its_host() -> None:
    assert read_back(configuration(guard(principal(ROOT), principal(APPS)), None)) == ((ROOT, APPS), [()])


def test_a_route_that_replaces_what_its_host_says_leaves_the_rest_to_the_other_routes() -> None:
    host, own = guard(principal(APPS)), guard(principal(ROOT))
    assert read_back(configuration(host, own, None)) == ((), [(ROOT,), (APPS,)])


@pytest.mark.parametrize("off", [{}, {"rbac": {}}])
def test_a_route_may_be_open_where_its_host_is_not(off: dict[str, Any]) -> None:
    open_to_all = {"@type": f"{TYPE}.RBACPerRoute", **off}
    assert read_back(configuration(guard(principal(APPS)), open_to_all, None)) == ((), [(), (APPS,)])


def test_several_policies_are_one() -> None:
    policies = {
        "b": {"permissions": [{"any": True}], "principals": [any_of(ROOT)]},
        "a": {"permissions": [{"any": True}], "principals": [principal(ONE)]},
    }
    told = {"@type": f"{TYPE}.RBACPerRoute", "rbac": {"rules": {"policies": policies}, "track_per_rule_stats": True}}
    assert read_back(configuration(None, told)) == ((), [(ONE, ROOT)])


IN_HOST = f"virtual_hosts[0].typed_per_filter_config[{NAME}]"
IN_ROUTE = f"virtual_hosts[0].routes[0].typed_per_filter_config[{NAME}]"
RULES = f"{IN_ROUTE}.rbac.rules"
NOBODY: dict[str, Any] = {"policies": {}}


def policy(**more: Any) -> dict[str, Any]:
    whole = {"permissions": [{"any": True}], "principals": [principal(ONE)], **more}
    return {"@type": f"{TYPE}.RBACPerRoute", "rbac": {"rules": {"policies": {"p": whole}}}}


@pytest.mark.parametrize(
    ("told", "place"),
    [
        (guard(principal(ONE), action="DENY"), f"{RULES}.action"),
        (guard(principal(ONE), action="LOG"), f"{RULES}.action"),
        (guard(**NOBODY), f"{RULES}.policies"),
        (guard(principal(ONE), audit_logging_options={"audit_condition": "ON_DENY"}), f"{RULES}.audit_logging_options"),
        (guard(), f"{RULES}.policies[p].principals"),
        (policy(permissions=[]), f"{RULES}.policies[p].permissions"),
        (policy(permissions=[{"destination_port": 80}]), f"{RULES}.policies[p].permissions[0].destination_port"),
        (policy(permissions=[{"url_path": {"path": {"exact": "/"}}}]), f"{RULES}.policies[p].permissions[0].url_path"),
        (policy(condition={"id": "1"}), f"{RULES}.policies[p].condition"),
        (guard({"any": True}), f"{RULES}.policies[p].principals[0].any"),
        (guard({"not_id": principal(ONE)}), f"{RULES}.policies[p].principals[0].not_id"),
        (
            guard({"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}),
            f"{RULES}.policies[p].principals[0].remote_ip",
        ),
        (guard({"header": {"name": "x"}}), f"{RULES}.policies[p].principals[0].header"),
        (guard({}), f"{RULES}.policies[p].principals[0]"),
        (guard(any_of(ONE), {"and_ids": {"ids": []}}), f"{RULES}.policies[p].principals[1]"),
        (guard({"or_ids": {"ids": []}}), f"{RULES}.policies[p].principals[0].or_ids.ids"),
        (guard(principal(ONE), {"or_ids": {}}), f"{RULES}.policies[p].principals[1].or_ids.ids"),
        (guard({"and_ids": {"ids": []}}), f"{RULES}.policies[p].principals[0].and_ids.ids"),
        (
            guard({"and_ids": {"ids": [any_of(ONE), {"or_ids": {}}]}}),
            f"{RULES}.policies[p].principals[0].and_ids.ids[1].or_ids.ids",
        ),
        (guard({"and_ids": {"ids": [any_of(ONE)]}}), f"{RULES}.policies[p].principals[0].and_ids.ids"),
        (
            guard({"and_ids": {"ids": [any_of(ONE), {"or_ids": {"ids": [{"and_ids": {}}]}}]}}),
            f"{RULES}.policies[p].principals[0].and_ids.ids[1].or_ids.ids[0]",
        ),
        (guard({"and_ids": {"ids": [any_of(ONE), any_of(ROOT)]}}), IN_ROUTE),
        *(
            (
                guard({"authenticated": {"principal_name": name} if name else {}}),
                f"{RULES}.policies[p].principals[0].authenticated.principal_name",
            )
            for name in (
                {},
                {"suffix": "/one"},
                {"contains": "apps"},
                {"safe_regex": {"regex": "spiffe://td/.*"}},
                {"exact": ONE, "ignore_case": True},
                {"exact": APPS},
                {"prefix": "spiffe://td/ns/apps"},
                {"prefix": "spiffe://"},
                {"exact": "CN=client"},
            )
        ),
        ({"@type": f"{TYPE}.RBACPerRoute", "rbac": {"shadow_rules": {}}}, f"{IN_ROUTE}.rbac.shadow_rules"),
        ({"@type": f"{TYPE}.RBACPerRoute", "rbac": {"matcher": {}}}, f"{IN_ROUTE}.rbac.matcher"),
        ({"@type": f"{TYPE}.RBAC"}, IN_ROUTE),
    ],
)
def test_what_only_envoy_can_ask_for_is_refused_by_its_field(told: dict[str, Any], place: str) -> None:
    assert place in refused(ROUTES, configuration(None, told))


def test_a_host_asks_for_one_of_one_set() -> None:
    both = guard({"and_ids": {"ids": [any_of(ONE), any_of(ROOT)]}})
    assert IN_HOST in refused(ROUTES, configuration(both, None))


def test_the_filter_in_the_chain_asks_for_nothing_itself() -> None:
    def chain(name: str, **told: Any) -> dict[str, str]:
        idle = {"name": name, "typed_config": {"@type": f"{TYPE}.RBAC", **told}}
        router = {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }
        return refused(LISTENER, written.listener(http_filters=[idle, router]))

    inside = "filter_chains[0].filters[0].typed_config.http_filters[0]"
    assert chain(NAME) == {}
    assert chain(NAME, rules_stat_prefix="x", track_per_rule_stats=True) == {}
    assert f"{inside}.typed_config.rules" in chain(NAME, rules={})
    assert f"{inside}.name" in chain("rbac")
    assert f"{inside}.typed_config" in chain("envoy.filters.http.fault")


# Nobody gets in whom Envoy would refuse

LEAVES = st.sampled_from([APPS, ROOT, ONE]).map(principal)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda kind, ids: {kind: {"ids": ids}}, st.sampled_from(["or_ids", "and_ids"]), st.lists(inner, max_size=3)
    ),
    max_leaves=5,
)
POLICIES = st.dictionaries(
    st.sampled_from(["p", "q"]),
    st.lists(TREES, max_size=2).map(lambda found: {"permissions": [{"any": True}], "principals": found}),
    max_size=2,
)
GUARDS = (
    st.none()
    | st.just({"@type": f"{TYPE}.RBACPerRoute"})
    | POLICIES.map(lambda policies: {"@type": f"{TYPE}.RBACPerRoute", "rbac": {"rules": {"policies": policies}}})
)


def takes(told: dict[str, Any], identity: str) -> bool:
    """Whether a principal is that of a client, as Envoy's API has it."""
    match told:
        case {"and_ids": {"ids": ids}}:
            return all(takes(each, identity) for each in ids)
        case {"or_ids": {"ids": ids}}:
            return any(takes(each, identity) for each in ids)
        case {"authenticated": {"principal_name": {"exact": value}}}:
            return bool(identity == value)
        case {"authenticated": {"principal_name": {"prefix": value}}}:
            return identity.startswith(value)
    raise AssertionError(told)


def lets_in(told: dict[str, Any] | None, identity: str) -> bool:
    if told is None or "rbac" not in told:
        return True
    policies = told["rbac"]["rules"]["policies"].values()
    return any(takes(each, identity) for policy in policies for each in policy["principals"])


@given(host=GUARDS, routes=st.lists(GUARDS, min_size=1, max_size=3))
def test_what_is_taken_lets_in_whom_envoy_would_and_nobody_else(
    host: dict[str, Any] | None, routes: list[dict[str, Any] | None]
) -> None:
    message = configuration(host, *routes)
    if refused(ROUTES, message):
        return
    of_host, own = read_back(message)
    for identity in (ONE, ROOT, "spiffe://td/ns/apps/sa/two", "spiffe://td/else", ""):
        for told, of_route in zip(routes, own, strict=True):
            admission = compile_admission(of_host, of_route)
            is_in = admission is None or admission.takes(identity)
            assert is_in == lets_in(host if told is None else told, identity)
