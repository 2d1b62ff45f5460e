"""Gateways: which listeners a route is bound to, and under which domains."""

import pytest

from turnout.rules.compile import Compiled
from turnout.rules.compiler.hostnames import covers, intersect

GATEWAY = """---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{gatewayClassName: any, listeners: [{listeners}]{more}}}
"""
LISTENER = "{{name: {name}, port: {port}, protocol: HTTP{more}}}"


def gateway(*listeners: str, name: str = "g", namespace: str = "default", more: str = "") -> str:
    return GATEWAY.format(name=name, namespace=namespace, listeners=", ".join(listeners), more=more)


def listener(name: str, port: int = 80, hostname: str = "", more: str = "") -> str:
    host = f", hostname: '{hostname}'" if hostname else ""
    return LISTENER.format(name=name, port=port, more=host + more)


def route(name: str, parents: str, hostnames: str = "[]", namespace: str = "default") -> str:
    return f"""---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{parentRefs: {parents}, hostnames: {hostnames}, rules: [{{backendRefs: [{{name: s, kind: Service, port: 1}}]}}]}}
"""


def served(compiled: Compiled) -> dict[str, dict[str, list[str]]]:
    assert compiled.snapshot is not None, [str(d) for d in compiled.diagnostics]
    return {
        x.name: {d: [r.name.split("/")[1] for r in vh.routes] for vh in x.virtual_hosts for d in vh.domains}
        for x in compiled.snapshot.listeners
    }


def test_listeners_of_one_port_are_told_apart_by_hostname(load) -> None:
    text = (
        gateway(
            listener("one", hostname="bar.com"),
            listener("two", hostname="foo.bar.com"),
            listener("three", hostname="*.bar.com"),
            listener("four", hostname="*.foo.com"),
        )
        + route("v1", "[{name: g, sectionName: one}]")
        + route("v2", "[{name: g, sectionName: two}]")
        + route("v3", "[{name: g, sectionName: three}, {name: g, sectionName: four}]")
    )
    assert served(load(text)) == {
        "*:80": {"bar.com": ["v1"], "foo.bar.com": ["v2"], "*.bar.com": ["v3"], "*.foo.com": ["v3"]}
    }


def test_a_request_is_judged_by_the_most_specific_listener_only(load) -> None:
    listeners = (listener("any"), listener("wild", hostname="*.a.b"), listener("exact", hostname="x.a.b"))
    text = gateway(*listeners) + route("r", "[{name: g, sectionName: any}]", "[x.a.b, y.a.b, z.b]")
    assert served(load(text)) == {"*:80": {"*": [], "*.a.b": [], "x.a.b": [], "z.b": ["r"]}}
    text = gateway(*listeners) + route("r", "[{name: g, sectionName: wild}]", "['*.b']")
    assert served(load(text)) == {"*:80": {"*": [], "*.a.b": ["r"], "x.a.b": []}}


@pytest.mark.parametrize(
    ("hostname", "wanted", "domains"),
    [
        ("", "[]", ["*"]),
        ("", "[a.b]", ["a.b"]),
        ("a.b", "[]", ["a.b"]),
        ("*.b", "[a.b, c.d]", ["a.b"]),
        ("a.b", "['*.b']", ["a.b"]),
        ("*.b", "['*.a.b']", ["*.a.b"]),
        ("*.a.b", "['*.b']", ["*.a.b"]),
        ("*.b", "[b]", []),
        ("a.b", "[c.b]", []),
    ],
)
def test_domains_are_what_listener_and_route_have_in_common(load, hostname: str, wanted: str, domains: list) -> None:
    compiled = load(gateway(listener("l", hostname=hostname)) + route("r", "[{name: g}]", wanted))
    assert served(compiled) == {"*:80": {d: ["r"] for d in domains}}
    assert [d.code for d in compiled.diagnostics] == ([] if domains else ["not-bound"])


@pytest.mark.parametrize(
    ("allowed", "inside"),
    [
        ("", []),
        ("{namespaces: {from: Same}}", []),
        ("{namespaces: {from: All}}", ["r"]),
        ("{namespaces: {from: Selector, selector: {matchLabels: {team: x}}}}", ["r"]),
        ("{namespaces: {from: Selector, selector: {matchLabels: {team: y}}}}", []),
        ("{namespaces: {from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: other}}}}", ["r"]),
        (
            "{namespaces: {from: Selector, selector: {matchExpressions: [{key: team, operator: In, values: [x]}]}}}",
            ["r"],
        ),
        (
            "{namespaces: {from: Selector, selector: {matchExpressions: [{key: team, operator: NotIn, values: [x]}]}}}",
            [],
        ),
        ("{namespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}}", ["r"]),
        ("{namespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: Exists}]}}}", []),
        ("{namespaces: {from: Selector, selector: {}}}", ["r"]),
        ("{namespaces: {from: All}, kinds: [{kind: HTTPRoute}]}", ["r"]),
    ],
)
def test_allowed_routes_lets_in_or_keeps_out(load, allowed: str, inside: list[str]) -> None:
    more = f", allowedRoutes: {allowed}" if allowed else ""
    text = (
        gateway(listener("l", more=more))
        + route("r", "[{name: g, namespace: default}]", namespace="other")
        + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {team: x}}\n"
    )
    assert served(load(text)) == {"*:80": {"*": inside} if inside else {}}


@pytest.mark.parametrize(
    ("parents", "where"),
    [
        ("[{name: g}]", ["*:80", "*:81"]),
        ("[{name: g, port: 81}]", ["*:81"]),
        ("[{name: g, sectionName: a}]", ["*:80"]),
        ("[{name: g, sectionName: a, port: 81}]", []),
        ("[{name: g, namespace: other}]", []),
        ("[{name: h}]", []),
        ("[{name: g, kind: Service, group: ''}]", []),
        ("[]", []),
    ],
)
def test_parent_refs_name_gateway_section_and_port(load, parents: str, where: list[str]) -> None:
    compiled = load(gateway(listener("a"), listener("b", port=81)) + route("r", parents))
    assert [name for name, domains in served(compiled).items() if domains] == where
    assert [d.code for d in compiled.diagnostics] == ([] if where else ["not-bound"])


def test_parent_refs_say_nothing_while_no_gateway_is_loaded(load) -> None:
    assert served(load(route("r", "[{name: nowhere, port: 3}]"))) == {"default": {"*": ["r"]}}


def test_each_address_is_a_listener_of_its_own(load) -> None:
    more = ", addresses: [{value: 127.0.0.1}, {type: IPAddress, value: '::1'}]"
    compiled = load(gateway(listener("l", port=8080), more=more) + route("r", "[{name: g}]"))
    assert compiled.snapshot is not None
    assert [(x.name, x.address, x.port) for x in compiled.snapshot.listeners] == [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:8080", "::1", 8080),
    ]
    assert str(compiled.origins.listeners["[::1]:8080"]) == "a.yaml:5 (spec.listeners[0])"


def test_a_wildcard_takes_names_below_and_not_the_name_itself() -> None:
    assert covers("*.a", "b.a")
    assert covers("*.a", "c.b.a")
    assert covers("*.a", "*.b.a")
    assert not covers("*.a", "a")
    assert not covers("*.a", "ba")
    assert not covers("*.a", "*")
    assert intersect("*.b.a", "*.a") == "*.b.a"
    assert intersect("x", "y") is None
