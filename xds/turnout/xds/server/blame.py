"""Which resources a NACK is about. Its text is for humans, differs by client and version, and often names nothing.

What has changed since the client's last ACK is suspected; if the text names some of that, only those are. All pure.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import DecodeError

from turnout.xds.resources import ROUTES, Resource


def find_suspects(sent: Sequence[Resource], held: Mapping[str, Resource], text: str) -> list[Resource]:
    """Of the resources in a response, those that its rejection is put on. Empty if nothing of it was new."""
    changed = [r for r in sent if (old := held.get(r.name)) is None or old.version != r.version]
    named = find_names((r.name for r in changed), text)
    return [r for r in changed if r.name in named] or changed


def find_names(names: Iterable[str], text: str) -> set[str]:
    """The names that stand in a text as whole words; `a` does not stand in `a-b`, nor in `ns/a`."""
    found = set()
    for name in sorted((n for n in names if n in text), key=len, reverse=True):
        text, count = re.subn(rf"(?<![\w/-])(?<!\w\.){re.escape(name)}(?![\w/-]|[.:]\w)", "\0", text)
        if count:
            found.add(name)
    return found


def changed_routes(old: Resource | None, new: Resource) -> frozenset[str]:
    """The names of routes in a RouteConfiguration that came, went or changed; empty if that can't be told."""
    if old is None or new.type_url != ROUTES or not old.body:
        return frozenset()
    try:
        before, after = _routes(old.body), _routes(new.body)
    except DecodeError:
        return frozenset()
    return frozenset(name for name, *_ in before ^ after if name)


def _routes(body: bytes) -> set[tuple[str, str, int, bytes]]:
    return {
        (name, ",".join(host.domains), position, content)
        for host in RouteConfiguration.FromString(body).virtual_hosts
        for name, position, content in _numbered(host.routes)
    }


def _numbered(routes: Iterable[Any]) -> Iterator[tuple[str, int, bytes]]:
    """Each route with its place among the routes of its name: another rule before it is no change."""
    count: Counter[str] = Counter()
    for route in routes:
        yield route.name, count[route.name], route.SerializeToString(deterministic=True)
        count[route.name] += 1
