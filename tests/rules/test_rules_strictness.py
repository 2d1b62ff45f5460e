"""Unknown fields, wrong types and broken rules: all of them, each at its line and path."""

import pytest

from turnout.rules.compile import Compiled

HEAD = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n"
PREDICTOR = "apiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {name: p}\nspec:\n"
GATEWAY = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n"


def errors(compiled: Compiled) -> list[tuple[int, str, str]]:
    return [(d.origin.line, d.origin.path, d.code) for d in compiled.diagnostics if d.severity == "error"]


def test_all_errors_of_a_run_are_told_with_file_line_and_path(load) -> None:
    text = (
        HEAD
        + """\
  hostname: [a]
  rules:
  - matches:
    - path: {type: Exac, value: 3}
      headers:
      - {name: x, value: true}
      - name: y
    sessionPersistence: {}
    backendRefs: [{name: p, weight: -1}, 7]
  - filters:
    - type: CORS
    timeouts: []
"""
    )
    compiled = load(text, PREDICTOR + "  endpoints: [{address: a, port: 70000}]\n  tls: {sni: x}\n")
    assert compiled.snapshot is None
    assert errors(compiled) == [
        (5, "spec.hostname", "unknown-field"),
        (8, "spec.rules[0].matches[0].path.type", "invalid-value"),
        (8, "spec.rules[0].matches[0].path.value", "invalid-value"),
        (10, "spec.rules[0].matches[0].headers[0].value", "invalid-value"),
        (11, "spec.rules[0].matches[0].headers[1]", "missing-field"),
        (12, "spec.rules[0].sessionPersistence", "not-supported-yet"),
        (13, "spec.rules[0].backendRefs[0].weight", "invalid-value"),
        (13, "spec.rules[0].backendRefs[1]", "wrong-type"),
        (15, "spec.rules[1].filters[0].type", "not-supported-yet"),
        (16, "spec.rules[1].timeouts", "wrong-type"),
        (5, "spec.endpoints[0].port", "invalid-value"),
        (6, "spec.tls.sni", "unknown-field"),
    ]
    assert str(compiled.diagnostics[0]).startswith("a.yaml:5: error: spec.hostname: ")
    assert "did you mean hostnames?" in compiled.diagnostics[0].message


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (HEAD + "  rules: [{sessionPersistence: {}}]", "spec.rules[0].sessionPersistence"),
        (HEAD + "  rules: [{filters: [{type: CORS}]}]", "spec.rules[0].filters[0].type"),
        (GATEWAY + "  listeners: [{name: a, port: 80, protocol: TLS}]", "spec.listeners[0].protocol"),
        (
            GATEWAY + "  listeners: [{name: a, port: 80, protocol: HTTPS, tls: {mode: Passthrough, certificateRefs: "
            "[{name: c}]}}]",
            "spec.listeners[0].tls.mode",
        ),
        (GATEWAY + "  listeners: [{name: a, port: 80, protocol: HTTP}]\n  tls: {backend: {}}", "spec.tls.backend"),
        ("apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\n", "kind"),
    ],
)
def test_what_comes_later_says_so(load, text: str, path: str) -> None:
    [found] = load(text).diagnostics
    assert (found.origin.path, found.code) == (path, "not-supported-yet")
    assert "not supported yet" in found.message


def rule(text: str) -> str:
    return HEAD + f"  rules:\n  - {text}\n"


def path_match(kind: str, value: str) -> str:
    return rule(f"matches: [{{path: {{type: {kind}, value: '{value}'}}}}]")


def edit(text: str) -> str:
    return rule(f"filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {text}}}]")


def rewrite(text: str, before: str = "") -> str:
    return rule(f"{before}filters: [{{type: URLRewrite, urlRewrite: {text}}}]")


