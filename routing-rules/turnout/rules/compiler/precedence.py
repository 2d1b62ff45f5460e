"""The order of routes in one virtual host, as Gateway API has it, as data: the smaller key is asked first.

1. an exact path; then a regular expression, the longer first; then the longest prefix
2. a match with a method
3. the larger number of headers
4. the larger number of query parameters
5. the older route, by creationTimestamp; a route without one counts as the newest
6. namespace/name in alphabetical order
7. the rule's, then the match's position

Source: HTTPRouteRule.matches, gateway-api apis/v1/httproute_types.go (which leaves the place of expressions
open; they stand where Envoy Gateway has them).
"""

from typing import TypeAlias

from turnout.rules.checks.common import creation_time
from turnout.rules.documents.base import Metadata
from turnout.rules.snapshot import Match

Age: TypeAlias = tuple[float, str, str]
Key: TypeAlias = tuple[int, int, bool, int, int, float, str, str, int, int]

_PATH_RANK = {"exact": 0, "regex": 1, "path_prefix": 2, "prefix": 2}


def age_of(metadata: Metadata) -> Age:
    """What two routes with equal matches are ordered by."""
    created = metadata.creation_timestamp
    return (float("inf") if created is None else creation_time(created), metadata.namespace, metadata.name)


def precedence(match: Match, age: Age, rule: int, index: int) -> Key:
    """The sort key of match `index` of rule number `rule`; no two are equal."""
    path = match.path
    return (
        _PATH_RANK[path.kind],
        -len(path.value),
        match.method is None,
        -len(match.headers),
        -len(match.query),
        *age,
        rule,
        index,
    )
