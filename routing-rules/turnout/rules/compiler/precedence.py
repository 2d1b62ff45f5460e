"""The order of routes in one virtual host, as Gateway API has it, as data: the smaller key is asked first.

1. an exact path; then a regular expression, the longer first; then the longest prefix
2. a match with a method
3. the larger number of headers
4. the larger number of query parameters
5. the older route, by creationTimestamp; a route without one counts as the newest
6. namespace/name in alphabetical order
7. the rule's, then the match's position

Of a GRPCRoute's matches 1 to 4 are:

1. an exact service, the longer first; then an expression, the longer first; then any service
2. the same of the method
3. the larger number of headers

Where both kinds stand in one virtual host, the GRPCRoutes' matches are asked first: they take gRPC calls and nothing
else, so they are the narrower.

Source: HTTPRouteRule.matches, gateway-api apis/v1/httproute_types.go (which leaves the place of expressions
open; they stand where Envoy Gateway has them); GRPCRouteRule.matches, apis/v1/grpcroute_types.go (which counts the
characters of what matched; those of an expression are told by its own).
"""

from typing import TypeAlias

from turnout.rules.checks.common import creation_time
from turnout.rules.documents.base import Metadata
from turnout.rules.documents.grpcroute import GRPCMatch, GRPCMethodMatch
from turnout.rules.snapshot import Match

Age: TypeAlias = tuple[float, str, str]
Key: TypeAlias = tuple[int, int, int, int, int, int, int, float, str, str, int, int]

_PATH_RANK = {"exact": 0, "regex": 1, "path_prefix": 2, "prefix": 2}


def age_of(metadata: Metadata) -> Age:
    """What two routes with equal matches are ordered by."""
    created = metadata.creation_timestamp
    return (float("inf") if created is None else creation_time(created), metadata.namespace, metadata.name)


def precedence(match: Match, age: Age, rule: int, index: int) -> Key:
    """The sort key of match `index` of rule number `rule`; no two are equal."""
    path = match.path
    return (
        1,
        _PATH_RANK[path.kind],
        -len(path.value),
        int(match.method is None),
        0,
        -len(match.headers),
        -len(match.query),
        *age,
        rule,
        index,
    )


def grpc_precedence(match: GRPCMatch, age: Age, rule: int, index: int) -> Key:
    """The sort key of match `index` of a GRPCRoute's rule number `rule`; no two are equal."""
    method = match.method or GRPCMethodMatch()
    return (
        0,
        *_name_rank(method.type, method.service),
        *_name_rank(method.type, method.method),
        -len(match.headers),
        0,
        *age,
        rule,
        index,
    )


def _name_rank(kind: str, name: str | None) -> tuple[int, int]:
    if not name:
        return 2, 0
    return (0 if kind == "Exact" else 1), -len(name)
