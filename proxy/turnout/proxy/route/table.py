"""The route table of one listener: by host to a virtual host, by path to candidates, the first that holds wins.

Built from a Snapshot by each worker. Hosts as in Envoy: an exact domain, else the longest `*.suffix`, else the
longest `prefix.*`, else `*`; only that virtual host is asked. Matching does not get slower with the
number of routes that can't match.
"""

from collections.abc import Mapping, Sequence

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.paths import PathIndex
from turnout.rules.snapshot import Listener, VirtualHost


class Host:
    """A virtual host, compiled."""

    __slots__ = ("domains", "entries", "index", "name")

    def __init__(self, host: VirtualHost, missing: frozenset[str], records: Mapping[tuple[str, str, str], int]) -> None:
        self.name = host.name
        self.domains = host.domains
        self.entries = [Entry(route, at, missing, records) for at, route in enumerate(host.routes)]
        self.index = PathIndex(self.entries)


class Table:
    """Answers which route takes a request. `records` are counter offsets by record key."""

    __slots__ = ("_any", "_exact", "_prefixes", "_suffixes", "hosts")

    def __init__(self, listener: Listener, missing: Sequence[str], records: Mapping[tuple[str, str, str], int]) -> None:
        gone = frozenset(missing)
        self.hosts = [Host(host, gone, records) for host in listener.virtual_hosts]
        self._exact: dict[str, Host] = {}
        self._suffixes: dict[str, Host] = {}
        self._prefixes: dict[str, Host] = {}
        self._any: Host | None = None
        for host in self.hosts:
            for domain in host.domains:
                self._add(domain, host)

    def match(self, head: RequestHead) -> Entry | None:
        """The route that takes this request, None for none."""
        host = self._exact.get(head.host) or self.find_host(head.host)
        if host is not None:
            for entry in host.index.find(head.path):
                if entry.holds(head):
                    return entry
        return None

    def find_host(self, name: str) -> Host | None:
        """The virtual host of the most specific domain that matches `name`."""
        found = self._exact.get(name)
        if found is None and self._suffixes:
            found = self._find_suffix(name)
        if found is None and self._prefixes:
            found = self._find_prefix(name)
        return found or self._any

    def _add(self, domain: str, host: Host) -> None:
        if domain == "*":
            self._any = host
        elif domain.startswith("*"):
            self._suffixes[domain[1:]] = host
        elif domain.endswith("*"):
            self._prefixes[domain[:-1]] = host
        else:
            self._exact[domain] = host

    def _find_suffix(self, name: str) -> Host | None:
        dot = name.find(".", 1)
        while dot > 0:
            host = self._suffixes.get(name[dot:])
            if host is not None:
                return host
            dot = name.find(".", dot + 1)
        return None

    def _find_prefix(self, name: str) -> Host | None:
        dot = name.rfind(".", 0, len(name) - 1)
        while dot > 0:
            host = self._prefixes.get(name[: dot + 1])
            if host is not None:
                return host
            dot = name.rfind(".", 0, dot)
        return None