@pytest.mark.parametrize("kind", ["Exact", "PathPrefix"])
@pytest.mark.parametrize(
    "value",
    ["a", "", "//", "/a//b", "/./a", "/a/.", "/a/..", "/a/../b", "/%2e%2E/a", "/a%2fb", "/a%2Fb", "/a#b", "/a?b",
     "/a b", "/ä", "/%zz", "/a%"],
)  # fmt: skip
def test_a_path_that_could_not_match_is_refused(load, kind: str, value: str) -> None:
    assert errors(load(path_match(kind, value))) == [(6, "spec.rules[0].matches[0].path.value", "invalid-path")]


@pytest.mark.parametrize("value", ["/", "/a/", "/a.b/..c/.d", "/%20", "/a:b@c;d=e,f!$&()*+~"])
def test_a_path_of_the_grammar_loads(load, value: str) -> None:
    assert load(path_match("PathPrefix", value)).snapshot is not None


@pytest.mark.parametrize("value", ["(", "(?=a)", "a{2000}"])
def test_what_re2_refuses_is_an_error_at_its_line(load, value: str) -> None:
    assert errors(load(path_match("RegularExpression", value))) == [
        (6, "spec.rules[0].matches[0].path.value", "invalid-regex")
    ]


@pytest.mark.parametrize("name", ["*", "a.*", "*a.b", "A.b", "10.0.0.1", "a.b:80", "-a.b", "a..b", "a_b", "::1"])
def test_what_is_no_hostname_is_refused(load, name: str) -> None:
    assert [code for _, _, code in errors(load(HEAD + f"  hostnames: ['{name}']\n"))] == ["invalid-hostname"]


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        (rule("matches: [{headers: [{name: 'a b', value: x}]}]"), "matches[0].headers[0].name", "invalid-name"),
        (
            rule("matches: [{headers: [{name: a, value: x}, {name: A, value: y}]}]"),
            "matches[0].headers[1].name",
            "duplicate",
        ),
        (
            rule("matches: [{queryParams: [{name: a, value: x}, {name: a, value: y}]}]"),
            "matches[0].queryParams[1].name",
            "duplicate",
        ),
        (rule("matches: [{method: get}]"), "matches[0].method", "invalid-value"),
        (edit("{set: [{name: a, value: x}, {name: A, value: y}]}"), ".set[1].name", "duplicate"),
        (edit('{set: [{name: a, value: "x\\r\\nb: c"}]}'), ".set[0].value", "invalid-header"),
        (edit('{add: [{name: a, value: "x\\0"}]}'), ".add[0].value", "invalid-header"),
        (edit("{remove: [Content-Length]}"), ".remove[0]", "uneditable-header"),
        (edit("{set: [{name: Host, value: x}]}"), ".set[0].name", "uneditable-header"),
        (edit("{}"), "filters[0].requestHeaderModifier", "filter-body"),
        (rule("filters: [{type: URLRewrite}]"), "filters[0]", "filter-body"),
        (
            rule("filters: [{type: URLRewrite, urlRewrite: {hostname: a}, requestRedirect: {}}]"),
            "filters[0].requestRedirect",
            "filter-body",
        ),
        (
            rule(
                "filters: [{type: URLRewrite, urlRewrite: {hostname: a}},"
                " {type: URLRewrite, urlRewrite: {hostname: b}}]"
            ),
            "filters[1].type",
            "duplicate",
        ),
        (
            rule(
                "filters: [{type: URLRewrite, urlRewrite: {hostname: a}},"
                " {type: RequestRedirect, requestRedirect: {scheme: https}}]"
            ),
            "filters",
            "filter-conflict",
        ),
        (
            rule("backendRefs: [{name: p}]\n    filters: [{type: RequestRedirect, requestRedirect: {port: 81}}]"),
            "backendRefs",
            "filter-conflict",
        ),
        (
            rewrite(
                "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /a}}",
                "matches: [{path: {type: Exact, value: /x}}]\n    ",
            ),
            ".path",
            "prefix-rewrite",
        ),
        (
            rewrite(
                "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /a}}",
                "matches: [{path: {value: /x}}, {path: {value: /y}}]\n    ",
            ),
            ".path",
            "prefix-rewrite",
        ),
        (rewrite("{path: {type: ReplaceFullPath}}"), ".path", "filter-body"),
        (rewrite("{hostname: '*.a'}"), ".hostname", "invalid-hostname"),
        (
            rule("filters: [{type: RequestRedirect, requestRedirect: {statusCode: 304}}]"),
            ".statusCode",
            "invalid-value",
        ),
        (rule("timeouts: {request: 1s, backendRequest: 1001ms}"), "timeouts.backendRequest", "timeout-order"),
        (rule("timeouts: {request: 1.5s}"), "timeouts.request", "invalid-duration"),
        (rule("backendRefs: [{name: s, kind: Service}]"), "backendRefs[0]", "missing-field"),
        (rule("backendRefs: [{name: s, kind: Pod}]"), "backendRefs[0]", "unknown-kind"),
        (rule("backendRefs: [{name: s, weight: 1000001}]"), "backendRefs[0].weight", "invalid-value"),
        (rule("name: '1'\n  - {}"), "rules[0].name", "duplicate"),
        (rule("name: a\n  - name: a"), "rules[1].name", "duplicate"),
        (rule("matches:"), "rules[0].matches", "no-value"),
        (HEAD + "  rules: []\n", "spec.rules", "invalid-value"),
        (PREDICTOR + "  endpoints: [{address: 10.0.0.300, port: 1}]\n", "[0].address", "invalid-address"),
        (PREDICTOR + "  endpoints: [{address: '[::1]', port: 1}]\n", "[0].address", "invalid-address"),
        (
            PREDICTOR + "  endpoints: [{address: a, port: 1}, {address: A, port: 1}]\n",
            "endpoints[1]",
            "duplicate",
        ),
        (
            PREDICTOR + "  endpoints: []\n  connection: {connectTimeout: 0s}\n",
            "connectTimeout",
            "invalid-duration",
        ),
        (
            GATEWAY + "  listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}]\n",
            "listeners[1]",
            "listener-conflict",
        ),
        (HEAD.replace("name: r", "name: R") + "  rules: [{}]\n", "metadata.name", "invalid-name"),
        (
            HEAD.replace("name: r", "name: r, creationTimestamp: yesterday") + "  rules: [{}]\n",
            "metadata.creationTimestamp",
            "invalid-time",
        ),
    ],
)
def test_broken_rules_on_content_are_errors(load, text: str, path: str, code: str) -> None:
    [found] = errors(load(text))
    assert found[2] == code
    assert found[1].endswith(path)


