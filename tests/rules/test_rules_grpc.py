"""GRPCRoutes as ordinary routes: which calls they take, in which order, and who answers."""

import pytest

from turnout.rules import snapshot as s
from turnout.rules.compile import Compiled

IS_GRPC = s.ValueMatch("content-type", "application/grpc", "prefix")
INFER = "/inference.GRPCInferenceService/ModelInfer"


def predictor(name: str, protocol: str = "h2c", namespace: str = "default") -> str:
    head = (
        f"---\napiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
    )
    return f"{head}spec: {{protocol: {protocol}, endpoints: [{{address: 10.0.0.1, port: 80}}]}}\n"


def route(*rules: str, name: str = "r", kind: str = "GRPCRoute", created: str = "") -> str:
    meta = f"name: {name}" + (f", creationTimestamp: '{created}'" if created else "")
    head = f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{{meta}}}\nspec:\n  rules:\n"
    return head + "".join(f"  - {{{rule}}}\n" for rule in rules)


def match(method: str, more: str = "") -> str:
    return f"matches: [{{method: {{{method}}}{more}}}], backendRefs: [{{name: p}}]"


def routes(compiled: Compiled) -> list[s.Route]:
    assert compiled.snapshot is not None, [str(d) for d in compiled.diagnostics]
    assert s.decode_snapshot(compiled.snapshot.encode()) == compiled.snapshot
    return list(compiled.snapshot.routes())


def told(compiled: Compiled) -> list[tuple[str, str]]:
    return [(d.origin.path, d.code) for d in compiled.diagnostics]


# What a match is


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("service: inference.GRPCInferenceService, method: ModelInfer", s.PathMatch("exact", INFER)),
        ("type: Exact, service: a.B", s.PathMatch("regex", "/a[.]B/[^/]+")),
        ("method: C_1", s.PathMatch("regex", "/[^/]+/C_1")),
        ("type: RegularExpression, service: 'a|b', method: 'C.*'", s.PathMatch("regex", "/(?:a|b)/(?:C.*)")),
        ("type: RegularExpression, service: '^a[.]B$'", s.PathMatch("regex", "/(?:a[.]B)/[^/]+")),
        ("type: RegularExpression, method: '(?i)c', service: ''", s.PathMatch("regex", "/[^/]+/(?:(?i)c)")),
        ("type: RegularExpression, method: 'a\\$'", s.PathMatch("regex", "/[^/]+/(?:a\\$)")),
        ("type: RegularExpression, method: '[]^$]+\\^'", s.PathMatch("regex", "/[^/]+/(?:[]^$]+\\^)")),
    ],
)
def test_a_method_match_is_a_condition_on_the_path(load, method: str, path: s.PathMatch) -> None:
    [found] = routes(load(route(match(method)), predictor("p")))
    assert found == s.Route(
        "grpcroute/default/r/0", s.Match(path, None, (IS_GRPC,)), s.Forward((s.Backend("default/p"),))
    )


@pytest.mark.parametrize("matches", ["", "matches: [], ", "matches: [{}], "])
def test_a_rule_without_a_method_takes_every_call_and_nothing_else(load, matches: str) -> None:
    [found] = routes(load(route(f"{matches}backendRefs: [{{name: p}}]"), predictor("p")))
    assert found.match == s.Match(s.PathMatch("path_prefix", "/"), None, (IS_GRPC,))


def test_headers_are_conditions_beside_that_of_grpc(load) -> None:
    text = "matches: [{headers: [{name: X-Tenant, value: a}, {type: RegularExpression, name: y, value: 'b+'}]}]"
    [found] = routes(load(route(text + ", backendRefs: [{name: p}]"), predictor("p")))
    assert found.match.headers == (IS_GRPC, s.ValueMatch("x-tenant", "a"), s.ValueMatch("y", "b+", "regex"))


def test_filters_weights_and_names_are_as_in_an_httproute(load) -> None:
    edits = "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: b}]}}, "
    edits += "{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x-c]}}]"
    refs = f"backendRefs: [{{name: p, weight: 9}}, {{name: q, {edits}}}]"
    [found] = routes(load(route(f"name: split, {edits}, {refs}"), predictor("p"), predictor("q")))
    request, response = s.HeaderEdits(set=(("x-a", "b"),)), s.HeaderEdits(remove=("x-c",))
    assert (found.name, found.request_headers, found.response_headers) == (
        "grpcroute/default/r/split", (request,), (response,),
    )  # fmt: skip
    assert found.action == s.Forward((s.Backend("default/p", 9), s.Backend("default/q", 1, request, response)))


@pytest.mark.parametrize("refs", ["", "backendRefs: [{name: p, weight: 0}]"])
def test_a_rule_that_nobody_serves_is_unavailable(load, refs: str) -> None:
    compiled = load(route(refs), predictor("p"))
    [found] = routes(compiled)
    assert isinstance(found.action, s.Respond)
    assert found.action.status == 503
    assert any(d.code in ("no-backends", "zero-weights") and "gets a 503" in d.message for d in compiled.diagnostics)


def test_a_route_without_rules_takes_nothing_and_is_told(load) -> None:
    text = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: r}\nspec: {}\n"
    assert routes(load(text)) == []
    assert told(load(text)) == [("spec", "no-rules")]


