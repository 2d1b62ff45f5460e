"""HTTPRoutes and GRPCRoutes at one listener: with a Gateway a hostname belongs to one kind of them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.rules.compile import Compiled, compile_documents
from turnout.rules.compiler.claims import Claims
from turnout.rules.compiler.hostnames import intersect
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Report

OLD, NEW = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"


def gateway(*listeners: str) -> str:
    head = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\n"
    return f"{head}spec: {{listeners: [{', '.join(listeners)}]}}\n"


def listener(name: str = "l", port: int = 80, more: str = "") -> str:
    return f"{{name: {name}, port: {port}, protocol: HTTP{more}}}"


def route(kind: str, name: str, hostnames: str = "[]", created: str = "", parents: str = "[{name: g}]") -> str:
    meta = f"name: {name}" + (f", creationTimestamp: '{created}'" if created else "")
    refs = "backendRefs: [{name: s, kind: Service, port: 1}]"
    head = f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{{meta}}}\n"
    return f"{head}spec: {{parentRefs: {parents}, hostnames: {hostnames}, rules: [{{{refs}}}]}}\n"


def served(compiled: Compiled) -> dict[str, dict[str, list[str]]]:
    assert compiled.snapshot is not None, [str(d) for d in compiled.diagnostics]
    return {
        x.name: {d: [r.name for r in host.routes] for host in x.virtual_hosts for d in host.domains}
        for x in compiled.snapshot.listeners
    }


HTTP, GRPC = "default/a/0", "grpcroute/default/b/0"


@pytest.mark.parametrize(
    ("http", "grpc", "winner"),
    [
        ((OLD, "a"), (NEW, "b"), HTTP),
        ((NEW, "a"), (OLD, "b"), GRPC),
        ((NEW, "a"), (NEW, "b"), HTTP),
        (("", "a"), ("", "b"), HTTP),
        (("", "a"), (NEW, "b"), GRPC),
        ((NEW, "c"), (NEW, "b"), GRPC),
        ((NEW, "b"), (NEW, "b"), GRPC),
    ],
)
@pytest.mark.parametrize(("one", "other"), [("[]", "[]"), ("[h.x]", "['*.x']"), ("['*.x']", "[a, h.x]"), ("[]", "[a]")])
def test_of_two_kinds_with_a_hostname_in_common_the_older_then_the_first_by_name_is_served(
    load, http: tuple[str, str], grpc: tuple[str, str], winner: str, one: str, other: str
) -> None:
    texts = route("HTTPRoute", http[1], one, http[0]), route("GRPCRoute", grpc[1], other, grpc[0])
    compiled = load(gateway(listener()), *texts)
    found = {name for domains in served(compiled).values() for names in domains.values() for name in names}
    assert found == {winner}
    [told] = compiled.diagnostics
    assert (told.severity, told.origin.path, told.code) == ("warning", "spec.hostnames", "hostname-conflict")
    loser = f"HTTPRoute default/{http[1]}" if winner == GRPC else f"GRPCRoute default/{grpc[1]}"
    assert told.message.startswith(f"{loser} is not served at listener l of Gateway default/g: ")


def test_without_a_hostname_in_common_both_are_served(load) -> None:
    texts = route("HTTPRoute", "a", "[h.x, '*.y']"), route("GRPCRoute", "b", "[g.x, y]")
    compiled = load(gateway(listener()), *texts)
    assert served(compiled) == {"*:80": {"h.x": [HTTP], "*.y": [HTTP], "g.x": [GRPC], "y": [GRPC]}}
    assert compiled.diagnostics == ()


def test_a_conflict_is_one_of_a_listener_and_not_of_the_others(load) -> None:
    text = gateway(listener("one"), listener("two", port=81))
    compiled = load(text, route("HTTPRoute", "a", parents="[{name: g, sectionName: one}]"), route("GRPCRoute", "b"))
    assert served(compiled) == {"*:80": {"*": [HTTP]}, "*:81": {"*": [GRPC]}}
    assert [(d.code, "listener one of" in d.message) for d in compiled.diagnostics] == [("hostname-conflict", True)]


def test_a_hostname_of_a_narrower_listener_is_no_conflict(load) -> None:
    text = gateway(listener("wide"), listener("grpc", more=", hostname: g.x"))
    http = route("HTTPRoute", "a", parents="[{name: g, sectionName: wide}]")
    compiled = load(text, http, route("GRPCRoute", "b", parents="[{name: g, sectionName: grpc}]"))
    assert served(compiled) == {"*:80": {"*": [HTTP], "g.x": [GRPC]}}
    assert compiled.diagnostics == ()


def test_who_was_refused_stands_in_nobody_s_way(load) -> None:
    texts = (
        route("HTTPRoute", "a", "[h.x]", "2024-01-01T00:00:00Z"),
        route("GRPCRoute", "b", "['*.x']", OLD),
        route("HTTPRoute", "c", "[g.x]", NEW),
    )
    assert served(load(gateway(listener()), *texts)) == {"*:80": {"h.x": [HTTP], "g.x": ["default/c/0"]}}


def test_without_a_gateway_both_are_served_and_the_grpcroute_is_asked_first(load) -> None:
    compiled = load(route("HTTPRoute", "a", created=OLD), route("GRPCRoute", "b", created=NEW))
    assert served(compiled) == {"default": {"*": [GRPC, HTTP]}}
    assert compiled.diagnostics == ()


@pytest.mark.parametrize(
    ("kinds", "inside"),
    [
        ("", ["a", "b"]),
        ("[{kind: HTTPRoute}]", ["a"]),
        ("[{kind: GRPCRoute}]", ["b"]),
        ("[{kind: GRPCRoute, group: gateway.networking.k8s.io}, {kind: HTTPRoute}]", ["a", "b"]),
    ],
)
def test_a_listener_takes_the_kinds_that_it_names(load, kinds: str, inside: list[str]) -> None:
    more = f", allowedRoutes: {{kinds: {kinds}}}" if kinds else ""
    compiled = load(gateway(listener(more=more)), route("HTTPRoute", "a", "[a]"), route("GRPCRoute", "b", "[b]"))
    assert sorted(served(compiled).get("*:80", {})) == inside
    for found in compiled.diagnostics:
        assert found.code == "not-bound"
        assert found.message.endswith("keeps HTTPRoutes out" if inside == ["b"] else "keeps GRPCRoutes out")


DOMAINS = st.sampled_from(["*", "x", "*.x", "a.x", "*.a.x", "b.a.x", "b.x", "ax", "*.ax"])


@given(st.lists(st.tuples(st.sampled_from(["HTTPRoute", "GRPCRoute"]), st.sets(DOMAINS, min_size=1)), max_size=6))
def test_claims_find_a_rival_wherever_two_patterns_take_one_host(found: list[tuple[str, set[str]]]) -> None:
    claims = Claims()
    accepted: list[tuple[str, set[str], str]] = []
    for number, (kind, domains) in enumerate(found):
        rivals = {
            name
            for other, theirs, name in accepted
            if other != kind and any(intersect(one, two) for one in domains for two in theirs)
        }
        rival = claims.find_rival(kind, domains)
        assert (rival in rivals) if rivals else rival is None
        if rival is None:
            claims.add(kind, domains, str(number))
            accepted.append((kind, domains, str(number)))


HOSTS = st.lists(st.sampled_from(["h.x", "'*.x'", "g.x", "y"]), unique=True, max_size=2)
FOUND = st.lists(
    st.tuples(
        st.sampled_from(["HTTPRoute", "GRPCRoute"]),
        st.sampled_from("abc"),
        HOSTS.map(lambda hosts: f"[{', '.join(hosts)}]"),
        st.sampled_from(["", OLD, NEW]),
    ),
    unique_by=lambda found: found[:2],
    max_size=5,
)


@settings(max_examples=settings.default.max_examples // 4)
@given(FOUND, st.randoms(use_true_random=False))
def test_a_hostname_is_of_one_kind_whatever_the_order_of_documents(
    found: list[tuple[str, str, str, str]], rng: random.Random
) -> None:
    texts = [gateway(listener()), *(route(*written) for written in found)]
    compiled = load_all(texts)
    for names in served(compiled)["*:80"].values():
        assert len({name.startswith("grpcroute/") for name in names}) <= 1
    rng.shuffle(texts)
    assert load_all(texts).snapshot == compiled.snapshot


def load_all(texts: list[str]) -> Compiled:
    report = Report()
    return compile_documents(read_documents("a.yaml", "".join(texts), report), report)
