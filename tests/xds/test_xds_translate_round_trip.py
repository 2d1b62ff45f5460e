"""What is made of a Snapshot is read back as that Snapshot, for every example and for documents of every kind."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from answers import compiled
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.rules import snapshot as s
from turnout.rules.compile import compile_documents
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Report
from turnout.rules.examples import examples_path
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from turnout.xds.translate.from_envoy import check_resource, from_xds
from turnout.xds.translate.to_envoy import find_origins, to_xds

CASES = Path(__file__).parent / "envoy_cases"
DOCUMENTS = [*sorted(examples_path().glob("*.yaml")), *sorted(CASES.glob("documents-*.yaml"))]

NAMES = st.sampled_from(["a", "b", "c", "nobody"])
PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/"])
MATCHES = st.fixed_dictionaries(
    {
        "path": st.builds(lambda v, t: {"type": t, "value": v}, PATHS, st.sampled_from(["Exact", "PathPrefix"]))
        | st.just({"type": "RegularExpression", "value": "/[ab]+"})
    },
    optional={
        "method": st.sampled_from(["GET", "POST"]),
        "headers": st.just(
            [{"name": "Host", "value": "h"}, {"name": "X-A", "type": "RegularExpression", "value": "a*"}]
        ),
        "queryParams": st.just([{"name": "q", "value": "%20"}]),
    },
)
REPLACED = st.sampled_from(["", "/", "/r", "/r/"]).map(
    lambda value: {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}
) | st.just({"type": "ReplaceFullPath", "replaceFullPath": "/f"})
EDITS = st.fixed_dictionaries(
    {"set": st.just([{"name": "x-a", "value": "100% %%"}])},
    optional={"add": st.just([{"name": "x-b", "value": "b"}]), "remove": st.just(["X-A", "x-c"])},
)
MODIFIERS = [
    EDITS.map(lambda edits: {"type": "RequestHeaderModifier", "requestHeaderModifier": edits}),
    EDITS.map(lambda edits: {"type": "ResponseHeaderModifier", "responseHeaderModifier": edits}),
]
REWRITE = st.fixed_dictionaries({"hostname": st.just("r.example")}, optional={"path": REPLACED}).map(
    lambda body: {"type": "URLRewrite", "urlRewrite": body}
)
REDIRECT = st.fixed_dictionaries(
    {"statusCode": st.sampled_from([301, 302, 303, 307, 308])},
    optional={
        "scheme": st.sampled_from(["http", "https"]),
        "hostname": st.just("r.example"),
        "port": st.sampled_from([80, 443, 8443]),
        "path": REPLACED,
    },
).map(lambda body: {"type": "RequestRedirect", "requestRedirect": body})


@st.composite
def filters(draw: st.DrawFn) -> list[Any]:
    chosen = [draw(modifier) for modifier in MODIFIERS if draw(st.booleans())]
    return chosen + draw(st.lists(REWRITE | REDIRECT, max_size=1))


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    own = draw(filters())
    rule: dict[str, Any] = {"matches": [draw(MATCHES)], "filters": own}
    if rule["matches"][0]["path"]["type"] != "PathPrefix":
        own[:] = [f for f in own if "ReplacePrefixMatch" not in str(f)]
    if not any(f["type"] == "RequestRedirect" for f in own):
        rule["backendRefs"] = draw(st.lists(backends(rule), max_size=3))
        if draw(st.booleans()):
            rule["timeouts"] = {"request": "2s", "backendRequest": "1500ms"}
    return rule


@st.composite
def backends(draw: st.DrawFn, rule: dict[str, Any]) -> dict[str, Any]:
    own = draw(filters()) if draw(st.booleans()) else []
    if rule["matches"][0]["path"]["type"] != "PathPrefix":
        own = [f for f in own if "ReplacePrefixMatch" not in str(f)]
    return {"name": draw(NAMES), "weight": draw(st.integers(0, 3)), "filters": own}


@st.composite
def documents(draw: st.DrawFn) -> str:
    hosts = draw(st.lists(st.sampled_from(["h.example", "*.example", "g.example"]), unique=True, max_size=2))
    spec = {"hostnames": hosts, "rules": draw(st.lists(rules(), min_size=1, max_size=4))}
    if draw(st.booleans()):
        spec["parentRefs"] = [{"name": "g"}]
    found = [document("gateway.networking.k8s.io/v1", "HTTPRoute", "r", spec)]
    found += [
        document("turnout.dev/v1alpha1", "Predictor", name, {"endpoints": draw(ENDPOINT_LISTS)}) for name in "abc"
    ]
    if "parentRefs" in spec:
        listeners = [{"name": "l", "port": draw(st.sampled_from([80, 8443])), "protocol": "HTTP"}]
        addresses = draw(st.sampled_from([[], [{"type": "IPAddress", "value": "::1"}]]))
        gateway = {"gatewayClassName": "turnout", "listeners": listeners, "addresses": addresses}
        found.append(document("gateway.networking.k8s.io/v1", "Gateway", "g", gateway))
    return yaml.safe_dump_all(found)


ENDPOINT_LISTS = st.lists(
    st.builds(lambda a, p: {"address": a, "port": p}, st.sampled_from(["10.0.0.1", "::1", "a.b"]), st.just(80)),
    unique_by=lambda endpoint: str(endpoint),
    max_size=2,
)


def document(version: str, kind: str, name: str, spec: object) -> dict[str, object]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def assert_survives(snapshot: s.Snapshot) -> None:
    resources = to_xds(snapshot)
    assert from_xds(resources) == snapshot
    for of_type in resources.values():
        for resource in of_type.values():
            name, faults = check_resource(resource.type_url, resource.body)
            assert name == resource.name
            assert not resource.wildcard or not faults, [str(fault) for fault in faults]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_survives(path: Path) -> None:
    assert_survives(compiled(path))


@settings(max_examples=settings.default.max_examples // 2)
@given(documents())
def test_every_document_survives(text: str) -> None:
    report = Report()
    snapshot = compile_documents(list(read_documents("a.yaml", text, report)), report).snapshot
    assert snapshot is not None, [str(found) for found in report.found]
    assert_survives(snapshot)


def test_what_only_xds_can_say_survives_too() -> None:
    conditions = (
        s.ValueMatch("host", "a", "prefix", invert=True),
        s.ValueMatch("x", kind="range", range_from=-(2**63), range_to=7, missing_as_empty=True),
        s.ValueMatch(":path", "?q", "contains", ignore_case=True),
        s.ValueMatch("y", kind="present", invert=True),
    )
    queries = (s.ValueMatch("q", kind="present", invert=True), s.ValueMatch("r", "x", "suffix", ignore_case=True))
    match = s.Match(s.PathMatch("prefix", "/a", ignore_case=True), "GET", conditions, queries, 123_456)
    routes = (
        s.Route("a", match, s.Respond(404, body="b" * 5_000)),
        s.Route("b", s.Match(s.PathMatch("prefix", "/b")), s.Redirect(301, port=0, keep_query=False)),
        s.Route("c", s.Match(), s.Forward((s.Backend("x"), s.Backend("y", 9), s.Backend("z")))),
    )
    endpoints = (s.Endpoint("10.0.0.1", 1, 3), s.Endpoint("10.0.0.2", 1, priority=1, healthy=False))
    snapshot = s.Snapshot(
        (s.Listener("l", (s.VirtualHost("v", ("*",), routes),), "::1", 81),),
        (s.Cluster("x", endpoints, 0.25, 1.5),),
        ("y",),
        ("z",),
    )
    resources = to_xds(snapshot)
    # z is on a route that names a missing cluster, so the client has to say that it is awaited.
    assert from_xds(resources, cold=("z",)) == snapshot
    assert check_resource(ROUTES, resources[ROUTES]["l"].body) == ("l", [])


def test_a_cluster_is_cold_until_its_endpoints_are_there_and_if_routes_want_503() -> None:
    snapshot = compiled(examples_path() / "canary.yaml")
    resources = to_xds(snapshot)
    del resources[ENDPOINTS]["default/iris-v1"], resources[CLUSTER]["default/iris-v2"]
    assert from_xds(resources).cold == ("default/iris-v1", "default/iris-v2")
    assert from_xds(resources).clusters == from_xds(resources).missing == ()
    from_xds(resources).check()


def test_equal_snapshots_have_equal_resources_and_one_change_is_one_resource() -> None:
    snapshot = compiled(examples_path() / "canary.yaml")
    first, again = to_xds(snapshot), to_xds(s.decode_snapshot(snapshot.encode()))
    assert first == again
    cluster = s.Cluster("default/iris-v2", (s.Endpoint("10.0.0.1", 80),))
    other = to_xds(s.Snapshot(snapshot.listeners, (snapshot.clusters[0], cluster)))
    changed = [(t, n) for t, of_type in other.items() for n, r in of_type.items() if r != first[t][n]]
    assert changed == [(ENDPOINTS, "default/iris-v2")]


def test_hostnames_are_listeners_for_grpc_that_no_wildcard_gets() -> None:
    resources = to_xds(compiled(examples_path() / "hostnames.yaml"))
    name = "staging.models.example"
    assert [n for n, r in resources[LISTENER].items() if not r.wildcard] == [name, f"{name}:8080"]
    assert not resources[ROUTES][f"grpc/{name}"].wildcard
    without = to_xds(compiled(examples_path() / "hostnames.yaml"), grpc_listeners=False)
    assert list(without[LISTENER]) == list(without[ROUTES]) == ["default"]


def test_origins_tell_the_matches_of_a_configuration_and_the_document_of_a_cluster() -> None:
    report = Report()
    path = examples_path() / "gateway.yaml"
    result = compile_documents(list(read_documents("gateway.yaml", path.read_text(), report)), report)
    assert result.snapshot is not None
    origins = find_origins(result.snapshot, result.origins)
    assert {
        key for of_type in to_xds(result.snapshot).values() for key in ((r.type_url, r.name) for r in of_type.values())
    } <= origins.keys()
    assert [o.path for o in origins[ROUTES, "127.0.0.1:8089"]] == ["spec.rules[0]"]
    assert [o.path for o in origins[LISTENER, "127.0.0.1:8089"]] == ["spec.listeners[2]"]
    assert origins[CLUSTER, "research/iris-lab"] == origins[ENDPOINTS, "research/iris-lab"]
    assert origins[CLUSTER, "research/iris-lab"][0].file == "gateway.yaml"
