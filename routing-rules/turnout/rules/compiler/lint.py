"""What is legal but hardly meant: warnings.

In a virtual host in order, an earlier route shadows a later one if it takes every request that the later
takes. Since the order puts the narrower first, this can only be a route with the same path, method and sets
of conditions (another prefix that covers comes later, and so does a subset of conditions); or an expression
that takes every path. So one dictionary a host finds them all, and 10,000 routes cost no more than 10,000
look-ups.
"""

from collections.abc import Iterable
from typing import TypeAlias

from turnout.rules.compiler.attach import Socket
from turnout.rules.compiler.certificates import Certificates
from turnout.rules.compiler.policies import Policies
from turnout.rules.compiler.references import References
from turnout.rules.compiler.routes import Entry
from turnout.rules.documents.document import Report
from turnout.rules.snapshot import Forward, Match, ValueMatch

_EVERY_PATH = frozenset({".*", ".+", "/.*", "(.*)", "(.+)", "(/.*)", ".*?", ".+?", "/.*?", "^.*$", "^/.*$"})
_MAX_CATCH_ALLS = 16
"""So many expressions for every path are compared with each route; more of them would be quadratic."""

Conditions: TypeAlias = tuple[str, str, str | None, frozenset[ValueMatch], frozenset[ValueMatch]]


def lint_shadows(hosts: Iterable[list[Entry]], report: Report) -> None:
    """Warn of each match that is shadowed in every virtual host that it stands in."""
    shadowed: dict[int, tuple[Entry, Entry]] = {}
    reached: set[int] = set()
    for entries in hosts:
        for entry, by in _shadows(entries):
            if by is None:
                reached.add(id(entry))
            else:
                shadowed.setdefault(id(entry), (entry, by))
    for number, (entry, by) in shadowed.items():
        if number not in reached:
            _warn(entry, by, report)


def lint_unused(references: References, policies: Policies, certificates: Certificates, report: Report) -> None:
    """Warn of predictors that no route names, of policies that no rule does, and of certificates that nobody does."""
    for name in references.unused():
        report.add("warning", references.origins[name], "unused-predictor", f"no route names the Predictor {name}")
    for name, origin in policies.unused():
        report.add("warning", origin, "unused-policy", f"no rule names the RoutePolicy {name}")
    for name, origin in certificates.unused():
        report.add("warning", origin, "unused-certificate", f"nothing names the Certificate {name}")


def lint_identities(socket: Socket, asks: bool, hosts: Iterable[list[Entry]], report: Report) -> None:
    """Warn, once a policy, of rules that allow identities where no client is asked for one (`asks`)."""
    if asks:
        return
    told: set[str] = set()
    for entry in (entry for entries in hosts for entry in entries):
        if entry.route.allowed_identities and entry.route.name not in told:
            told.add(entry.route.name)
            text = (
                f"the policy's allowedIdentities let nobody in: listener {socket.name} asks for no client certificates"
            )
            report.add("warning", entry.origin(), "no-identities", text)


def lint_mirrors(entries: list[Entry], report: Report) -> None:
    """Warn, once a rule, of mirrors that answer requests, too: there a copy takes the place of a request."""
    forwards = [(entry, entry.route.action) for entry in entries if isinstance(entry.route.action, Forward)]
    live = {backend.cluster for _, action in forwards for backend in action.backends if backend.weight}
    told: set[str] = set()
    for entry, action in forwards:
        shared = dict.fromkeys(mirror.cluster for mirror in action.mirrors if mirror.cluster in live)
        if shared and entry.route.name not in told:
            told.add(entry.route.name)
            text = f"{', '.join(shared)} answers requests, too: copies take part in its limits and endpoint states"
            report.add("warning", entry.origin(), "live-mirror", text)


def _shadows(entries: list[Entry]) -> Iterable[tuple[Entry, Entry | None]]:
    first: dict[Conditions, Entry] = {}
    catch_alls: list[Entry] = []
    for entry in entries:
        match = entry.route.match
        by = first.setdefault(_conditions(match), entry)
        if by is not entry:
            yield entry, by
            continue
        if match.path.kind != "exact":
            yield entry, next((c for c in catch_alls if _covers(c.route.match, match)), None)
            if match.path.kind == "regex" and match.path.value in _EVERY_PATH and len(catch_alls) < _MAX_CATCH_ALLS:
                catch_alls.append(entry)
        else:
            yield entry, None


def _conditions(match: Match) -> Conditions:
    return (match.path.kind, match.path.value, match.method, frozenset(match.headers), frozenset(match.query))


def _covers(wide: Match, narrow: Match) -> bool:
    """Whether the conditions beside the path say so."""
    return (
        wide.method in (None, narrow.method)
        and set(wide.headers) <= set(narrow.headers)
        and set(wide.query) <= set(narrow.query)
    )


def _warn(entry: Entry, by: Entry, report: Report) -> None:
    origin, other = entry.origin(), by.origin()
    text = f"never reached: {by.route.name} at {other} takes every request that this takes"
    report.add("warning", origin, "shadowed-rule", text)
