"""Why a request takes the route it takes: the decisions of a Table, told in words.

The Table itself is asked (`match`, `find_domain`, an entry's conditions), so that what is told is what the data plane
does. A *near miss* is a route that would have come before the winner, whose path matches and something else does
not; of those whose path does not match the closest few are told, and the rest is counted.
"""

from collections.abc import Sequence

import msgspec

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.outcome import Outcome, describe_outcome
from turnout.proxy.route.table import Host, Table
from turnout.rules.snapshot import Origin, Origins, PathMatch

MAX_OTHER_PATHS = 3

_PATH_VERBS = {"exact": "be", "path_prefix": "be or be below", "prefix": "begin with", "regex": "match"}


class Conditions(msgspec.Struct, frozen=True):
    """A route, where it was written, and its conditions in words: all of them, and those that do not hold."""

    route: str
    origin: Origin | None
    conditions: tuple[str, ...]
    failed: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """What a Table decides about a request. Without a `route` the answer is a 404."""

    domain: str | None
    domain_reason: str
    route: Conditions | None
    outcome: Outcome | None
    near_misses: tuple[Conditions, ...]
    other_paths: tuple[Conditions, ...]
    more_other_paths: int
    """Routes before the winner that are in neither list: their path is another."""


def explain(table: Table, head: RequestHead, origins: Origins, port: int, address: bytes = b"127.0.0.1") -> Explanation:
    """Ask the table for `head`, which is not changed. `port` is the listener's, for redirects; `address` the client's,
    for splits by it."""
    domain = table.find_domain(head.host)
    host = table.find_host(head.host)
    if host is None:
        return Explanation(None, _no_domain(table, head), None, None, (), (), 0)
    places = _find_places(host, origins)
    winner = table.match(head)
    earlier = host.entries if winner is None else host.entries[: winner.position]
    here = {entry.position for entry in host.index.candidates(head.path)}
    near = [entry for entry in earlier if entry.position in here]
    elsewhere = [entry for entry in earlier if entry.position not in here]
    close = _closest(elsewhere, head.path.decode("latin-1"))
    return Explanation(
        domain,
        _domain_reason(domain, head),
        None if winner is None else _describe(winner, places),
        None if winner is None else describe_outcome(winner, head, port, address),
        tuple(_describe(entry, places, _failures(entry, head, path_missed=False)) for entry in near),
        tuple(_describe(entry, places, _failures(entry, head, path_missed=True)) for entry in close),
        len(elsewhere) - len(close),
    )


def _describe(entry: Entry, places: dict[int, Origin | None], failed: Sequence[str] = ()) -> Conditions:
    return Conditions(entry.name, places[entry.position], tuple(_words(entry)), tuple(failed))


def _words(entry: Entry) -> list[str]:
    words = [_path_words(entry.route.match.path)]
    if entry.method is not None:
        words.append(f"method must be {entry.method.decode()}")
    return words + [condition.describe() for condition in entry.conditions]


def _path_words(path: PathMatch) -> str:
    any_case = " in any case" if path.ignore_case and path.kind != "regex" else ""
    return f"path must {_PATH_VERBS[path.kind]} {path.value}{any_case}"


def _failures(entry: Entry, head: RequestHead, *, path_missed: bool) -> list[str]:
    failed = []
    if path_missed:
        failed.append(f"{_path_words(entry.route.match.path)}, but is {head.path.decode('latin-1')}")
    if entry.method is not None and entry.method != head.method:
        failed.append(f"method must be {entry.method.decode()}, but is {head.method.decode('latin-1')}")
    failed += [condition.explain(head) for condition in entry.conditions if not condition.holds(head)]
    return failed


def _closest(entries: list[Entry], path: str) -> list[Entry]:
    """Of entries with other paths those that begin most like `path`, if more than the first slash is alike."""
    alike = [(_count_alike(entry.route.match.path.value, path), entry) for entry in entries]
    alike.sort(key=lambda pair: (-pair[0], pair[1].position))
    return [entry for count, entry in alike[:MAX_OTHER_PATHS] if count > 1]


def _count_alike(one: str, other: str) -> int:
    """Of how many characters the common beginning is."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _find_places(host: Host, origins: Origins) -> dict[int, Origin | None]:
    """Origins by position; a route's key there is its name and how often the name was before it in its host."""
    seen: dict[str, int] = {}
    places = {}
    for entry in host.entries:
        at = seen.get(entry.name, 0)
        seen[entry.name] = at + 1
        places[entry.position] = origins.routes.get((entry.name, at))
    return places


def _domain_reason(domain: str | None, head: RequestHead) -> str:
    host = head.host or "(none)"
    if domain == "*":
        return f"no hostname of the rules is or covers {host}, so the rules for every host are asked"
    if domain == head.host:
        return f"it is the host {host} itself; no rules of other hostnames are asked"
    return f"it is the most specific wildcard that covers {host}; no rules of other hostnames are asked"


def _no_domain(table: Table, head: RequestHead) -> str:
    domains = sorted(domain for host in table.hosts for domain in host.domains)
    known = ", ".join(domains[:10]) + (", …" if len(domains) > 10 else "")
    return f"no rule is for the host {head.host or '(none)'}; there are rules for: {known or 'no host at all'}"
