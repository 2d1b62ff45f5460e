"""Why a request takes its route, told in words."""

from typing import TYPE_CHECKING

from turnout.proxy.route.explain import explain
from turnout.proxy.route.handling import Budget, Faulted, KeyedSplit, Limited
from turnout.rules.resilience import Fault, HashKey, RateLimit, Retry
from turnout.rules.snapshot import (
    Backend,
    Forward,
    HeaderEdits,
    Match,
    Origin,
    Origins,
    PathMatch,
    PathRewrite,
    Redirect,
    Respond,
    Rewrite,
    Route,
    ValueMatch,
)

if TYPE_CHECKING:
    from conftest import MakeHead, MakeTable

IRIS, WINE = PathMatch("path_prefix", "/v2/models/iris"), PathMatch("path_prefix", "/v2/models/wine")
CANARY = Route("n/iris/canary", Match(IRIS, "POST", (ValueMatch("x-canary", "true"),)), Forward((Backend("v2"),)))
PLAIN = Route("n/iris/plain", Match(IRIS), Forward((Backend("v1", 90), Backend("v2", 10), Backend("old", 0))))
OTHER = Route("n/wine/0", Match(WINE), Forward((Backend("w"),)))


def test_the_winner_its_shares_and_the_near_miss_before_it(make_table: "MakeTable", make_head: "MakeHead") -> None:
    origins = Origins({("n/iris/canary", 0): Origin("a.yaml", 7), ("n/iris/plain", 0): Origin("a.yaml", 9)})
    told = explain(make_table(CANARY, PLAIN), make_head("/v2/models/iris/infer"), origins, 8080)
    assert told.route is not None
    assert told.outcome is not None
    assert (told.route.route, str(told.route.origin)) == ("n/iris/plain", "a.yaml:9")
    assert told.route.conditions == ("path must be or be below /v2/models/iris",)
    assert [(b.name, b.percent) for b in told.outcome.backends] == [("v1", 90.0), ("v2", 10.0), ("old", 0.0)]
    (miss,) = told.near_misses
    assert (miss.route, str(miss.origin)) == ("n/iris/canary", "a.yaml:7")
    assert miss.failed == (
        "method must be POST, but is GET",
        "header x-canary must be 'true', but is not there",
    )


def test_what_comes_behind_the_winner_is_no_near_miss(make_table: "MakeTable", make_head: "MakeHead") -> None:
    told = explain(make_table(PLAIN, CANARY), make_head("/v2/models/iris"), Origins(), 80)
    assert (told.near_misses, told.other_paths, told.more_other_paths) == ((), (), 0)


def test_each_kind_of_condition_says_what_it_wanted_and_what_was_there(
    make_table: "MakeTable", make_head: "MakeHead"
) -> None:
    match = Match(
        headers=(ValueMatch("x", "a+", "regex"), ValueMatch("host", "h.example")),
        query=(ValueMatch("q", "1"), ValueMatch("p", "[0-9]", "regex")),
    )
    told = explain(make_table(Route("r", match, Respond(500))), make_head("/?q=2 o.example", x="b"), Origins(), 80)
    assert told.route is None
    assert told.near_misses[0].failed == (
        "header x must match 'a+', but is 'b'",
        "header host must be 'h.example', but is 'o.example'",
        "query parameter q must be '1', but is '2'",
        "query parameter p must match '[0-9]', but is not there",
    )


def test_of_other_paths_the_closest_are_told_and_the_rest_counted(
    make_table: "MakeTable", make_head: "MakeHead"
) -> None:
    far = [Route(f"far{i}", Match(PathMatch("exact", f"/x{i}")), Respond(500)) for i in range(20)]
    told = explain(make_table(*far, PLAIN, OTHER), make_head("/v2/models/irsi"), Origins(), 80)
    assert [miss.route for miss in told.other_paths] == ["n/iris/plain", "n/wine/0"]
    assert told.other_paths[0].failed == ("path must be or be below /v2/models/iris, but is /v2/models/irsi",)
    assert told.more_other_paths == 20


def test_matches_of_one_rule_are_told_apart_by_their_position(make_table: "MakeTable", make_head: "MakeHead") -> None:
    again = Route(PLAIN.name, Match(WINE), PLAIN.action)
    origins = Origins({(PLAIN.name, 0): Origin("a.yaml", 3), (PLAIN.name, 1): Origin("a.yaml", 4)})
    table = make_table(hosts={"a.example": (PLAIN, OTHER), "*": (PLAIN, again)})
    told = explain(table, make_head("/v2/models/wine o.example"), origins, 80)
    assert told.route is not None
    assert str(told.route.origin) == "a.yaml:4"


