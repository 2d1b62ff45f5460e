"""What a GRPCRoute can't say: an error, or a warning, at its line and path."""

import pytest

from turnout.rules.compile import Compiled

HEAD = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: r}\nspec:\n"


def errors(compiled: Compiled) -> list[tuple[int, str, str]]:
    return [(d.origin.line, d.origin.path, d.code) for d in compiled.diagnostics if d.severity == "error"]


def rule(text: str) -> str:
    return f"{HEAD}  rules:\n  - {{{text}}}\n"


def method(text: str) -> str:
    return rule(f"matches: [{{method: {{{text}}}}}]")


def test_all_errors_are_told_with_line_and_path(load) -> None:
    text = (
        HEAD
        + """\
  hostname: [a]
  rules:
  - matches:
    - path: {value: /a}
      method: {type: Prefix, service: 3}
      queryParams: []
      headers:
      - {name: x}
    sessionPersistence: {}
    timeouts: {request: 1s}
    retry: {}
    backendRefs: [{name: p, weight: -1}]
  - filters:
    - type: URLRewrite
    - type: RequestMirror
    - {type: ExtensionRef, requestMirror: {backendRef: {}}, cors: {}}
"""
    )
    place = "spec.rules[0]."
    assert errors(load(text)) == [
        (5, "spec.hostname", "unknown-field"),
        (8, f"{place}matches[0].path", "unknown-field"),
        (9, f"{place}matches[0].method.service", "invalid-value"),
        (9, f"{place}matches[0].method.type", "invalid-value"),
        (10, f"{place}matches[0].queryParams", "unknown-field"),
        (12, f"{place}matches[0].headers[0]", "missing-field"),
        (13, f"{place}sessionPersistence", "not-supported-yet"),
        (14, f"{place}timeouts", "unknown-field"),
        (15, f"{place}retry", "unknown-field"),
        (16, f"{place}backendRefs[0].weight", "invalid-value"),
        (18, "spec.rules[1].filters[0].type", "invalid-value"),
        (20, "spec.rules[1].filters[2].cors", "unknown-field"),
        (20, "spec.rules[1].filters[2].requestMirror.backendRef", "missing-field"),
    ]


def test_a_mirror_is_refused_in_the_words_that_an_httproute_has_for_it(load) -> None:
    grpc = rule("filters: [{type: RequestMirror, requestMirror: {backendRef: {name: p}, percent: 101}}]")
    [one], [other] = load(grpc).diagnostics, load(grpc.replace("GRPCRoute", "HTTPRoute")).diagnostics
    assert (one.code, one.message, one.origin) == (other.code, other.message, other.origin)


@pytest.mark.parametrize("version", ["v1alpha2", "v1beta1"])
def test_another_version_says_which_there_is(load, version: str) -> None:
    [found] = load(HEAD.replace("/v1\n", f"/{version}\n")).diagnostics
    assert (found.origin.path, found.code) == ("apiVersion", "unknown-version")


METHOD = "spec.rules[0].matches[0].method"
FILTER = "spec.rules[0].filters"


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        (method(""), METHOD, "missing-field"),
        (method("type: Exact"), METHOD, "missing-field"),
        (method("type: RegularExpression, service: '', method: ''"), METHOD, "missing-field"),
        *[
            (method(f"service: '{name}'"), f"{METHOD}.service", "invalid-name")
            for name in ("", "a/b", "a.", "a..b", "1a", "a-b", "a b", "*", "a.1", "ä", "/a.B", "a\\n")
        ],
        *[
            (method(f"service: a, method: '{name}'"), f"{METHOD}.method", "invalid-name")
            for name in ("", "a/b", "a.b", "1a", "a-b", "M*")
        ],
        *[
            (method(f"type: RegularExpression, service: '{value}'"), f"{METHOD}.service", "invalid-regex")
            for value in ("(", "a)|(b", "(?=a)", "a\\", "^a|^b", "a$|b", "$a", "(^a)", "[^]]$a")
        ],
        (method("type: RegularExpression, service: '\\Qa', method: b"), METHOD, "invalid-regex"),
        (
            rule("matches: [{headers: [{name: a, value: b}, {name: A, value: c}]}]"),
            "spec.rules[0].matches[0].headers[1].name",
            "duplicate",
        ),
        (
            rule("matches: [{headers: [{type: RegularExpression, name: a, value: '('}]}]"),
            "spec.rules[0].matches[0].headers[0].value",
            "invalid-regex",
        ),
        (rule("filters: [{type: RequestHeaderModifier}]"), f"{FILTER}[0]", "filter-body"),
        (
            rule("filters: [{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}]"),
            f"{FILTER}[0].extensionRef",
            "unknown-kind",
        ),
        (
            rule("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: te, value: x}]}}]"),
            f"{FILTER}[0].requestHeaderModifier.set[0].name",
            "uneditable-header",
        ),
        (
            rule("backendRefs: [{name: p, filters: [{type: ExtensionRef, extensionRef: "
                 "{group: turnout.dev, kind: RoutePolicy, name: x}}]}]"),
            "spec.rules[0].backendRefs[0].filters[0].type",
            "filter-conflict",
        ),
        (rule("backendRefs: [{name: s, kind: Service}]"), "spec.rules[0].backendRefs[0]", "missing-field"),
        (rule("backendRefs: [{name: P}]"), "spec.rules[0].backendRefs[0].name", "invalid-name"),
        (rule("name: A"), "spec.rules[0].name", "invalid-name"),
        (HEAD + "  hostnames: ['*']\n", "spec.hostnames[0]", "invalid-hostname"),
        (HEAD + "  hostnames: [a, a]\n", "spec.hostnames[1]", "duplicate"),
    ],
)  # fmt: skip
def test_broken_rules_on_content_are_errors(load, text: str, path: str, code: str) -> None:
    assert [(where, what) for _, where, what in errors(load(text))] == [(path, code)]


@pytest.mark.parametrize("name", ["a", ".a.B_2", "_x._1", "inference.GRPCInferenceService"])
def test_a_name_of_the_grammar_loads(load, name: str) -> None:
    assert load(method(f"service: {name}")).snapshot is not None


def test_two_rules_of_one_name_are_an_error(load) -> None:
    assert errors(load(HEAD + "  rules: [{name: a}, {name: a}]\n")) == [(5, "spec.rules[1].name", "duplicate")]


@pytest.mark.parametrize(
    ("rules", "place"),
    [
        (["{}"] * 17, "spec.rules"),
        ([f"{{matches: [{', '.join(['{}'] * 65)}]}}"], "spec.rules[0].matches"),
        ([f"{{matches: [{', '.join(['{}'] * 43)}]}}"] * 3, "spec.rules"),
        ([f"{{backendRefs: [{', '.join(['{name: p}'] * 17)}]}}"], "spec.rules[0].backendRefs"),
    ],
)
def test_limits_on_counts_warn(load, rules: list[str], place: str) -> None:
    compiled = load(f"{HEAD}  rules: [{', '.join(rules)}]\n")
    assert compiled.snapshot is not None
    assert [d.origin.path for d in compiled.diagnostics if d.code == "crd-count"] == [place]
