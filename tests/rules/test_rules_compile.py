"""What the compiler decides: Gateway API's semantics as cases.

`pick` is a plain reading of a Snapshot (most specific domain, then the first route that matches), independent of the
data plane's table. The cases are those of the Gateway API's conformance suite, told anew, and their neighbours.
"""

import re

import pytest

from turnout.rules import snapshot as s
from turnout.rules.compile import Compiled


def pick(
    snapshot: s.Snapshot,
    path: str,
    host: str = "any.example",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
) -> s.Route | None:
    [listener] = snapshot.listeners
    domains = {domain: vh for vh in listener.virtual_hosts for domain in vh.domains}
    found = [d for d in domains if d in ("*", host) or (d.startswith("*.") and host.endswith(d[1:]))]
    if not found:
        return None
    best = max(found, key=lambda d: (d == host, len(d)))
    for route in domains[best].routes:
        m = route.match
        if (
            path_matches(m.path, path)
            and m.method in (None, method)
            and all(value_matches(h, (headers or {}).get(h.name)) for h in m.headers)
            and all(value_matches(q, (query or {}).get(q.name)) for q in m.query)
        ):
            return route
    return None


def path_matches(match: s.PathMatch, path: str) -> bool:
    if match.kind == "exact":
        return path == match.value
    if match.kind == "regex":
        return re.fullmatch(match.value, path) is not None
    return match.value == "/" or path == match.value or path.startswith(match.value + "/")


def value_matches(match: s.ValueMatch, value: str | None) -> bool:
    if value is None:
        return False
    return value == match.value if match.kind == "exact" else re.fullmatch(match.value, value) is not None


def target(route: s.Route | None) -> str:
    if route is None:
        return "404"
    match route.action:
        case s.Forward(backends=backends):
            return "+".join(b.cluster.removeprefix("default/") for b in backends)
        case s.Redirect(status=status) | s.Respond(status=status):
            return str(status)


def predictors(*names: str, namespace: str = "default") -> str:
    return "".join(
        f"---\napiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {{name: {n}, namespace: {namespace}}}\n"
        "spec: {endpoints: [{address: 127.0.0.1, port: 8081}]}\n"
        for n in names
    )


def route(name: str, rules: str, *, hostnames: str = "[]", namespace: str = "default", extra: str = "") -> str:
    return (
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}, namespace: {namespace}{extra}}}\n"
        f"spec: {{hostnames: {hostnames}, rules: {rules}}}\n"
    )


def snapshot_of(compiled: Compiled) -> s.Snapshot:
    assert compiled.snapshot is not None, [str(d) for d in compiled.diagnostics]
    return compiled.snapshot


METHODS = """[
  {matches: [{method: POST}], backendRefs: [{name: v1}]},
  {matches: [{method: GET}], backendRefs: [{name: v2}]},
  {matches: [{path: {value: /path1}, method: GET}], backendRefs: [{name: v1}]},
  {matches: [{headers: [{name: Version, value: one}], method: PUT}], backendRefs: [{name: v2}]},
  {matches: [{path: {value: /path2}, headers: [{name: version, value: two}], method: POST}], backendRefs: [{name: v3}]},
  {matches: [{path: {value: /path3}, method: PATCH},
             {path: {value: /path4}, headers: [{name: version, value: three}], method: DELETE}],
   backendRefs: [{name: v1}]},
  {matches: [{path: {value: /path5}}], backendRefs: [{name: v1}]},
  {matches: [{method: PATCH}], backendRefs: [{name: v2}]},
  {matches: [{headers: [{name: version, value: four}]}], backendRefs: [{name: v1}]},
]"""


@pytest.mark.parametrize(
    ("method", "path", "version", "to"),
    [
        ("POST", "/", None, "v1"),
        ("GET", "/", None, "v2"),
        ("HEAD", "/", None, "404"),
        ("GET", "/path1", None, "v1"),
        ("PUT", "/", "one", "v2"),
        ("POST", "/path2", "two", "v3"),
        ("POST", "/path2", "three", "v1"),
        ("PATCH", "/path3", None, "v1"),
        ("DELETE", "/path4", "three", "v1"),
        ("DELETE", "/path4", None, "404"),
        ("PUT", "/", None, "404"),
        ("PATCH", "/path5", None, "v1"),
        ("PATCH", "/", "four", "v2"),
    ],
)
def test_methods(load, method: str, path: str, version: str | None, to: str) -> None:
    snapshot = snapshot_of(load(route("r", METHODS) + predictors("v1", "v2", "v3")))
    assert target(pick(snapshot, path, method=method, headers={"version": version} if version else {})) == to


