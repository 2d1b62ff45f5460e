"""Checks of an HTTPRoute beyond types: the CRD's rules on content are errors, its limits on counts warnings.

Source: the validations in gateway-api, apis/v1/httproute_types.go.
"""

from turnout.rules.checks.common import check_count, check_duration, check_retry, check_unique
from turnout.rules.checks.filters import check_filters
from turnout.rules.checks.refs import check_ref
from turnout.rules.checks.syntax import (
    dns_name_fault,
    header_name_fault,
    header_value_fault,
    hostname_fault,
    path_fault,
)
from turnout.rules.documents.document import AnyRoute, Path, Reporter
from turnout.rules.documents.httproute import (
    BackendRef,
    HeaderMatch,
    HTTPRoute,
    PathMatch,
    QueryParamMatch,
    RouteMatch,
    Rule,
)
from turnout.rules.regex import compile_regex


def check_httproute(say: Reporter, route: HTTPRoute) -> None:
    check_attachment(say, route)
    check_rule_names(say, [rule.name for rule in route.spec.rules])
    for index, rule in enumerate(route.spec.rules):
        _check_rule(say, ("spec", "rules", index), rule)


def check_attachment(say: Reporter, route: AnyRoute) -> None:
    """Where a route is served, and how many rules it has."""
    spec = route.spec
    check_count(say, ("spec", "parentRefs"), spec.parent_refs, 32)
    check_count(say, ("spec", "hostnames"), spec.hostnames, 16)
    check_count(say, ("spec", "rules"), spec.rules, 16)
    check_unique(say, ("spec", "hostnames"), spec.hostnames, "hostname", field=None)
    for index, hostname in enumerate(spec.hostnames):
        if fault := hostname_fault(hostname):
            say.error(("spec", "hostnames", index), "invalid-hostname", fault)


def check_rule_names(say: Reporter, names: list[str | None]) -> None:
    """Names must differ, also from the numbers that stand for the rules without one."""
    taken = {str(index): f"the name of rule {index}" for index, name in enumerate(names) if name is None}
    for index, name in enumerate(names):
        if name is None:
            continue
        path = ("spec", "rules", index, "name")
        if fault := dns_name_fault(name):
            say.error(path, "invalid-name", fault)
        if name in taken:
            say.error(path, "duplicate", f"the name {name} is {taken[name]}")
        taken[name] = f"already that of rule {index}"


def _check_rule(say: Reporter, path: Path, rule: Rule) -> None:
    check_count(say, (*path, "matches"), rule.matches, 64)
    for index, match in enumerate(rule.matches):
        _check_match(say, (*path, "matches", index), match)
    matches = rule.matches or (RouteMatch(),)
    one_prefix = len(matches) == 1 and matches[0].path.type == "PathPrefix"
    check_filters(say, (*path, "filters"), rule.filters, one_prefix=one_prefix, of_rule=True)
    if rule.backend_refs and any(f.type == "RequestRedirect" for f in rule.filters):
        say.error((*path, "backendRefs"), "filter-conflict", "a rule that redirects has no backendRefs")
    check_backends(say, (*path, "backendRefs"), rule.backend_refs, one_prefix=one_prefix)
    if rule.timeouts is not None:
        place = (*path, "timeouts")
        request = check_duration(say, (*place, "request"), rule.timeouts.request)
        backend = check_duration(say, (*place, "backendRequest"), rule.timeouts.backend_request)
        if request and backend and backend > request:
            fault = f"backendRequest {rule.timeouts.backend_request} is longer than request {rule.timeouts.request}"
            say.error((*place, "backendRequest"), "timeout-order", fault)
    if rule.retry is not None:
        check_retry(say, (*path, "retry"), rule.retry, rule.retry.codes)


def _check_match(say: Reporter, path: Path, match: RouteMatch) -> None:
    _check_path(say, (*path, "path", "value"), match.path)
    check_header_matches(say, (*path, "headers"), match.headers)
    if match.query_params:
        place = (*path, "queryParams")
        check_count(say, place, match.query_params, 16)
        check_unique(say, place, (q.name for q in match.query_params), "query parameter")
        for index, param in enumerate(match.query_params):
            _check_value_match(say, (*place, index), param)


def check_header_matches(say: Reporter, path: Path, headers: tuple[HeaderMatch, ...]) -> None:
    """All of a match."""
    check_count(say, path, headers, 16)
    check_unique(say, path, (h.name.lower() for h in headers), "header")
    for index, header in enumerate(headers):
        _check_value_match(say, (*path, index), header)


def _check_path(say: Reporter, path: Path, match: PathMatch) -> None:
    if match.type == "RegularExpression":
        check_regex(say, path, match.value)
    elif fault := path_fault(match.value):
        say.error(path, "invalid-path", fault)


def _check_value_match(say: Reporter, path: Path, match: HeaderMatch | QueryParamMatch) -> None:
    if fault := header_name_fault(match.name):
        say.error((*path, "name"), "invalid-name", fault)
    if match.type == "RegularExpression":
        check_regex(say, (*path, "value"), match.value)
    elif isinstance(match, HeaderMatch) and (fault := header_value_fault(match.value)):
        say.error((*path, "value"), "invalid-header", fault)


def check_regex(say: Reporter, path: Path, value: str) -> bool:
    """Whether RE2 takes it; what it refuses is said."""
    try:
        compile_regex(value)
    except ValueError as exc:
        say.error(path, "invalid-regex", str(exc))
        return False
    return True


def check_backends(say: Reporter, path: Path, refs: tuple[BackendRef, ...], *, one_prefix: bool) -> None:
    """All of a rule. `one_prefix` is that of `check_filters`."""
    check_count(say, path, refs, 16)
    for index, ref in enumerate(refs):
        _check_backend(say, (*path, index), ref, one_prefix)


def _check_backend(say: Reporter, path: Path, ref: BackendRef, one_prefix: bool) -> None:
    check_ref(say, path, ref)
    check_filters(say, (*path, "filters"), ref.filters, one_prefix=one_prefix, of_rule=False)