# Their order


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("service: a.Longer, method: M", "service: a.B, method: Longest"),
        ("service: a.B, method: Long", "service: a.B, method: M"),
        ("service: a.B, method: M", "service: a.B"),
        ("service: a.B", "method: LongestOfAll"),
        ("service: a.B", "type: RegularExpression, service: 'a.Longest.*'"),
        ("type: RegularExpression, service: 'a.b.*'", "type: RegularExpression, service: 'a.*'"),
        ("type: RegularExpression, service: 'a', method: 'b'", "type: RegularExpression, service: 'a'"),
        ("type: RegularExpression, service: a", "method: M"),
    ],
)
def test_most_of_the_service_and_then_of_the_method_comes_first(load, first: str, second: str) -> None:
    one = routes(load(route(match(first), match(second)), predictor("p")))
    other = routes(load(route(match(second), match(first)), predictor("p")))
    assert [found.match for found in one] == [found.match for found in other]
    assert [found.name[-1] for found in one] == ["0", "1"]


def test_then_headers_age_name_and_position_decide(load) -> None:
    plain, narrow = match("service: a.B"), match("service: a.B", ", headers: [{name: x, value: y}]")
    names = [found.name for found in routes(load(route(plain, narrow), predictor("p")))]
    assert names == ["grpcroute/default/r/1", "grpcroute/default/r/0"]
    old, new = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
    texts = [route(plain, name="a", created=new), route(plain, name="b", created=old), route(plain, name="c")]
    texts.append(route(plain, plain, name="ab", created=new))
    names = [found.name for found in routes(load(*texts, predictor("p")))]
    assert names == [f"grpcroute/default/{name}" for name in ("b/0", "a/0", "ab/0", "ab/1", "c/0")]


# Without a Gateway both kinds are served together


def test_a_grpcroute_is_asked_before_an_httproute_of_the_same_name(load) -> None:
    http = "matches: [{path: {type: Exact, value: /a.B/M}, method: POST}, {}], backendRefs: [{name: p}]"
    compiled = load(route(http, kind="HTTPRoute"), route(match("method: M"), ""), predictor("p"))
    names = [found.name for found in routes(compiled)]
    assert names == ["grpcroute/default/r/0", "grpcroute/default/r/1", "default/r/0", "default/r/0"]
    assert compiled.origins.routes["default/r/0", 1].path == "spec.rules[0].matches[1]"
    assert compiled.origins.routes["grpcroute/default/r/0", 0].path == "spec.rules[0].matches[0]"
    assert [(d.origin.path, d.code) for d in compiled.diagnostics] == [("spec.rules[1]", "no-backends")]


def test_a_match_that_is_never_reached_is_told(load) -> None:
    compiled = load(route(match("service: a.B, method: M"), match("service: a.B, method: M")), predictor("p"))
    assert told(compiled) == [("spec.rules[1].matches[0]", "shadowed-rule")]


# What is spoken to who answers


def test_a_predictor_says_what_it_speaks(load) -> None:
    compiled = load(route("backendRefs: [{name: p}]"), predictor("p"))
    assert [cluster.protocol for cluster in compiled.snapshot.clusters] == ["h2c"]
    assert compiled.diagnostics == ()


@pytest.mark.parametrize("protocol", ["h2", "auto"])
def test_http2_by_alpn_needs_tls(load, protocol: str) -> None:
    [found] = load(predictor("p", protocol)).diagnostics
    assert (found.severity, found.origin.path, found.code) == ("error", "spec.protocol", "missing-tls")
    assert "h2c" in found.message


def test_grpc_to_a_predictor_of_http1_is_told_with_both_names(load) -> None:
    [found] = load(route("backendRefs: [{name: q}, {name: p}]"), predictor("p", "http1"), predictor("q")).diagnostics
    assert (found.severity, found.origin.path, found.code) == (
        "warning", "spec.rules[0].backendRefs[1]", "protocol-mismatch",
    )  # fmt: skip
    assert "GRPCRoute default/r" in found.message
    assert "Predictor default/p" in found.message


def test_http_to_a_predictor_of_h2c_is_nothing_to_tell(load) -> None:
    assert load(route("backendRefs: [{name: p}]", kind="HTTPRoute"), predictor("p")).diagnostics == ()


def test_a_service_is_spoken_to_in_what_the_kind_of_route_needs(load) -> None:
    refs = "backendRefs: [{name: s, kind: Service, port: 9000}]"
    compiled = load(route(refs), route(refs, kind="HTTPRoute"))
    assert compiled.snapshot.clusters == (
        s.Cluster("service/default/s:9000", (s.Endpoint("s.default.svc", 9000),)),
        s.Cluster("service/default/s:9000/h2c", (s.Endpoint("s.default.svc", 9000),), protocol="h2c"),
    )
    assert [found.action.backends[0].cluster for found in routes(compiled)] == [
        "service/default/s:9000/h2c", "service/default/s:9000",
    ]  # fmt: skip
    assert compiled.diagnostics == ()


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_a_grant_is_for_one_kind_of_route(load, kind: str) -> None:
    grant = f"""---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {{name: g, namespace: other}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: default}}]
  to: [{{group: turnout.dev, kind: Predictor}}]
"""
    compiled = load(route("backendRefs: [{name: p, namespace: other}]"), predictor("p", namespace="other"), grant)
    if kind == "GRPCRoute":
        assert compiled.diagnostics == ()
    else:
        assert compiled.snapshot.missing == ("other/p (not granted)",)
        assert "lets GRPCRoutes of default name" in compiled.diagnostics[0].message