PATHS = """[
  {matches: [{path: {value: /}}], backendRefs: [{name: root}]},
  {matches: [{path: {value: /a}}], backendRefs: [{name: a}]},
  {matches: [{path: {value: /a/b/}}], backendRefs: [{name: ab}]},
  {matches: [{path: {type: Exact, value: /a}}], backendRefs: [{name: exact}]},
  {matches: [{path: {type: RegularExpression, value: "/a/.*x"}}], backendRefs: [{name: regex}]},
  {matches: [{path: {type: RegularExpression, value: "/a/b/.*x"}}], backendRefs: [{name: longer}]},
]"""


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/", "root"), ("/ab", "root"), ("/a", "exact"), ("/a/", "a"), ("/a/c", "a"), ("/a/b", "ab"), ("/a/b/", "ab"),
        ("/a/bc", "a"), ("/a/cx", "regex"), ("/a/b/x", "longer"), ("/A", "root"),
    ],
)  # fmt: skip
def test_exact_before_expression_before_longest_prefix_by_element(load, path: str, to: str) -> None:
    text = route("r", PATHS) + predictors("root", "a", "ab", "exact", "regex", "longer")
    assert target(pick(snapshot_of(load(text)), path)) == to


def test_a_path_is_without_needless_escapes_as_requests_are(load) -> None:
    rules = """[
      {matches: [{path: {type: Exact, value: "/%61%2D%7e"}}], backendRefs: [{name: v1}]},
      {matches: [{path: {value: "/%62%2541%20"}}], backendRefs: [{name: v1}]},
      {matches: [{path: {type: RegularExpression, value: "/%63"}}], backendRefs: [{name: v1}]}]"""
    [listener] = snapshot_of(load(route("r", rules) + predictors("v1"))).listeners
    assert [r.match.path.value for r in listener.virtual_hosts[0].routes] == ["/a-~", "/%63", "/b%2541%20"]


def test_more_headers_go_before_more_query_parameters(load) -> None:
    rules = """[
      {matches: [{queryParams: [{name: q, value: "1"}, {name: r, value: "1"}]}], backendRefs: [{name: query}]},
      {matches: [{headers: [{name: h, value: "1"}]}], backendRefs: [{name: header}]},
      {backendRefs: [{name: rest}]}]"""
    snapshot = snapshot_of(load(route("r", rules) + predictors("query", "header", "rest")))
    both = {"q": "1", "r": "1"}
    assert target(pick(snapshot, "/", headers={"h": "1"}, query=both)) == "header"
    assert target(pick(snapshot, "/", query=both)) == "query"
    assert target(pick(snapshot, "/", query={"q": "1"})) == "rest"


@pytest.mark.parametrize(
    ("one", "two", "wins"),
    [
        ("", "", "a"),
        (", creationTimestamp: '2026-01-02T00:00:00Z'", ", creationTimestamp: '2026-01-01T00:00:00Z'", "b"),
        (", creationTimestamp: '2026-01-01T00:00:00+05:00'", ", creationTimestamp: '2026-01-01T00:00:00Z'", "a"),
        ("", ", creationTimestamp: '2026-01-01T00:00:00Z'", "b"),
    ],
)
def test_of_equal_matches_the_older_then_the_first_by_name_wins(load, one: str, two: str, wins: str) -> None:
    a = route("a", "[{backendRefs: [{name: a}]}]", extra=one)
    b = route("b", "[{backendRefs: [{name: b}]}]", extra=two)
    compiled = load(b + a + predictors("a", "b"))
    assert target(pick(snapshot_of(compiled), "/")) == wins
    assert [d.code for d in compiled.diagnostics] == ["shadowed-rule"]


