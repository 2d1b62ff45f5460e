"""`RequestMirror` filters, and what a RoutePolicy says of them, as a route; and what of it could not take effect."""

import pytest

from turnout.rules import snapshot as s
from turnout.rules.compile import Compiled
from turnout.rules.mirroring import Mirror, MirrorLimits, PauseAbove
from turnout.rules.resilience import HashKey, RateLimit

EXTENSION = "{type: ExtensionRef, extensionRef: {group: turnout.dev, kind: RoutePolicy, name: x}}"
ALL = 1_000_000


def predictor(name: str, protocol: str = "h2c", namespace: str = "default") -> str:
    head = "---\napiVersion: turnout.dev/v1alpha1\nkind: Predictor\n"
    spec = f"{{protocol: {protocol}, endpoints: [{{address: 10.0.0.1, port: 80}}]}}"
    return f"{head}metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"


def policy(spec: str) -> str:
    head = "---\napiVersion: turnout.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: x}\n"
    return f"{head}spec: {{{spec}}}\n"


def mirror(text: str) -> str:
    return f"{{type: RequestMirror, requestMirror: {{{text}}}}}"


def route(*filters: str, kind: str = "HTTPRoute", refs: str = "[{name: live}]") -> str:
    head = f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r}}\n"
    return f"{head}spec:\n  rules:\n  - filters: [{', '.join(filters)}]\n    backendRefs: {refs}\n"


BOTH = predictor("live") + predictor("p") + predictor("q")
TO_P = mirror("backendRef: {name: p}")
TENTH = mirror("backendRef: {name: p}, percent: 10")


def told(compiled: Compiled) -> list[tuple[str, str]]:
    return [(d.origin.path, d.code) for d in compiled.diagnostics if d.code != "unused-predictor"]


def forward(compiled: Compiled) -> s.Forward:
    assert told(compiled) == []
    assert s.decode_snapshot(compiled.snapshot.encode()) == compiled.snapshot
    [found] = compiled.snapshot.routes()
    assert isinstance(found.action, s.Forward)
    return found.action


@pytest.mark.parametrize(
    ("text", "per_million"),
    [
        ("", ALL),
        (", percent: 0", 0),
        (", percent: 1", 10_000),
        (", percent: 100", ALL),
        (", fraction: {numerator: 5}", 50_000),
        (", fraction: {numerator: 1, denominator: 3}", 333_333),
        (", fraction: {numerator: 1, denominator: 2000000000}", 1),
        (", fraction: {numerator: 1999999999, denominator: 2000000000}", 999_999),
        (", fraction: {numerator: 0, denominator: 7}", 0),
        (", fraction: {numerator: 7, denominator: 7}", ALL),
    ],
)
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_a_mirror_is_in_the_route_with_its_share(load, text: str, per_million: int, kind: str) -> None:
    found = forward(load(route(mirror(f"backendRef: {{name: p}}{text}"), kind=kind), BOTH))
    assert found == s.Forward((s.Backend("default/live"),), mirrors=(Mirror("default/p", per_million),))


def test_a_rule_may_have_several_mirrors_in_the_order_in_which_they_were_written(load) -> None:
    found = forward(load(route(mirror("backendRef: {name: q}, percent: 5"), TO_P), BOTH))
    assert found.mirrors == (Mirror("default/q", 50_000), Mirror("default/p"))


def test_a_mirror_may_be_a_service(load) -> None:
    compiled = load(route(mirror("backendRef: {kind: Service, name: s, port: 81}")), BOTH)
    assert forward(compiled).mirrors == (Mirror("service/default/s:81"),)
    assert s.Endpoint("s.default.svc", 81) in [e for c in compiled.snapshot.clusters for e in c.endpoints]


@pytest.mark.parametrize(
    ("text", "code"), [("name: nobody", "missing-predictor"), ("name: far, namespace: b", "not-granted")]
)
def test_a_mirror_that_there_is_not_is_a_warning_and_missing(load, text: str, code: str) -> None:
    compiled = load(route(mirror(f"backendRef: {{{text}}}")), BOTH, predictor("far", namespace="b"))
    assert told(compiled) == [("spec.rules[0].filters[0].requestMirror.backendRef", code)]
    assert "nothing is mirrored to it" in next(d.message for d in compiled.diagnostics if d.code == code)
    [found] = compiled.snapshot.routes()
    assert found.action.mirrors[0].cluster in compiled.snapshot.missing


def test_a_mirror_of_grpc_calls_that_speaks_http1_is_told(load) -> None:
    compiled = load(route(TO_P, kind="GRPCRoute"), predictor("live"), predictor("p", "http1"))
    assert told(compiled) == [("spec.rules[0].filters[0].requestMirror.backendRef", "protocol-mismatch")]


def test_a_mirror_that_also_answers_requests_is_told(load) -> None:
    compiled = load(route(TO_P, refs="[{name: live}, {name: p}]"), BOTH)
    assert told(compiled) == [("spec.rules[0]", "live-mirror")]
    assert told(load(route(TO_P, refs="[{name: live}, {name: p, weight: 0}]"), BOTH)) == []