def test_the_domain_that_is_asked_and_why(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(hosts={"a.example": (PLAIN,), "*.example": (PLAIN,)})

    def reason(host: str) -> tuple[str | None, str]:
        told = explain(table, make_head(f"/v2/models/iris {host}"), Origins(), 80)
        return told.domain, told.domain_reason

    assert reason("a.example")[0] == "a.example"
    assert reason("b.example") == (
        "*.example",
        "it is the most specific wildcard that covers b.example; no rules of other hostnames are asked",
    )
    assert reason("a.test") == (
        None,
        "no rule is for the host a.test; there are rules for: *.example, a.example",
    )


def test_what_the_backend_would_see(make_table: "MakeTable", make_head: "MakeHead") -> None:
    backend = Backend("b", request_headers=HeaderEdits(add=(("y", "2"),)), redirect=None)
    action = Forward((backend,), Rewrite("up.example", PathRewrite("prefix", "/new")), 30.0, 10.0)
    route = Route("r", Match(IRIS), action, (HeaderEdits(set=(("x", "1"),)),), (HeaderEdits(remove=("server",)),))
    head = make_head("/v2/models/iris/infer?q=1")
    outcome = explain(make_table(route, missing=("b",)), head, Origins(), 80).outcome
    assert outcome is not None
    (share,) = outcome.backends
    assert (share.host, share.path, share.missing) == ("up.example", "/new/infer?q=1", True)
    assert [(e.set, e.add) for e in share.request_headers] == [(("x: 1",), ()), ((), ("y: 2",))]
    assert share.response_headers[0].remove == ("server",)
    assert (outcome.request_timeout_s, outcome.backend_timeout_s) == (30.0, 10.0)
    assert (head.path, head.authority) == (b"/v2/models/iris/infer", b"h.example")


def test_redirects_of_the_rule_and_of_a_backend(make_table: "MakeTable", make_head: "MakeHead") -> None:
    redirect = Redirect(301, path=PathRewrite("prefix", "/new"))
    share = Forward((Backend("a"), Backend("b", redirect=redirect)))
    for action in (redirect, share):
        outcome = explain(make_table(Route("r", Match(IRIS), action)), make_head(IRIS.value), Origins(), 8080).outcome
        assert outcome is not None
        found = outcome.redirect or outcome.backends[1].redirect
        assert found is not None
        assert (found.status, found.location) == (301, "http://h.example:8080/new")


def test_a_rule_without_backends_answers_by_itself(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(Route("r", Match(), Respond(500, "the rule has no backend")))
    outcome = explain(table, make_head("/"), Origins(), 80).outcome
    assert outcome is not None
    assert outcome.respond is not None
    assert (outcome.respond.status, outcome.respond.message) == (500, "the rule has no backend")


def test_a_route_that_takes_a_share_is_a_near_miss_that_says_so(make_table: "MakeTable", make_head: "MakeHead") -> None:
    some = Route("some", Match(IRIS, per_million=250_000), PLAIN.action)
    told = explain(make_table(some, PLAIN, random=lambda: 0.5), make_head(IRIS.value), Origins(), 80)
    assert told.route is not None
    assert told.route.route == PLAIN.name
    share = "the random number of the request must be below 25 %"
    assert told.near_misses[0].conditions[-1] == share
    assert told.near_misses[0].failed == (f"{share}, but is 50 %",)


def test_a_path_in_any_case_says_so(make_table: "MakeTable", make_head: "MakeHead") -> None:
    match = Match(PathMatch("exact", "/A", ignore_case=True))
    told = explain(make_table(Route("r", match, Respond(500))), make_head("/a"), Origins(), 80)
    assert told.route is not None
    assert told.route.conditions == ("path must be /A in any case",)


def test_a_cold_backend_is_told_from_a_missing_one(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(Route("r", Match(), Forward((Backend("a"), Backend("b")))), missing=("a",), cold=("b",))
    outcome = explain(table, make_head("/"), Origins(), 80).outcome
    assert outcome is not None
    assert [(share.missing, share.cold) for share in outcome.backends] == [(True, False), (False, True)]


def test_an_answer_with_a_body_is_told_with_its_edits(make_table: "MakeTable", make_head: "MakeHead") -> None:
    edits = (HeaderEdits(set=(("x", "1"),)),)
    table = make_table(Route("r", Match(), Respond(200, body="hello"), response_headers=edits))
    outcome = explain(table, make_head("/"), Origins(), 80).outcome
    assert outcome is not None
    assert outcome.respond is not None
    assert (outcome.respond.status, outcome.respond.body) == (200, "hello")
    assert outcome.response_headers[0].set == ("x: 1",)


def test_what_a_route_does_beside_forwarding_is_told_for_this_request(
    make_table: "MakeTable", make_head: "MakeHead"
) -> None:
    action = Forward(
        (Backend("a", 1), Backend("b", 1)), first_byte_timeout_s=2.0, idle_timeout_s=60.0, queue_timeout_s=1.0,
        retry=Retry(2, codes=(503,), back_off_s=0.1), split_by=HashKey("header", "x-user"),
        rate_limit=RateLimit(10.0, 5, "x-tenant"), fault=Fault(0.5, 250_000, 503, 1),
    )  # fmt: skip
    table = make_table(Route("r", Match(), action))
    head = make_head("POST /v2/models/iris/infer", x_user="anna", x_tenant="t")
    outcome = explain(table, head, Origins(), 80).outcome
    assert outcome is not None
    split = table.hosts[0].entries[0].split
    assert split is not None
    assert outcome.split == KeyedSplit("header x-user", "anna", split.choose_for(b"anna").cluster)
    assert outcome.rate_limit == Limited(10.0, 5, "x-tenant", "t")
    assert outcome.fault == Faulted(0.5, 25.0, 503, 0.0001)
    assert (outcome.first_byte_timeout_s, outcome.idle_timeout_s, outcome.queue_timeout_s) == (2.0, 60.0, 1.0)
    retry = outcome.retry
    assert retry is not None
    assert (retry.attempts, retry.codes, retry.back_off_s, retry.max_back_off_s) == (2, (503,), 0.1, 1.0)
    assert (retry.may_repeat, retry.because) == (True, "it is a known inference call")
    assert retry.budget == Budget(20.0, 100, 10.0, 10.0)


def test_a_request_without_the_key_and_a_split_of_one_backend(make_table: "MakeTable", make_head: "MakeHead") -> None:
    key = HashKey("cookie", "session")
    two = Route("two", Match(), Forward((Backend("a"), Backend("b")), split_by=key))
    one = Route("one", Match(), Forward((Backend("a"), Backend("b", 0)), split_by=key))
    found = [explain(make_table(route), make_head("/"), Origins(), 80).outcome for route in (two, one)]
    assert [outcome and outcome.split for outcome in found] == [KeyedSplit("cookie session", None, None), None]