@pytest.mark.parametrize(
    ("host", "to"),
    [
        ("a.example", "exact"), ("b.example", "wild"), ("c.b.example", "wild"), ("x.deep.example", "deeper"),
        ("example", "any"), ("other", "any"),
    ],
)  # fmt: skip
def test_only_the_most_specific_hostname_is_asked(load, host: str, to: str) -> None:
    text = (
        route("e", "[{matches: [{path: {value: /p}}], backendRefs: [{name: exact}]}]", hostnames="[a.example]")
        + route("w", "[{backendRefs: [{name: wild}]}]", hostnames="['*.example']")
        + route("d", "[{backendRefs: [{name: deeper}]}]", hostnames="['*.deep.example']")
        + route("n", "[{backendRefs: [{name: any}]}]")
        + predictors("exact", "wild", "deeper", "any")
    )
    snapshot = snapshot_of(load(text))
    assert target(pick(snapshot, "/p", host)) == to
    assert target(pick(snapshot, "/q", host)) == ("404" if to == "exact" else to)


def test_routes_of_one_hostname_are_one_virtual_host_and_equal_hosts_share_one(load) -> None:
    text = (
        route("one", "[{matches: [{path: {value: /1}}], backendRefs: [{name: p}]}]", hostnames="[a.example, b.example]")
        + route(
            "two", "[{matches: [{path: {value: /22}}], backendRefs: [{name: p}]}]", hostnames="[b.example, a.example]"
        )
        + predictors("p")
    )
    [listener] = snapshot_of(load(text)).listeners
    assert (listener.name, listener.address, listener.port) == ("default", "", 0)
    [host] = listener.virtual_hosts
    assert host.domains == ("a.example", "b.example")
    assert [r.name for r in host.routes] == ["default/two/0", "default/one/0"]


@pytest.mark.parametrize(
    ("rule", "to", "codes"),
    [
        ("{}", "500", ["no-backends"]),
        ("{backendRefs: []}", "500", ["no-backends"]),
        ("{backendRefs: [{name: p, weight: 0}]}", "500", ["zero-weights"]),
        ("{backendRefs: [{name: nobody}, {name: p}]}", "nobody+p", ["missing-predictor"]),
        ("{backendRefs: [{name: p, namespace: other}]}", "other/p (not granted)", ["not-granted"]),
        ("{backendRefs: [{name: q, namespace: other}]}", "other/q", []),
        ("{backendRefs: [{name: s, kind: Service, port: 80}]}", "service/default/s:80", []),
        ("{backendRefs: [{name: s, kind: Service, port: 80, namespace: other}]}", "service/other/s:80", []),
        (
            "{backendRefs: [{name: t, kind: Service, port: 80, namespace: other}]}",
            "service/other/t:80 (not granted)",
            ["not-granted"],
        ),
        ("{backendRefs: [{name: p, port: 1, kind: Predictor, group: turnout.dev}]}", "p", []),
        ("{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 307}}]}", "307", []),
    ],
)
def test_backends_that_do_not_resolve_are_missing(load, rule: str, to: str, codes: list[str]) -> None:
    grant = """---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: turnout.dev, kind: Predictor, name: q}, {group: "", kind: Service, name: s}]
"""
    text = route("r", f"[{rule}]") + predictors("p") + predictors("p", "q", namespace="other") + grant
    compiled = load(text)
    snapshot = snapshot_of(compiled)
    assert target(pick(snapshot, "/")) == to
    assert [d.code for d in compiled.diagnostics if d.code != "unused-predictor"] == codes
    known = {c.name for c in snapshot.clusters}
    assert all(name not in known and name in compiled.origins.missing for name in snapshot.missing)
    assert bool(snapshot.missing) == bool({"missing-predictor", "not-granted"} & set(codes))


def test_no_filter_of_a_missing_backend_runs(load) -> None:
    redirect = "{type: RequestRedirect, requestRedirect: {hostname: new.example}}"
    compiled = load(route("r", f"[{{backendRefs: [{{name: nobody, filters: [{redirect}]}}]}}]"))
    action = snapshot_of(compiled).listeners[0].virtual_hosts[0].routes[0].action
    assert action == s.Forward(backends=(s.Backend("default/nobody", 1),))


