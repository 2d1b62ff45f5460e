"""Checks of a GRPCRoute beyond types: the CRD's rules on content are errors, its limits on counts warnings.

Source: the validations in gateway-api, apis/v1/grpcroute_types.go.
"""

import re

from turnout.rules.checks.common import check_count
from turnout.rules.checks.filters import check_filters
from turnout.rules.checks.httproute import (
    check_attachment,
    check_backends,
    check_header_matches,
    check_regex,
    check_rule_names,
)
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.documents.grpcroute import GRPCMethodMatch, GRPCRoute, GRPCRule
from turnout.rules.grpc_paths import compile_method, find_anchor, strip_anchors

_SERVICE = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_MAX_MATCHES = 128


def check_grpcroute(say: Reporter, route: GRPCRoute) -> None:
    rules = route.spec.rules
    check_attachment(say, route)
    check_rule_names(say, [rule.name for rule in rules])
    matches = sum(len(rule.matches) for rule in rules)
    if matches > _MAX_MATCHES:
        text = f"{matches} matches in all rules; a Kubernetes API server takes at most {_MAX_MATCHES}"
        say.warning(("spec", "rules"), "crd-count", text)
    if not rules:
        say.warning(("spec",), "no-rules", "there is no rule: the route takes no call")
    for index, rule in enumerate(rules):
        _check_rule(say, ("spec", "rules", index), rule)


def _check_rule(say: Reporter, path: Path, rule: GRPCRule) -> None:
    check_count(say, (*path, "matches"), rule.matches, 64)
    for index, match in enumerate(rule.matches):
        place = (*path, "matches", index)
        if match.method is not None:
            _check_method(say, (*place, "method"), match.method)
        check_header_matches(say, (*place, "headers"), match.headers)
    plain = rule.as_rule()
    check_filters(say, (*path, "filters"), plain.filters, one_prefix=False, of_rule=True)
    check_backends(say, (*path, "backendRefs"), plain.backend_refs, one_prefix=False)


def _check_method(say: Reporter, path: Path, match: GRPCMethodMatch) -> None:
    if match.service is None and match.method is None:
        say.error(path, "missing-field", "service or method is needed")
    elif match.type == "Exact":
        if match.service is not None and not _SERVICE.fullmatch(match.service):
            fault = f"{match.service!r} is not the name of a gRPC service, like inference.GRPCInferenceService"
            say.error((*path, "service"), "invalid-name", fault)
        if match.method is not None and not _METHOD.fullmatch(match.method):
            fault = f"{match.method!r} is not the name of a gRPC method, like ModelInfer"
            say.error((*path, "method"), "invalid-name", fault)
    elif not match.service and not match.method:
        say.error(path, "missing-field", "service and method are empty; one of them must say something")
    else:
        _check_expressions(say, path, match)


def _check_expressions(say: Reporter, path: Path, match: GRPCMethodMatch) -> None:
    parts = {"service": match.service or "", "method": match.method or ""}
    good = [_check_expression(say, (*path, name), value) for name, value in parts.items()]
    if all(good):
        # What is complete by itself may still be none where they are joined: an open \Q takes what follows.
        check_regex(say, path, compile_method(match).value)


def _check_expression(say: Reporter, path: Path, value: str) -> bool:
    if not check_regex(say, path, value):
        return False
    anchor = find_anchor(strip_anchors(value))
    if anchor is not None:
        fault = f"{value!r}: {anchor} inside of it can never hold; the whole {path[-1]} must match anyway"
        say.error(path, "invalid-regex", fault)
    return anchor is None
