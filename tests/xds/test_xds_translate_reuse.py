"""Translating a Snapshot after another gives what it gives alone, and makes only what is other."""

from collections.abc import Iterator

import msgspec
import pytest

from turnout.rules.compile import compile_documents
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Report
from turnout.rules.snapshot import Snapshot
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES
from turnout.xds.translate.reuse import Reuse
from turnout.xds.translate.to_envoy import to_xds

PREDICTOR = """\
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}}}
spec: {{endpoints: [{{address: 10.0.0.1, port: {port}}}]}}
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {host}}}
spec: {{hostnames: [{host}.test], rules: [{{backendRefs: [{{name: {backend}}}]}}]}}
"""


def compiled(ports: dict[str, int], hosts: dict[str, str]) -> Snapshot:
    texts = [PREDICTOR.format(name=name, port=port) for name, port in ports.items()]
    texts += [ROUTE.format(host=host, backend=backend) for host, backend in hosts.items()]
    snapshot = compile_documents(read_documents("rules.yaml", "---\n".join(texts), Report())).snapshot
    assert snapshot is not None
    return snapshot


PORTS = {"a": 1, "b": 2}
HOSTS = {"x": "a", "y": "b"}
BEFORE = compiled(PORTS, HOSTS)

CHANGES = {
    "nothing": (compiled(PORTS, HOSTS), set()),
    "an endpoint": (compiled({"a": 9, "b": 2}, HOSTS), {(ENDPOINTS, "default/a")}),
    "a route": (compiled(PORTS, {"x": "b", "y": "b"}), {(ROUTES, "default"), (ROUTES, "grpc/x.test")}),
    "a route more": (
        compiled(PORTS, {**HOSTS, "z": "a"}),
        {(ROUTES, "default"), (ROUTES, "grpc/z.test"), (LISTENER, "z.test"), (LISTENER, "z.test:8080")},
    ),
    "a route less": (compiled(PORTS, {"y": "b"}), {(ROUTES, "default")}),
    "a backend that is missing": (
        compiled({"b": 2}, HOSTS),
        {
            *((ROUTES, name) for name in ("default", "grpc/x.test")),
            *((kind, "default/a") for kind in (CLUSTER, ENDPOINTS)),
        },
    ),
}


def changes(before: Snapshot, after: Snapshot) -> Iterator[tuple[str, str]]:
    """What is another object or new in a translation that could reuse, and not in equal places."""
    first = Reuse()
    old = to_xds(before, first)
    new = to_xds(after, Reuse(first.pieces))
    for type_url in TYPES:
        for name, resource in new[type_url].items():
            if old[type_url].get(name) != resource:
                yield type_url, name


@pytest.mark.parametrize(("after", "other"), CHANGES.values(), ids=CHANGES)
def test_what_is_reused_is_what_would_be_made(after: Snapshot, other: set[tuple[str, str]]) -> None:
    first = Reuse()
    to_xds(BEFORE, first)
    assert to_xds(after, Reuse(first.pieces)) == to_xds(after)
    assert set(changes(BEFORE, after)) == other


def test_what_is_the_same_is_the_same_object() -> None:
    first = Reuse()
    old = to_xds(BEFORE, first)
    new = to_xds(compiled({"a": 9, "b": 2}, HOSTS), Reuse(first.pieces))
    assert new[CLUSTER]["default/b"] is old[CLUSTER]["default/b"]
    assert new[ENDPOINTS]["default/b"] is old[ENDPOINTS]["default/b"]
    assert new[ROUTES]["default"] is old[ROUTES]["default"]
    assert new[LISTENER]["x.test"] is old[LISTENER]["x.test"]


def test_a_change_and_its_return_lose_nothing() -> None:
    reuse = Reuse()
    expected = to_xds(BEFORE, reuse)
    for port in range(5):
        reuse = Reuse(reuse.pieces)
        to_xds(compiled({"a": port, "b": 2}, {"x": "b"}), reuse)
    assert to_xds(BEFORE, Reuse(reuse.pieces)) == expected


def test_pieces_of_a_piece_that_is_reused_are_kept_with_it() -> None:
    made: list[str] = []

    def inside(_: Reuse, name: str) -> str:
        made.append(name)
        return name.upper()

    def outside(reuse: Reuse, *names: str) -> list[str]:
        return [reuse.take(name, inside, name) for name in names]

    reuse = Reuse()
    for names in (("a", "b"), ("a", "b"), ("a", "c"), ("a", "b")):
        reuse = Reuse(reuse.pieces)
        assert reuse.take("all", outside, *names) == [name.upper() for name in names]
    assert made == ["a", "b", "c", "b"]


def test_the_listeners_port_counts() -> None:
    moved = msgspec.structs.replace(BEFORE.listeners[0], port=9000)
    after = msgspec.structs.replace(BEFORE, listeners=(moved,))
    named = {name for kind, name in changes(BEFORE, after) if kind == LISTENER}
    assert named == {
        "default",
        "x.test:9000",
        "y.test:9000",
    }
