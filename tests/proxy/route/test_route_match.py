"""Which route takes a request: hosts, paths, conditions."""

from typing import TYPE_CHECKING

import pytest

from turnout.proxy.route.paths import MAX_KNOWN_STEPS, MAX_MERGED
from turnout.proxy.route.table import MAX_KNOWN_HOSTS
from turnout.rules.snapshot import Backend, Forward, Match, PathKind, PathMatch, Route, ValueMatch

if TYPE_CHECKING:
    from conftest import MakeHead, MakeTable

TO_A = Forward((Backend("a"),))
OK = Route("ok", Match(), TO_A)


def route(name: str, kind: PathKind = "path_prefix", value: str = "/", **more: object) -> Route:
    return Route(name, Match(PathMatch(kind, value), **more), TO_A)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "value", "path", "holds"),
    [
        ("path_prefix", "/", "/", True),
        ("path_prefix", "/", "/a", True),
        ("path_prefix", "/abc", "/abc", True),
        ("path_prefix", "/abc", "/abc/", True),
        ("path_prefix", "/abc", "/abc/def", True),
        ("path_prefix", "/abc", "/abcd", False),
        ("path_prefix", "/abc", "/ab", False),
        ("path_prefix", "/abc", "//abc", False),
        ("path_prefix", "/abc", "/ABC", False),
        ("path_prefix", "/a/b", "/a//b", False),
        ("path_prefix", "/a/b", "/a", False),
        ("path_prefix", "/a/b", "/a/bc", False),
        ("path_prefix", "/a/b", "/a%2Fb", False),
        ("exact", "/abc", "/abc", True),
        ("exact", "/abc", "/abc/", False),
        ("exact", "/abc", "/Abc", False),
        ("exact", "/abc/", "/abc", False),
        ("prefix", "/ab", "/abc", True),
        ("prefix", "/ab", "/ab", True),
        ("prefix", "/ab", "/a", False),
        ("regex", "/a[bc]", "/ab", True),
        ("regex", "/a[bc]", "/abc", False),
        ("regex", "/a[bc]", "/x/ab", False),
        ("regex", "/a|/b", "/bx", False),
        ("regex", "/a.*", "/a/b/c", True),
    ],
)
def test_a_path_condition(
    make_table: "MakeTable", make_head: "MakeHead", kind: PathKind, value: str, path: str, holds: bool
) -> None:
    assert (make_table(route("r", kind, value)).match(make_head(path)) is not None) is holds


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("a.example", "a.example"),
        ("b.example", "*.example"),
        ("c.b.example", "*.example"),
        ("x.a.example", "*.a.example"),
        ("example", "*"),
        (".example", "*"),
        ("b-v2.example", "*-v2.example"),
        ("-v2.example", "*.example"),
        ("a.test", "a.*"),
        ("a.b.test", "a.*"),
        ("a-b.test", "*"),
        ("a.", "*"),
        ("", "*"),
        ("[", "*"),
        ("[::1]", "*"),
    ],
)
def test_the_most_specific_domain_takes_the_host(
    make_table: "MakeTable", make_head: "MakeHead", host: str, domain: str
) -> None:
    domains = ("a.example", "*.example", "*.a.example", "*-v2.example", "a.*", "*")
    table = make_table(hosts={d: (route(d),) for d in domains})
    for _ in range(2):  # found, then remembered
        entry = table.match(make_head(f"/ {host}"))
        assert entry is not None
        assert entry.name == table.find_domain(host) == domain


