"""Documents as the routes of a Snapshot, one for each match of each rule; and the matches of HTTPRoutes."""

import re
from collections.abc import Iterator, Sequence
from typing import get_args

import msgspec

from turnout.rules import snapshot as s
from turnout.rules.compiler.actions import compile_action, compile_filters
from turnout.rules.compiler.effects import warn_of_no_effect
from turnout.rules.compiler.mirrors import compile_mirrors
from turnout.rules.compiler.policies import Policies, apply_policy, extension_index
from turnout.rules.compiler.precedence import Key, age_of, precedence
from turnout.rules.compiler.references import References
from turnout.rules.documents.document import Document, Path, Report, Reporter
from turnout.rules.documents.httproute import BackendRef, HeaderMatch, HTTPRoute, QueryParamMatch, RouteMatch, Rule
from turnout.rules.documents.mirroring import ObjectRef

_PATH_KINDS: dict[str, s.PathKind] = {"Exact": "exact", "PathPrefix": "path_prefix", "RegularExpression": "regex"}
_ANY = RouteMatch()
_UNRESERVED = re.compile(r"%(2[DEde]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")


class Entry(msgspec.Struct):
    """A route, its place in the order, and where its match was written. Equal entries are the same object."""

    key: Key
    route: s.Route
    document: Document
    rule: int
    match: int

    def origin(self) -> s.Origin:
        """The match, or the rule if it has none."""
        matches = self.document.raw["spec"].get("rules", ())
        path: tuple[str | int, ...] = ("spec", "rules", self.rule)
        if matches and matches[self.rule].get("matches"):
            path = (*path, "matches", self.match)
        return self.document.origin(*path)


class RouteKind(msgspec.Struct, frozen=True):
    """What is particular to a kind of route.

    `prefix` stands before the names of its routes; `unserved` is the status that a rule without a backend answers;
    `protocols` are those of Predictors that can answer it.
    """

    name: str
    prefix: str
    unserved: int
    protocols: frozenset[s.Protocol]


class WrittenRule(msgspec.Struct, frozen=True):
    """A rule, and its matches with their places in the order."""

    rule: Rule
    matches: Sequence[tuple[s.Match, Key]]


# No backend is a 500 (HTTPRouteRule.backendRefs).
_HTTP = RouteKind("HTTPRoute", "", 500, frozenset(get_args(s.Protocol)))


def compile_route(
    document: Document, route: HTTPRoute, references: References, policies: Policies, report: Report
) -> list[Entry]:
    """All entries of one document, in the order of their precedence."""
    age = age_of(route.metadata)
    rules = []
    for number, rule in enumerate(route.spec.rules):
        matches = [_compile_match(match) for match in rule.matches or (_ANY,)]
        keys = (precedence(match, age, number, index) for index, match in enumerate(matches))
        rules.append(WrittenRule(rule, tuple(zip(matches, keys, strict=True))))
    return compile_rules(document, _HTTP, rules, references, policies, report)


def compile_rules(
    document: Document,
    kind: RouteKind,
    rules: Sequence[WrittenRule],
    references: References,
    policies: Policies,
    report: Report,
) -> list[Entry]:
    """All entries of a document's rules, in the order of their precedence."""
    say = report.on(document)
    entries: list[Entry] = []
    for number, written in enumerate(rules):
        entries += _compile_rule(say, kind, number, written, references, policies)
    entries.sort(key=lambda entry: entry.key)
    return entries


def _compile_rule(
    say: Reporter, kind: RouteKind, number: int, written: WrittenRule, references: References, policies: Policies
) -> Iterator[Entry]:
    meta, rule = say.document.resource.metadata, written.rule
    path = ("spec", "rules", number)

    def find(ref: ObjectRef, place: Path, without: str) -> tuple[str, bool]:
        """`without` is what happens if there is no such thing."""
        name, missing = references.resolve(ref, kind.name, meta.namespace, lambda: say.document.origin(*place))
        if missing is not None:
            say.warning(place, missing.code, f"{missing.message}; {without}")
        elif (protocol := references.protocol(name)) not in kind.protocols:
            text = f"{say.document} sends gRPC to the Predictor {name}, whose protocol is {protocol}; gRPC needs HTTP/2"
            say.warning(place, "protocol-mismatch", text)
        return name, missing is not None

    def resolve(ref: BackendRef, index: int) -> tuple[str, bool]:
        return find(ref, (*path, "backendRefs", index), "its share is answered 500")

    def resolve_mirror(ref: ObjectRef, index: int) -> str:
        return find(ref, (*path, "filters", index, "requestMirror", "backendRef"), "nothing is mirrored to it")[0]

    filters = compile_filters(rule.filters)
    action = compile_action(rule, filters, resolve, kind.unserved)
    if isinstance(action, s.Respond):
        place = (*path, "backendRefs") if rule.backend_refs else path
        code = "zero-weights" if rule.backend_refs else "no-backends"
        say.warning(place, code, f"{action.message}; every request gets a {action.status}")
    # Also where there is nothing to be mirrored: a name that nothing has is told.
    mirrors = compile_mirrors(rule, resolve_mirror)
    if mirrors and isinstance(action, s.Forward):
        action = msgspec.structs.replace(action, mirrors=mirrors)
    action, allowed = _with_policy(say, path, rule, action, references, policies)
    edits = _layers(filters.request_headers), _layers(filters.response_headers)
    name = f"{kind.prefix}{meta.namespace}/{meta.name}/{rule.name or number}"
    for index, (match, key) in enumerate(written.matches):
        compiled = s.Route(name, match, action, *edits, allowed)
        yield Entry(key, compiled, say.document, number, index)


def _with_policy(
    say: Reporter, path: Path, rule: Rule, action: s.Action, references: References, policies: Policies
) -> tuple[s.Action, tuple[str, ...]]:
    """The action, and whom the policy allows."""
    policy = policies.of(rule.filters, say.document.resource.metadata.namespace)
    if policy is None:
        text = "the rule names a RoutePolicy that does not exist"
        place = (*path, "filters", extension_index(rule.filters), "extensionRef")
        say.warning(place, "missing-policy", f"{text}; every request gets a 500")
        return s.Respond(500, text), ()
    if isinstance(action, s.Forward):
        action = apply_policy(action, rule.retry, policy)
    if rule.retry is not None or rule.filters:
        warn_of_no_effect(say, path, rule, policy, action, references.has_queue)
    return action, tuple(sorted(set(policy.allowed_identities)))


def _layers(edits: s.HeaderEdits) -> tuple[s.HeaderEdits, ...]:
    return () if edits == s.NO_EDITS else (edits,)


def _compile_match(match: RouteMatch) -> s.Match:
    kind = _PATH_KINDS[match.path.type]
    value = match.path.value
    if kind != "regex":
        # A request's path is matched without needless escapes (RFC 3986 §6.2.2.2).
        value = _UNRESERVED.sub(lambda found: chr(int(found[1], 16)), value)
    if kind == "path_prefix" and len(value) > 1:
        value = value.removesuffix("/")
    return s.Match(
        path=s.PathMatch(kind, value),
        method=match.method,
        headers=compile_headers(match.headers),
        query=tuple(_value_match(q, q.name) for q in match.query_params),
    )


def compile_headers(headers: tuple[HeaderMatch, ...]) -> tuple[s.ValueMatch, ...]:
    """The conditions on headers of a match."""
    return tuple(_value_match(header, header.name.lower()) for header in headers)


def _value_match(match: HeaderMatch | QueryParamMatch, name: str) -> s.ValueMatch:
    return s.ValueMatch(name, match.value, "exact" if match.type == "Exact" else "regex")
