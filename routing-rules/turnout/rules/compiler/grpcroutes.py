"""GRPCRoute documents as ordinary routes: a path, and a content-type that only gRPC has."""

from turnout.rules import snapshot as s
from turnout.rules.compiler.policies import Policies
from turnout.rules.compiler.precedence import age_of, grpc_precedence
from turnout.rules.compiler.references import GRPC_ROUTE, References
from turnout.rules.compiler.routes import Entry, RouteKind, WrittenRule, compile_headers, compile_rules
from turnout.rules.documents.document import Document, Report
from turnout.rules.documents.grpcroute import GRPCMatch, GRPCRoute
from turnout.rules.grpc_paths import compile_method

# An HTTPRoute may have the same name, so the names of routes are told apart. Without a backend a call is UNAVAILABLE
# (GRPCRouteRule.backendRefs), which is what a 503 is to gRPC (doc/http-grpc-status-mapping.md).
_GRPC = RouteKind(GRPC_ROUTE, "grpcroute/", 503, frozenset({"h2c", "h2", "auto"}))
_ANY = GRPCMatch()
_IS_GRPC = s.ValueMatch("content-type", "application/grpc", "prefix")
"""gRPC over HTTP/2, Content-Type: what a server may refuse does not begin so."""


def compile_grpcroute(
    document: Document, route: GRPCRoute, references: References, policies: Policies, report: Report
) -> list[Entry]:
    """All entries of one document, in the order of their precedence."""
    age = age_of(route.metadata)
    rules = []
    for number, rule in enumerate(route.spec.rules):
        matches = tuple(
            (_compile_match(match), grpc_precedence(match, age, number, index))
            for index, match in enumerate(rule.matches or (_ANY,))
        )
        rules.append(WrittenRule(rule.as_rule(), matches))
    return compile_rules(document, _GRPC, rules, references, policies, report)


def _compile_match(match: GRPCMatch) -> s.Match:
    return s.Match(path=compile_method(match.method), headers=(_IS_GRPC, *compile_headers(match.headers)))