def test_a_policy_says_by_what_key_and_within_which_limits(load) -> None:
    text = (
        "mirrorBy: {header: X-User}, mirror: {timeout: 5s, maxRequests: 8, rateLimit: {requests: 60, interval: 1m}, "
        "pauseAbove: {p99: 800ms, activeRequests: 40, pendingRequests: 0}}"
    )
    found = forward(load(route(TENTH, EXTENSION), policy(text), BOTH))
    assert found.mirror_by == HashKey("header", "x-user")
    assert found.mirror_limits == MirrorLimits(5.0, 8, RateLimit(1.0, 60), PauseAbove(0.8, 40, 0))


def test_the_defaults_of_a_policy_are_those_of_the_snapshot(load) -> None:
    plain = load(route(TENTH), BOTH)
    said = load(route(TENTH, EXTENSION), policy("mirrorBy: {cookie: u}, mirror: {timeout: 1m}"), BOTH)
    assert forward(said).mirror_limits == forward(plain).mirror_limits == MirrorLimits()


@pytest.mark.parametrize(
    ("filters", "text", "said"),
    [
        ((TO_P,), "mirrorBy: {cookie: u}", "mirrorBy has no effect: all requests, or none, are mirrored"),
        ((), "mirrorBy: {cookie: u}", "mirrorBy has no effect: the rule has no RequestMirror"),
        ((), "mirror: {maxRequests: 1}", "mirror has no effect: the rule has no RequestMirror"),
    ],
)
def test_what_a_rule_can_not_make_use_of_is_a_warning(load, filters: tuple[str, ...], text: str, said: str) -> None:
    compiled = load(route(*filters, EXTENSION), policy(text), BOTH)
    assert told(compiled) == [(f"spec.rules[0].filters[{len(filters)}].extensionRef", "no-effect")]
    assert f"the policy's {said}" in [d.message for d in compiled.diagnostics]


@pytest.mark.parametrize("refs", ["[]", "[{name: live, weight: 0}]"])
def test_a_mirror_of_what_goes_nowhere_is_a_warning(load, refs: str) -> None:
    assert ("spec.rules[0].filters[0]", "no-effect") in told(load(route(TO_P, refs=refs), BOTH))


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        ("backendRef: {name: p}, percent: 1, fraction: {numerator: 1}", ".fraction", "filter-conflict"),
        ("backendRef: {name: p}, percent: 101", ".percent", "invalid-value"),
        ("backendRef: {name: p}, percent: 1.5", ".percent", "invalid-value"),
        ("backendRef: {name: p}, fraction: {numerator: 2, denominator: 1}", ".fraction.numerator", "invalid-value"),
        ("backendRef: {name: p}, fraction: {numerator: 2, denominator: 0}", ".fraction.denominator", "invalid-value"),
        ("backendRef: {name: p}, fraction: {denominator: 10}", ".fraction", "missing-field"),
        ("backendRef: {name: p, weight: 1}", ".backendRef.weight", "unknown-field"),
        ("backendRef: {name: P}", ".backendRef.name", "invalid-name"),
        ("backendRef: {kind: Service, name: p}", ".backendRef", "missing-field"),
        ("backendRef: {group: a, kind: B, name: p}", ".backendRef", "unknown-kind"),
        ("percent: 10", "", "missing-field"),
    ],
)
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_what_a_mirror_can_not_say_is_an_error_at_its_place(load, text: str, path: str, code: str, kind: str) -> None:
    compiled = load(route(mirror(text), kind=kind), BOTH)
    assert compiled.snapshot is None
    assert told(compiled) == [(f"spec.rules[0].filters[0].requestMirror{path}", code)]


def test_a_mirror_belongs_to_a_rule_and_not_to_a_backend(load) -> None:
    compiled = load(route(refs=f"[{{name: live, filters: [{TO_P}]}}]"), BOTH)
    assert told(compiled) == [("spec.rules[0].backendRefs[0].filters[0].type", "filter-conflict")]


@pytest.mark.parametrize("share", [-1, 1_000_001])
def test_a_snapshot_whose_mirror_gets_less_than_nothing_or_more_than_all_is_refused(share: int) -> None:
    with pytest.raises(ValueError, match="the share of the mirror p is not between nothing and all"):
        with_mirror(Mirror("p", share)).check()


def test_a_snapshot_whose_mirror_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="q is neither a cluster nor missing nor cold"):
        with_mirror(Mirror("q")).check()


def with_mirror(found: Mirror) -> s.Snapshot:
    action = s.Forward((s.Backend("p"),), mirrors=(found,))
    host = s.VirtualHost("h", ("*",), (s.Route("r", s.Match(), action),))
    return s.Snapshot((s.Listener("l", (host,)),), (s.Cluster("p"),))
