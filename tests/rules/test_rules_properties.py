"""What holds for all documents: their order means nothing, and a Snapshot survives its encoding."""

import random
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.rules import resilience as r
from turnout.rules import snapshot as s
from turnout.rules.compile import compile_documents
from turnout.rules.compiler.precedence import precedence
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Report

NAMES = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.sampled_from(
    ["{value: /}", "{value: /a}", "{value: /a/b}", "{type: Exact, value: /a}", "{type: RegularExpression, value: /a+}"]
)
CONDITIONS = st.sampled_from(
    ["", ", method: GET", ", headers: [{name: x, value: y}]", ", queryParams: [{name: q, value: z}]"]
)
MATCHES = st.builds(lambda path, more: f"{{path: {path}{more}}}", PATHS, CONDITIONS)
RULES = st.builds(
    lambda matches, backends: f"{{matches: [{', '.join(matches)}], backendRefs: [{', '.join(backends)}]}}",
    st.lists(MATCHES, max_size=3),
    st.lists(st.builds("{{name: {}, weight: {}}}".format, NAMES, st.integers(0, 3)), max_size=2),
)
RULE_LISTS = st.lists(RULES, min_size=1, max_size=3)
AGES = st.sampled_from(["", ", creationTimestamp: '2026-01-01T00:00:00Z'"])
HOSTS = st.lists(st.sampled_from(["h.example", "'*.example'", "g.example"]), unique=True, max_size=2)


@st.composite
def routes(draw: st.DrawFn) -> list[str]:
    return [
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}{draw(AGES)}}}\n"
        f"spec: {{hostnames: [{', '.join(draw(HOSTS))}], rules: [{', '.join(draw(RULE_LISTS))}]}}\n"
        for name in draw(st.lists(NAMES, unique=True, min_size=1))
    ]


def predictor(name: str) -> str:
    return f"apiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {{name: {name}}}\nspec: {{endpoints: []}}\n"


def compiled(texts: list[str]) -> s.Snapshot:
    report = Report()
    documents = [d for i, text in enumerate(texts) for d in read_documents(f"{i}.yaml", text, report)]
    snapshot = compile_documents(documents, report).snapshot
    assert snapshot is not None, [str(d) for d in report.found]
    return snapshot


@settings(max_examples=settings.default.max_examples // 4)
@given(routes(), st.randoms(use_true_random=False))
def test_the_order_of_documents_and_files_never_changes_the_snapshot(texts: list[str], rng: random.Random) -> None:
    texts = [*texts, predictor("a"), predictor("b")]
    first = compiled(texts)
    rng.shuffle(texts)
    assert compiled(texts) == first
    assert compiled(["---\n".join(texts)]).version() == first.version()


@settings(max_examples=settings.default.max_examples // 4)
@given(routes())
def test_a_snapshot_survives_its_encoding_and_routes_stand_in_order(texts: list[str]) -> None:
    snapshot = compiled(texts)
    assert s.decode_snapshot(snapshot.encode()) == snapshot
    snapshot.check()
    for listener in snapshot.listeners:
        for host in listener.virtual_hosts:
            keys = [precedence(r.match, (0, "", ""), 0, 0) for r in host.routes]
            assert keys == sorted(keys)


TEXT = st.text(max_size=8)
EDITS = st.builds(
    s.HeaderEdits,
    st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    st.just(()),
    st.lists(TEXT, max_size=2).map(tuple),
)
LAYERS = st.lists(EDITS, max_size=2).map(tuple)
LIMITS = st.none() | st.floats(0, 1e6)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.builds(
    s.ValueMatch,
    TEXT,
    TEXT,
    st.sampled_from(["exact", "regex", "prefix", "suffix", "contains", "present", "range"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    INTEGERS,
    INTEGERS,
)
MATCHES = st.builds(
    s.Match,
    st.builds(s.PathMatch, st.sampled_from(["exact", "path_prefix", "prefix", "regex"]), TEXT, st.booleans()),
    st.none() | TEXT,
    st.lists(VALUES, max_size=2).map(tuple),
    st.lists(VALUES, max_size=2).map(tuple),
    st.none() | st.integers(0, 1_000_000),
)
REWRITES = st.none() | st.builds(
    s.Rewrite, st.none() | TEXT, st.none() | st.builds(s.PathRewrite, st.sampled_from(["full", "prefix"]), TEXT)
)


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """All values of a type that a part of a Snapshot may have, as far as msgpack can say them."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        return st.builds(kind, **{name: anything(hints[name]) for name in kind.__struct_fields__})
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, UnionType):
        return st.one_of(*(anything(choice) for choice in inner))
    if origin is tuple:
        items = st.lists(anything(inner[0]), max_size=2).map(tuple)
        return items if inner[1:] == (...,) else st.tuples(*(anything(item) for item in inner))
    return {
        int: INTEGERS, float: st.floats(allow_nan=False), str: TEXT, bool: st.booleans(), type(None): st.none(),
        bytes: st.binary(max_size=9),
    }[kind]  # fmt: skip


ACTIONS = st.one_of(
    st.builds(s.Respond, st.integers(100, 599), TEXT, st.none() | TEXT),
    st.builds(
        s.Redirect, st.sampled_from([301, 302]), st.none() | TEXT, st.none() | TEXT, st.none() | st.integers(1, 65535)
    ),
    st.builds(
        s.Forward,
        st.lists(st.builds(s.Backend, TEXT, st.integers(0, 9), EDITS, EDITS, REWRITES), max_size=2).map(tuple),
        REWRITES,
        LIMITS,
        LIMITS,
        LIMITS,
        LIMITS,
        st.floats(0, 1e6),
        anything(r.Retry | None),
        anything(r.HashKey | None),
        anything(r.RateLimit | None),
        anything(r.Fault | None),
    ),
)


ENDPOINTS = anything(s.Endpoint)
CLUSTERS = anything(s.Cluster)


@given(
    st.lists(st.builds(s.Route, TEXT, MATCHES, ACTIONS, LAYERS, LAYERS), max_size=3).map(tuple),
    st.lists(CLUSTERS, max_size=2).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
)
def test_any_snapshot_survives_its_encoding_and_equal_ones_have_one_version(
    found: tuple[s.Route, ...], clusters: tuple[s.Cluster, ...], cold: tuple[str, ...]
) -> None:
    snapshot = s.Snapshot((s.Listener("l", (s.VirtualHost("v", ("*",), found),)),), clusters, cold=cold)
    again = s.decode_snapshot(snapshot.encode())
    assert again == snapshot
    assert again.version() == snapshot.version()