def test_a_grant_holds_for_its_namespace_only(load) -> None:
    grant = """---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: elsewhere}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: turnout.dev, kind: Predictor}]
"""
    text = route("r", "[{backendRefs: [{name: p, namespace: other}]}]") + predictors("p", namespace="other")
    assert snapshot_of(load(text + grant)).missing == ("other/p (not granted)",)
    assert snapshot_of(load(text + grant.replace("elsewhere", "other"))).missing == ()
    standard = grant.replace("elsewhere", "other").replace("turnout.dev, kind: Predictor", '"", kind: Service')
    assert snapshot_of(load(text + standard)).missing == ()
    written_out = text.replace(
        "[{name: p, namespace: other}]", "[{group: turnout.dev, kind: Predictor, name: p, namespace: other}]"
    )
    assert snapshot_of(load(written_out + standard)).missing == ("other/p (not granted)",)


def test_everything_a_rule_says_is_in_its_route(load) -> None:
    rules = """[{
      matches: [{path: {value: /old/}, headers: [{type: RegularExpression, name: X-A, value: a+}]}],
      filters: [
        {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-S, value: v}], remove: [X-R]}},
        {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: X-T, value: w}]}},
        {type: URLRewrite,
         urlRewrite: {hostname: h.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}}}],
      backendRefs: [{name: p, weight: 3, filters: [
        {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /full}}}]}],
      timeouts: {request: 2s, backendRequest: 0s}}]"""
    found = pick(snapshot_of(load(route("r", rules) + predictors("p"))), "/old/x", headers={"x-a": "aa"})
    assert found == s.Route(
        name="default/r/0",
        match=s.Match(s.PathMatch("path_prefix", "/old"), None, (s.ValueMatch("x-a", "a+", "regex"),)),
        action=s.Forward(
            backends=(s.Backend("default/p", 3, rewrite=s.Rewrite(path=s.PathRewrite("full", "/full"))),),
            rewrite=s.Rewrite("h.example", s.PathRewrite("prefix", "/new")),
            request_timeout_s=2.0,
        ),
        request_headers=(s.HeaderEdits(set=(("x-s", "v"),), remove=("x-r",)),),
        response_headers=(s.HeaderEdits(add=(("x-t", "w"),)),),
    )


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ("{statusCode: 301}", s.Redirect(301)),
        ("{hostname: b.example, port: 8443, scheme: https}", s.Redirect(302, "https", "b.example", 8443)),
        (
            "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}, statusCode: 308}",
            s.Redirect(308, path=s.PathRewrite("prefix", "")),
        ),
        (
            "{path: {type: ReplaceFullPath, replaceFullPath: /x/}, statusCode: 303}",
            s.Redirect(303, path=s.PathRewrite("full", "/x/")),
        ),
    ],
)
def test_redirects_leave_open_what_is_not_given(load, redirect: str, expected: s.Redirect) -> None:
    rules = f"[{{filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]}}]"
    found = pick(snapshot_of(load(route("r", rules))), "/")
    assert found is not None
    assert found.action == expected


def test_a_predictor_is_a_cluster_with_its_timeouts(load) -> None:
    text = """
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: p, namespace: n}
spec:
  endpoints: [{address: "::1", port: 1}, {address: p.example, port: 2}]
  connection: {connectTimeout: 250ms, idleTimeout: 1m}
"""
    compiled = load(text)
    assert snapshot_of(compiled).clusters == (
        s.Cluster("n/p", (s.Endpoint("::1", 1), s.Endpoint("p.example", 2)), 0.25, 60.0),
    )
    assert [d.code for d in compiled.diagnostics] == ["unused-predictor"]


def test_origins_name_the_match_as_it_was_written(load) -> None:
    text = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  rules:
  - backendRefs: [{name: gone}]
  - name: two
    matches:
    - path: {value: /a}
    - path: {type: Exact, value: /b}
"""
    origins = load(text).origins
    assert {key: (o.line, o.path) for key, o in origins.routes.items()} == {
        ("default/r/0", 0): (6, "spec.rules[0]"),
        ("default/r/two", 0): (10, "spec.rules[1].matches[1]"),
        ("default/r/two", 1): (9, "spec.rules[1].matches[0]"),
    }
    assert str(origins.missing["default/gone"]) == "a.yaml:6 (spec.rules[0].backendRefs[0])"
