"""A table knows whether anything asks for the model of a request."""

from typing import TYPE_CHECKING

from turnout.rules.resilience import HashKey, LoadBalancing, RateLimit
from turnout.rules.snapshot import Backend, Cluster, Forward, HeaderEdits, Match, Respond, Route, ValueMatch

if TYPE_CHECKING:
    from conftest import MakeTable

NAME, VERSION = "x-gateway-model-name", "x-gateway-model-version"
A = Forward((Backend("a"),))


def forward(**more: object) -> Route:
    return Route("r", Match(), Forward((Backend("a"), Backend("b", 0)), **more))  # type: ignore[arg-type]


def test_it_is_asked_for_by_a_match_on_a_models_header_whatever_the_route_does(make_table: "MakeTable") -> None:
    for header in (ValueMatch(NAME, "bert"), ValueMatch(VERSION, kind="present", invert=True)):
        for action in (A, Respond(404)):
            plain, asking = Route("p", Match(), A), Route("r", Match(headers=(ValueMatch("x-a"), header)), action)
            assert make_table(plain, asking).reads_model
            assert make_table(hosts={"a.example": (plain,), "b.example": (asking,)}).reads_model


def test_it_is_asked_for_by_a_split_and_by_a_rate_limit(make_table: "MakeTable") -> None:
    for name in (NAME, VERSION):
        assert make_table(forward(split_by=HashKey("header", name))).reads_model
        assert make_table(forward(rate_limit=RateLimit(1.0, 1, name))).reads_model


def test_it_is_asked_for_by_a_cluster_of_the_table_that_hashes_on_it(make_table: "MakeTable") -> None:
    for key in (HashKey("model"), HashKey("header", NAME), HashKey("header", VERSION)):
        for name, expected in (("a", True), ("b", True), ("stranger", False)):
            clusters = (Cluster(name, load_balancing=LoadBalancing("maglev", hash_on=key)),)
            assert make_table(forward(), clusters=clusters).reads_model is expected


def test_other_questions_are_not_for_the_model(make_table: "MakeTable") -> None:
    clusters = (Cluster("a", load_balancing=LoadBalancing("maglev", hash_on=HashKey("header", "x-user"))), Cluster("b"))
    edits = HeaderEdits(remove=(NAME,))
    routes = (
        Route("edits", Match(), A, request_headers=(edits,)),
        Route("header", Match(headers=(ValueMatch("x-a", NAME),)), A),
        forward(split_by=HashKey("cookie", NAME), rate_limit=RateLimit(1.0, 1, "x-user")),
        Route("respond", Match(), Respond(404)),
    )
    assert not make_table(*routes, clusters=clusters).reads_model
