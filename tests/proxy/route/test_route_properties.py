"""For any Snapshot the Table takes the same route as the plain reading of it: the most specific domain, then the first
route in order whose conditions hold."""

import re
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from turnout.rules.snapshot import Backend, Forward, Match, PathMatch, Route, ValueMatch

if TYPE_CHECKING:
    from conftest import MakeHead, MakeTable

from turnout.proxy.http.head import RequestHead

TO_A = Forward((Backend("a"),))

ELEMENTS = st.lists(st.sampled_from(["a", "b", "ab", "A", ""]), max_size=3)
PATHS = st.builds(lambda elements: "/" + "/".join(elements), ELEMENTS)
PREFIXES = st.builds(lambda path: path.rstrip("/") or "/", PATHS)
EXPRESSIONS = st.sampled_from(["/a.*", "/[ab]+", "/.*b", "/a|/b", ".*", "/ab?/a"])
ANY_CASE = st.sampled_from([False, False, True])
PATH_MATCHES = st.one_of(
    st.builds(PathMatch, st.just("exact"), PATHS, ANY_CASE),
    st.builds(PathMatch, st.just("path_prefix"), PREFIXES, ANY_CASE),
    st.builds(PathMatch, st.just("prefix"), PATHS, ANY_CASE),
    st.builds(PathMatch, st.just("regex"), EXPRESSIONS),
)
VALUES = st.one_of(
    st.builds(
        ValueMatch, st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), st.sampled_from(["exact", "regex"])
    ),
    st.builds(
        ValueMatch,
        st.sampled_from(["x", "y"]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(["exact", "prefix", "contains", "present"]),
        st.booleans(),
        missing_as_empty=st.booleans(),
    ),
)
CONDITIONS = st.lists(VALUES, max_size=2, unique_by=lambda v: v.name).map(tuple)
MATCHES = st.builds(Match, PATH_MATCHES, st.sampled_from([None, None, "GET", "POST"]), CONDITIONS, CONDITIONS)
TENANTS = st.builds(
    lambda path, count: [Match(path, headers=(ValueMatch("x", str(i % 4)),)) for i in range(count)],
    PATH_MATCHES,
    st.integers(8, 12),
)
ROUTES = st.lists(st.one_of(MATCHES.map(lambda m: [m]), TENANTS), max_size=12).map(
    lambda groups: tuple(Route(f"r{i}", m, TO_A) for i, m in enumerate(m for group in groups for m in group))
)
DOMAINS = st.sampled_from(["h", "a.h", "*.h", "*.a.h", "a.*", "*", "*h", "a*"])
HOSTS = st.dictionaries(DOMAINS, ROUTES, min_size=1, max_size=4)
REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST"]),
    PATHS,
    st.sampled_from(["", "?x=1", "?y=2&x=2", "?x=1&y=1"]),
    st.sampled_from(["h", "a.h", "b.a.h", "a.b", "h.h", "ah", "z"]),
    st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2", "3"])),
)


def find_domain(domains: list[str], host: str) -> str | None:
    def rank(domain: str) -> tuple[int, int]:
        kind = 0 if domain == "*" else 2 if domain.startswith("*") else 1 if domain.endswith("*") else 3
        return kind, len(domain)

    taking = [d for d in domains if re.fullmatch(re.escape(d).replace(r"\*", ".+"), host)]
    return max(taking, key=rank, default=None)


def path_holds(match: PathMatch, path: str) -> bool:
    if match.ignore_case:
        return path_holds(PathMatch(match.kind, match.value.lower()), path.lower())
    match match.kind:
        case "exact":
            return path == match.value
        case "prefix":
            return path.startswith(match.value)
        case "path_prefix":
            return match.value == "/" or path == match.value or path.startswith(match.value + "/")
        case "regex":
            return re.fullmatch(match.value, path) is not None


def values_hold(matches: tuple[ValueMatch, ...], values: dict[str, str]) -> bool:
    return all(value_holds(m, values.get(m.name)) for m in matches)


def value_holds(match: ValueMatch, value: str | None) -> bool:
    if match.kind == "present":
        return (value is not None or match.missing_as_empty) != match.invert
    if value is None and not match.missing_as_empty:
        return False
    # The values and expressions here are single digits, so all kinds come to the same.
    return ((value or "") == match.value) != match.invert


def reference(hosts: dict[str, tuple[Route, ...]], head: RequestHead) -> str | None:
    domain = find_domain(list(hosts), head.host)
    query = dict(part.split("=") for part in (head.query or b"").decode().split("&") if part)
    headers = {name.decode(): value.decode() for name, value in head.fields}
    for route in hosts[domain] if domain else ():
        match = route.match
        if (
            path_holds(match.path, head.path.decode())
            and match.method in (None, head.method.decode())
            and values_hold(match.headers, headers)
            and values_hold(match.query, query)
        ):
            return route.name
    return None


@given(HOSTS, st.lists(REQUESTS, min_size=1, max_size=8), st.booleans())
def test_a_table_is_the_plain_reading_of_its_snapshot(
    make_table: "MakeTable",
    make_head: "MakeHead",
    hosts: dict[str, tuple[Route, ...]],
    requests: list[tuple[str, str, str, str, dict[str, str]]],
    sort: bool,
) -> None:
    if sort:  # the order that documents compile to, which the index takes a shorter way for
        ranks = {"exact": 0, "regex": 1, "path_prefix": 2, "prefix": 2}
        hosts = {
            domain: tuple(sorted(routes, key=lambda r: (ranks[r.match.path.kind], -len(r.match.path.value))))
            for domain, routes in hosts.items()
        }
    table = make_table(hosts=hosts)
    for method, path, query, host, headers in requests:
        for _ in range(2):  # found, then remembered
            head = make_head(f"{method} {path}{query} {host}", **headers)
            entry = table.match(head)
            assert (entry.name if entry else None) == reference(hosts, head)
