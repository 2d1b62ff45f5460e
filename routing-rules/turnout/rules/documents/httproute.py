"""`HTTPRoute`, as Gateway API v1 has it: the standard channel, and of the experimental one rule names and retries.

Source: gateway-api, apis/v1/httproute_types.go and shared_types.go; retries are GEP-1731's. Defaults
are the CRD's, but for a bare backend name, which is a Predictor (`turnout.rules.references`).
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from turnout.rules.documents.base import Duration, ObjectName, Port, Resource, Strict
from turnout.rules.documents.mirroring import ObjectRef, RequestMirror

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
FilterType = Literal[
    "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite", "ExtensionRef"
]  # fmt: skip
Hostname = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=253,
        description="A DNS name, or *. and a DNS name; lower case, no port, no IP address.",
        examples=["models.example", "*.models.example"],
    ),
]
HeaderName = Annotated[str, Meta(min_length=1, max_length=256)]
HeaderValue = Annotated[str, Meta(min_length=1, max_length=4096)]
PathValue = Annotated[str, Meta(max_length=1024)]


class PathMatch(Strict, frozen=True, kw_only=True):
    """A condition on the path, without the query."""

    type: Annotated[
        Literal["Exact", "PathPrefix", "RegularExpression"],
        Meta(description="PathPrefix goes by path element: /a takes /a and /a/b, not /ab. Expressions are RE2."),
    ] = "PathPrefix"
    value: PathValue = "/"


class HeaderMatch(Strict, frozen=True, kw_only=True):
    """A condition on a request header; names are compared without case."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: HeaderValue


class QueryParamMatch(Strict, frozen=True, kw_only=True):
    """A condition on a query parameter; the first one of that name counts."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: Annotated[str, Meta(min_length=1, max_length=1024)]


class RouteMatch(Strict, frozen=True, kw_only=True):
    """Conditions that must all hold."""

    path: PathMatch = PathMatch()
    headers: tuple[HeaderMatch, ...] = ()
    query_params: tuple[QueryParamMatch, ...] = ()
    method: Method | None = None


class Header(Strict, frozen=True, kw_only=True):
    """A header to set or to add."""

    name: HeaderName
    value: HeaderValue


class HeaderModifier(Strict, frozen=True, kw_only=True):
    """Edits of a head: `set` replaces, `add` appends, `remove` takes away."""

    set: tuple[Header, ...] = ()
    add: tuple[Header, ...] = ()
    remove: tuple[HeaderName, ...] = ()


class PathModifier(Strict, frozen=True, kw_only=True):
    """What becomes of the path; the field of that type must be there, and the other not."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: PathValue | None = None
    replace_prefix_match: PathValue | None = None


class RequestRedirect(Strict, frozen=True, kw_only=True):
    """Answer with a redirect; what is not given is taken from the request."""

    scheme: Literal["http", "https"] | None = None
    hostname: Hostname | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class URLRewrite(Strict, frozen=True, kw_only=True):
    """What the upstream sees changed."""

    hostname: Hostname | None = None
    path: PathModifier | None = None


class ExtensionRef(Strict, frozen=True, kw_only=True):
    """A RoutePolicy of the route's namespace (Gateway API `LocalObjectReference`)."""

    group: str
    kind: str
    name: ObjectName


class Filter(Strict, frozen=True, kw_only=True):
    """One filter; the field that belongs to its type must be there, and no other."""

    later: ClassVar = frozenset({"cors", "externalAuth"})
    later_values: ClassVar = {"type": frozenset({"CORS", "ExternalAuth"})}

    type: FilterType
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: URLRewrite | None = None
    extension_ref: ExtensionRef | None = None


class WeightedRef(ObjectRef, frozen=True, kw_only=True):
    """Where a share of the requests goes. A bare name is the Predictor of that name."""

    weight: Annotated[int, Meta(ge=0, le=1_000_000, description="Its share is weight / sum of weights.")] = 1


class BackendRef(WeightedRef, frozen=True, kw_only=True):
    """Where a share of the requests goes. A bare name is the Predictor of that name."""

    filters: tuple[Filter, ...] = ()


class Timeouts(Strict, frozen=True, kw_only=True):
    """Limits; `0s` is none."""

    request: Annotated[Duration | None, Meta(description="Of the whole exchange, with all attempts.")] = None
    backend_request: Annotated[Duration | None, Meta(description="Of one attempt; not above request.")] = None


class Retry(Strict, frozen=True, kw_only=True):
    """When a request is tried again (`HTTPRouteRetry`); connect failures, refused streams and resets always are."""

    codes: tuple[Annotated[int, Meta(ge=400, le=599)], ...] = ()
    attempts: Annotated[int, Meta(ge=0, le=100, description="After the first; 0: never again.")] = 1
    backoff: Annotated[Duration, Meta(description="The base of the jittered, exponential back-off.")] = "25ms"


class Rule(Strict, frozen=True, kw_only=True):
    """Any of `matches`, then `filters`, then one of `backendRefs` by weight."""

    later: ClassVar = frozenset({"sessionPersistence"})

    name: Annotated[ObjectName | None, Meta(description="Its name in metrics and logs.")] = None
    matches: tuple[RouteMatch, ...] = ()
    filters: tuple[Filter, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    timeouts: Timeouts | None = None
    retry: Retry | None = None


class ParentRef(Strict, frozen=True, kw_only=True):
    """The Gateway, or the one listener of it, that a route is bound to; without effect if no Gateway is loaded."""

    group: str = "gateway.networking.k8s.io"
    kind: str = "Gateway"
    name: ObjectName
    namespace: str | None = None
    section_name: str | None = None
    port: Port | None = None


class HTTPRouteSpec(Strict, frozen=True, kw_only=True):
    """Which requests, by host and rule, go where."""

    later: ClassVar = frozenset({"useDefaultGateways"})

    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[Hostname, ...] = ()
    rules: Annotated[tuple[Rule, ...], Meta(min_length=1)] = (Rule(),)


class HTTPRoute(Resource, frozen=True, kw_only=True):
    """Routes of HTTP requests to predictors."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
    kind: Literal["HTTPRoute"]
    spec: HTTPRouteSpec