def test_a_miss_in_the_most_specific_domain_is_a_miss(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(hosts={"a.example": (route("a", value="/a"),), "*": (route("any"),)})
    assert table.match(make_head("/b a.example")) is None


def test_without_a_domain_for_the_host_nothing_matches(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(hosts={"a.example": (OK,)})
    assert [table.match(make_head("/ b.example")) for _ in range(2)] == [None, None]


@pytest.mark.parametrize(
    ("match", "request_line", "headers", "holds"),
    [
        (Match(method="POST"), "POST /", {}, True),
        (Match(method="POST"), "GET /", {}, False),
        (Match(headers=(ValueMatch("x", "1"),)), "/", {"x": "1"}, True),
        (Match(headers=(ValueMatch("x", "1"),)), "/", {"x": "11"}, False),
        (Match(headers=(ValueMatch("x", "1"),)), "/", {}, False),
        (Match(headers=(ValueMatch("x", ""),)), "/", {"x": ""}, True),
        (Match(headers=(ValueMatch("x", ""),)), "/", {}, False),
        (Match(headers=(ValueMatch("x", "é"),)), "/", {"x": "é"}, True),
        (Match(headers=(ValueMatch("x", "a.c", "regex"),)), "/", {"x": "abc"}, True),
        (Match(headers=(ValueMatch("x", "b", "regex"),)), "/", {"x": "abc"}, False),
        (Match(headers=(ValueMatch("x", ".*", "regex"),)), "/", {}, False),
        (Match(headers=(ValueMatch("x", "1"), ValueMatch("y", "2"))), "/", {"x": "1"}, False),
        (Match(headers=(ValueMatch("x", "1"), ValueMatch("y", "2"))), "/", {"x": "1", "y": "2"}, True),
        (Match(headers=(ValueMatch("host", "h.example:81"),)), "/ h.example:81", {}, True),
        (Match(headers=(ValueMatch("host", "h.example"),)), "/ h.example:81", {}, False),
        (Match(query=(ValueMatch("q", "1"),)), "/?q=1", {}, True),
        (Match(query=(ValueMatch("q", "1"),)), "/?p=0&q=1&r", {}, True),
        (Match(query=(ValueMatch("q", "1"),)), "/?Q=1", {}, False),
        (Match(query=(ValueMatch("q", "1"),)), "/?q=2&q=1", {}, False),
        (Match(query=(ValueMatch("q", "1"),)), "/", {}, False),
        (Match(query=(ValueMatch("q", ""),)), "/?q", {}, True),
        (Match(query=(ValueMatch("q", ""),)), "/?", {}, False),
        (Match(query=(ValueMatch("q", "a b"),)), "/?q=a%20b", {}, True),
        (Match(query=(ValueMatch("q", "a b"),)), "/?q=a+b", {}, True),
        (Match(query=(ValueMatch("a b", "1"),)), "/?a%20b=1", {}, True),
        (Match(query=(ValueMatch("q", "[0-9]+", "regex"),)), "/?q=12", {}, True),
        (Match(query=(ValueMatch("q", "[0-9]+", "regex"),)), "/?q=12a", {}, False),
    ],
)
def test_conditions_on_method_headers_and_query(
    make_table: "MakeTable",
    make_head: "MakeHead",
    match: Match,
    request_line: str,
    headers: dict[str, str],
    holds: bool,
) -> None:
    table = make_table(Route("r", match, TO_A))
    assert (table.match(make_head(request_line, **headers)) is not None) is holds


def test_several_fields_of_a_name_are_one_value(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(route("r", headers=(ValueMatch("x", "1,2"),)))
    assert table.match(make_head("/", (b"x", b"1"), (b"x", b"2")))
    assert table.match(make_head("/", (b"x", b"1"))) is None


def test_an_upgrade_that_is_granted_is_a_header_as_others(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(route("r", headers=(ValueMatch("upgrade", "websocket"),)))
    head = make_head("/")
    assert table.match(head) is None
    head.upgrade = b"websocket"
    assert table.match(head)


def test_a_thousand_tenants_on_one_path_each_have_their_route(make_table: "MakeTable", make_head: "MakeHead") -> None:
    tenants = [route(f"t{i}", value="/v2", headers=(ValueMatch("x-tenant", f"t{i}"),)) for i in range(1_000)]
    twice = route("t7-again", value="/v2", method="POST", headers=(ValueMatch("x-tenant", "t7"),))
    table = make_table(twice, *tenants, route("rest", value="/v2"))

    def took(text: str, **headers: str) -> str:
        entry = table.match(make_head(text, **headers))
        return entry.name if entry else ""

    assert [took("/v2/x", x_tenant=name) for name in ("t0", "t7", "t999", "t1000", "")] == [
        "t0", "t7", "t999", "rest", "rest",
    ]  # fmt: skip
    assert took("POST /v2/x", x_tenant="t7") == "t7-again"
    assert took("/v2/x") == "rest"


def test_one_of_a_run_may_ask_for_more_than_the_header(make_table: "MakeTable", make_head: "MakeHead") -> None:
    headers = [ValueMatch("x", str(i)) for i in range(10)]
    picky = [route(f"picky{h.value}", method="POST", headers=(h,)) for h in headers]
    table = make_table(*picky, *(route(f"any{h.value}", headers=(h,)) for h in headers))
    assert [table.match(make_head(f"{m} /", x="4")).name for m in ("POST", "GET")] == ["picky4", "any4"]  # type: ignore[union-attr]


def test_of_many_expressions_the_first_that_matches_wins(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(*(route(f"r{i}", "regex", f"/m{i}(/.*)?|/all") for i in range(50)), route("rest"))
    names = [table.match(make_head(path)).name for path in ("/m49/x", "/m0", "/all", "/m50", "/m4")]  # type: ignore[union-attr]
    assert names == ["r49", "r0", "r0", "rest", "r4"]


def test_what_is_remembered_is_bounded(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(OK)
    for i in range(MAX_KNOWN_STEPS + 10):
        assert table.match(make_head(f"/{i} h{i % (MAX_KNOWN_HOSTS + 10)}"))
    assert len(table.hosts[0].index.known) <= MAX_KNOWN_STEPS
    assert table.match(make_head(f"/{'x' * 10_000}"))
    assert max(map(len, table.hosts[0].index.known)) < 100


@pytest.mark.parametrize(
    ("kind", "value", "yes", "no"),
    [
        ("exact", "/Ab", ("/AB", "/ab", "/Ab"), ("/ab/", "/a")),
        ("path_prefix", "/Ab", ("/aB", "/AB/c"), ("/abc",)),
        ("prefix", "/Ab", ("/ABc", "/ab"), ("/a",)),
    ],
)
def test_a_path_in_any_case(
    make_table: "MakeTable",
    make_head: "MakeHead",
    kind: PathKind,
    value: str,
    yes: tuple[str, ...],
    no: tuple[str, ...],
) -> None:
    table = make_table(Route("r", Match(PathMatch(kind, value, ignore_case=True)), TO_A))
    assert [table.match(make_head(path)) is not None for path in yes + no] == [True] * len(yes) + [False] * len(no)


def test_an_expression_is_not_told_to_ignore_case(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(Route("r", Match(PathMatch("regex", "/a", ignore_case=True)), TO_A))
    assert table.match(make_head("/A")) is None


def test_a_share_of_the_requests_is_drawn_last_and_the_rest_goes_on(
    make_table: "MakeTable", make_head: "MakeHead"
) -> None:
    drawn: list[float] = []
    numbers = iter((0.249_999, 0.25))

    def draw() -> float:
        drawn.append(next(numbers))
        return drawn[-1]

    some = route("some", headers=(ValueMatch("x", "1", "prefix"),), per_million=250_000)
    table = make_table(some, OK, random=draw)

    def took(**headers: str) -> str:
        entry = table.match(make_head("/", **headers))
        return entry.name if entry else ""

    assert took() == "ok"
    assert drawn == []
    assert [took(x="1"), took(x="1")] == ["some", "ok"]


def test_shares_in_a_row_are_cumulative(make_table: "MakeTable", make_head: "MakeHead") -> None:
    for draw, name in ((0.0, "a"), (0.099_999, "a"), (0.1, "b"), (0.299_999, "b"), (0.3, "ok")):
        shares = (route("a", per_million=100_000), route("b", per_million=300_000))
        numbers = iter((draw,))  # one for the request
        entry = make_table(*shares, OK, random=lambda numbers=numbers: next(numbers)).match(make_head("/"))
        assert entry is not None
        assert entry.name == name


@pytest.mark.parametrize(("per_million", "expected"), [(0, False), (1_000_000, True)])
def test_no_share_and_all_of_it(
    make_table: "MakeTable", make_head: "MakeHead", per_million: int, expected: bool
) -> None:
    for draw in (0.0, 1 - 2**-53):
        table = make_table(route("r", per_million=per_million), random=lambda draw=draw: draw)
        assert (table.match(make_head("/")) is not None) is expected


def test_an_order_that_no_document_has_is_merged_once_for_all_paths(
    make_table: "MakeTable", make_head: "MakeHead"
) -> None:
    """As Envoy's users write it: prefixes by character, and what is for everybody among them."""
    tenants = [route(f"t{i}", "prefix", "/", headers=(ValueMatch("x", str(i)),)) for i in range(1_000)]
    table = make_table(route("first", "prefix", "/v1", method="PUT"), *tenants, route("v2", "prefix", "/v2"), OK)

    def took(text: str, **headers: str) -> str:
        entry = table.match(make_head(text, **headers))
        return entry.name if entry else ""

    assert [took(f"/a{i}", x=str(i)) for i in range(1_000)] == [f"t{i}" for i in range(1_000)]
    assert [took("PUT /v1", x="7"), took("/v1", x="7"), took("/v2"), took("/v1")] == ["first", "t7", "v2", "ok"]
    known = table.hosts[0].index.known
    assert known[b"/a1"][0] is known[b"/a999"][0]
    assert len(known[b"/a1"][0]) == 1  # a look-up by the header's value


def test_what_is_merged_is_bounded(make_table: "MakeTable", make_head: "MakeHead") -> None:
    prefixes = [route(f"r{i}", "prefix", f"/{i:03}", headers=(ValueMatch("x", "1"),)) for i in range(300)]
    everybody = [route(f"e{i}", "prefix", "/", headers=(ValueMatch("y", str(i)),)) for i in range(400)]
    table = make_table(*prefixes, *everybody)
    for i in range(300):
        entry = table.match(make_head(f"/{i:03}", y="399"))
        assert entry is not None
        assert entry.name == "e399"
    assert len(table.hosts[0].index._merged) * 401 <= MAX_MERGED
