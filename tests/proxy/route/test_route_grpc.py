"""GRPCRoutes in the Table: a call goes where Gateway API's words say, and what is no call goes elsewhere."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.proxy.route.table import Table
from turnout.proxy.telemetry.layout import route_keys
from turnout.rules.compile import compile_documents
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Report

if TYPE_CHECKING:
    from conftest import MakeHead

SERVICES, METHODS = ["a", "a.B", "a.BC", "aXB"], ["M", "Mx", "N"]
EXACT = st.fixed_dictionaries(
    {}, optional={"service": st.sampled_from(SERVICES), "method": st.sampled_from(METHODS)}
).filter(bool)
HEADERS = st.lists(
    st.sampled_from(["x", "y"]).map(lambda name: {"name": name, "value": "1"}),
    max_size=2,
    unique_by=lambda h: h["name"],
)
MATCHES = st.fixed_dictionaries({}, optional={"method": EXACT, "headers": HEADERS})
RULES = st.lists(st.lists(MATCHES, max_size=3).map(lambda matches: {"matches": matches}), min_size=1, max_size=3)
AGES = st.sampled_from([None, "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"])
ROUTES = st.dictionaries(st.sampled_from(["r", "s", "t"]), st.tuples(AGES, RULES), min_size=1)
CALLS = st.tuples(st.sampled_from(SERVICES), st.sampled_from(METHODS), st.sets(st.sampled_from(["x", "y"])))


def make_document(kind: str, name: str, created: str | None, rules: list[dict[str, Any]]) -> dict[str, Any]:
    metadata = {"name": name} | ({} if created is None else {"creationTimestamp": created})
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": {"rules": rules}
    }  # fmt: skip


def make_rules_table(*documents: dict[str, Any]) -> Table:
    report = Report()
    snapshot = compile_documents(read_documents("a.yaml", yaml.safe_dump_all(documents), report), report).snapshot
    assert snapshot is not None, [str(found) for found in report.found]
    (listener,) = snapshot.listeners
    return Table(listener, (), dict.fromkeys(route_keys(snapshot), 0))


def claims(
    routes: dict[str, tuple[str | None, list[dict[str, Any]]]], service: str, method: str, headers: set[str]
) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every match that takes the call, with what it is ordered by in the words of GRPCRouteRule.matches."""
    for name, (created, rules) in routes.items():
        for number, rule in enumerate(rules):
            for match in rule["matches"] or [{}]:
                wanted = match.get("method", {})
                asked = {header["name"] for header in match.get("headers", ())}
                call = wanted.get("service", service), wanted.get("method", method)
                if call == (service, method) and asked <= headers:
                    most = len(wanted.get("service", "")), len(wanted.get("method", "")), len(asked)
                    order = (*(-count for count in most), created or "9999", name, number)
                    yield order, f"grpcroute/default/{name}/{number}"


@settings(max_examples=settings.default.max_examples // 2)
@given(ROUTES, st.lists(CALLS, min_size=1, max_size=4))
def test_a_call_goes_where_the_plain_reading_of_the_documents_says(
    make_head: "MakeHead",
    routes: dict[str, tuple[str | None, list[dict[str, Any]]]],
    calls: list[tuple[str, str, set[str]]],
) -> None:
    documents = [make_document("GRPCRoute", name, *found) for name, found in routes.items()]
    table = make_rules_table(*documents, make_document("HTTPRoute", "rest", None, [{}]))
    for service, method, headers in calls:
        named = [(name.encode(), b"1") for name in headers]
        head = make_head(f"POST /{service}/{method}", (b"content-type", b"application/grpc+proto"), *named)
        _, expected = min(claims(routes, service, method, headers), default=(None, "default/rest/0"))
        taken = table.match(head)
        assert taken is not None
        assert taken.route.name == expected


@pytest.mark.parametrize(
    ("content_type", "route"),
    [
        ("application/grpc", "grpcroute/default/g/0"),
        ("application/grpc+json", "grpcroute/default/g/0"),
        ("application/json", "default/h/0"),
        ("", "default/h/0"),
    ],
)
def test_what_is_no_call_goes_to_the_httproute(make_head: "MakeHead", content_type: str, route: str) -> None:
    table = make_rules_table(
        make_document("GRPCRoute", "g", None, [{}]),
        make_document("HTTPRoute", "h", "2020-01-01T00:00:00Z", [{"matches": [{"path": {"value": "/a.B/M"}}]}]),
    )
    taken = table.match(make_head("POST /a.B/M", (b"content-type", content_type.encode())))
    assert taken is not None
    assert taken.route.name == route


@pytest.mark.parametrize(
    ("method", "taken", "not_taken"),
    [
        ({"service": "a.B"}, ["/a.B/M", "/a.B/x-y"], ["/a.B", "/a.B/", "/a.B/M/N", "/aXB/M", "/x/a.B/M", "/a.BC/M"]),
        ({"method": "M"}, ["/a.B/M", "/x/M"], ["/M", "/a/b/M", "/a.B/Mx", "/a.B/m"]),
        (
            {"type": "RegularExpression", "service": "^a|b$", "method": "(?i)m"},
            ["/a/M", "/b/m"],
            ["/ab/M", "/a/Mx", "/c/M", "/a"],
        ),
        ({"type": "RegularExpression", "service": "a[.].*"}, ["/a.B/M", "/a./M"], ["/a/M", "/aXB/M", "/a.B"]),
    ],
)  # fmt: skip
def test_what_a_match_leaves_open_is_one_element_of_the_path(
    make_head: "MakeHead", method: dict[str, str], taken: list[str], not_taken: list[str]
) -> None:
    table = make_rules_table(make_document("GRPCRoute", "g", None, [{"matches": [{"method": method}]}]))
    found = {
        path: table.match(make_head(f"POST {path}", (b"content-type", b"application/grpc")))
        for path in (*taken, *not_taken)
    }
    assert [path for path, entry in found.items() if entry is not None] == taken
