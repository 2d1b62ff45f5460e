"""Warnings: what is legal but hardly meant."""

import time

import pytest

PREDICTOR = "---\napiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {name: p}\nspec: {endpoints: []}\n"


def route(*rules: str, name: str = "r", hostnames: str = "[]") -> str:
    listed = "".join(f"  - {{{rule}, backendRefs: [{{name: p}}]}}\n" for rule in rules)
    return (
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}}}\nspec:\n  hostnames: {hostnames}\n  rules:\n{listed}"
    )


def shadowed(compiled) -> list[str]:
    return [d.origin.path for d in compiled.diagnostics if d.code == "shadowed-rule"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("matches: [{path: {value: /a}}]", "matches: [{path: {value: /a/}}]"),
        ("matches: [{method: GET}]", "matches: [{method: GET}]"),
        (
            "matches: [{headers: [{name: a, value: x}, {name: b, value: y}]}]",
            "matches: [{headers: [{name: B, value: y}, {name: A, value: x}]}]",
        ),
        ("matches: [{path: {type: RegularExpression, value: /.*}}]", "matches: [{path: {value: /a}}]"),
        ("matches: [{path: {type: RegularExpression, value: .*}}]", "matches: [{method: PUT}]"),
    ],
)
def test_a_rule_that_an_earlier_one_takes_everything_from_is_shadowed(load, first: str, second: str) -> None:
    compiled = load(route(first, second) + PREDICTOR)
    [found] = [d for d in compiled.diagnostics if d.code == "shadowed-rule"]
    assert (found.severity, found.origin.line, found.origin.path) == ("warning", 9, "spec.rules[1].matches[0]")
    assert "default/r/0 at a.yaml:8" in found.message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("matches: [{path: {value: /}}]", "matches: [{path: {value: /a}}]"),
        ("matches: [{method: GET}]", "matches: [{method: POST}]"),
        ("matches: [{headers: [{name: a, value: x}]}]", "matches: [{headers: [{name: a, value: y}]}]"),
        ("matches: [{path: {type: RegularExpression, value: .*}}]", "matches: [{path: {type: Exact, value: /a}}]"),
        ("matches: [{method: GET, path: {type: RegularExpression, value: .*}}]", "matches: [{method: PUT}]"),
        ("matches: [{headers: [{name: a, value: x}]}]", "name: rest"),
    ],
)
def test_a_rule_that_can_be_reached_is_not(load, first: str, second: str) -> None:
    assert shadowed(load(route(first, second) + PREDICTOR)) == []
    assert shadowed(load(route(second, first) + PREDICTOR)) == []


def test_a_rule_is_shadowed_only_if_it_is_under_all_of_its_hostnames(load) -> None:
    one, two = "matches: [{path: {value: /a}}]", "matches: [{path: {value: /a}}]"
    a = route(one, name="a", hostnames="[a.example]")
    both = route(two, name="b", hostnames="[a.example, b.example]")
    assert shadowed(load(a, both, PREDICTOR)) == []
    wide = route(one, name="a", hostnames="[a.example, b.example, c.example]")
    assert shadowed(load(wide, both, PREDICTOR)) == ["spec.rules[0].matches[0]"]


def test_a_predictor_that_nobody_names_is_told_at_its_line(load) -> None:
    [found, _] = load(PREDICTOR).diagnostics
    assert (found.code, found.origin.line) == ("unused-predictor", 2)


def test_ten_thousand_rules_are_loaded_and_linted_in_seconds(load) -> None:
    rules = [f"matches: [{{path: {{value: /m/{i}}}, method: POST}}]" for i in range(10)]
    text = "".join(route(*rules, name=f"r{i}", hostnames=f"[h{i % 50}.example]") for i in range(1_000))
    before = time.perf_counter()
    compiled = load(text + PREDICTOR)
    assert time.perf_counter() - before < 10
    assert compiled.snapshot is not None
    assert sum(1 for _ in compiled.snapshot.routes()) == 10_000
    assert len(shadowed(compiled)) == 10_000 - 50 * 10