def test_two_documents_of_one_kind_and_name_are_an_error_that_names_the_other(load) -> None:
    [found] = load(HEAD + "  rules: [{}]\n", HEAD + "  rules: [{}]\n").diagnostics
    assert (found.origin.file, found.origin.line, found.code) == ("b.yaml", 3, "duplicate")
    assert "a.yaml:1" in found.message


def test_limits_on_counts_warn(load) -> None:
    found = load(HEAD + "  rules:\n" + "  - {backendRefs: [{name: p}]}\n" * 17, PREDICTOR + "  endpoints: []\n")
    assert found.snapshot is not None
    assert ("spec.rules", "crd-count") in [(d.origin.path, d.code) for d in found.diagnostics]


def test_what_the_api_server_adds_loads_without_effect(load) -> None:
    plain = HEAD + "  rules: [{backendRefs: [{name: p}]}]\n"
    added = "uid: a-b, resourceVersion: '1', generation: 2, managedFields: [{a: null}], creationTimestamp: null"
    meta = f"metadata: {{name: r, {added}}}"
    full = plain.replace("metadata: {name: r}", meta) + "  parentRefs: [{name: nowhere}]\nstatus: {parents: [null]}\n"
    assert load(full).snapshot == load(plain).snapshot
    assert load(full).snapshot is not None
