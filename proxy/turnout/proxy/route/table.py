"""The route table of one listener: by host to a virtual host, by path to candidates, the first that holds wins.

Built from a Snapshot by each worker. Only the virtual host of the most specific domain is asked: a miss there is a
miss. Matching does not get slower with the number of routes that can't match.
"""

import random
from collections.abc import Callable, Iterable, Mapping

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.conditions import Draw
from turnout.proxy.route.context import Context, absent_clusters
from turnout.proxy.route.domains import Domains
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.model import asks_for_model
from turnout.proxy.route.paths import PathIndex
from turnout.rules.snapshot import Cluster, Listener, VirtualHost

MAX_KNOWN_HOSTS = 1_024


class Host:
    """A virtual host, compiled."""

    __slots__ = ("domains", "entries", "index", "name")

    def __init__(self, host: VirtualHost, context: Context) -> None:
        self.name = host.name
        self.domains = host.domains
        self.entries = [Entry(route, at, context, host.allowed_identities) for at, route in enumerate(host.routes)]
        self.index = PathIndex(self.entries)


class Table:
    """Answers which route takes a request.

    `missing` and `cold` are the Snapshot's clusters that there are not, `records` counter offsets by record key,
    `clusters` those that there are. `reads_model`: a route or one of these asks for the model of a request.
    `random` gives numbers in [0, 1), one a request, to routes that take a share of the requests.
    """

    __slots__ = ("_by_domain", "_domains", "_known", "hosts", "reads_model")

    def __init__(
        self,
        listener: Listener,
        missing: Iterable[str],
        records: Mapping[tuple[str, str, str], int],
        *,
        cold: Iterable[str] = (),
        clusters: Iterable[Cluster] = (),
        random: Callable[[], float] = random.random,
    ) -> None:
        scheme = "http" if listener.tls is None else "https"
        context = Context(records, absent_clusters(missing, cold), Draw(random), scheme)
        self.hosts = [Host(host, context) for host in listener.virtual_hosts]
        self._by_domain = {domain: host for host in self.hosts for domain in host.domains}
        self._domains = Domains(self._by_domain)
        self._known: dict[str, Host | None] = {}
        self.reads_model = asks_for_model(listener, clusters)

    def match(self, head: RequestHead) -> Entry | None:
        """The route that takes this request, None for none."""
        host = self._known.get(head.host) or self.find_host(head.host)
        if host is None:
            return None
        index = host.index
        found = index.known.get(head.path) or index.find(head.path)
        for step in found[0]:
            entry = step.take(head)
            if entry is not None:
                return entry
        return found[1]

    def find_domain(self, name: str) -> str | None:
        """The most specific domain that takes the host `name`."""
        return self._domains.find(name)

    def find_host(self, name: str) -> Host | None:
        """The virtual host of the most specific domain that takes the host `name`. It is remembered: clients name few
        hosts; those that name many, only to be forgotten together, cost a look-up each."""
        if name in self._known:
            return self._known[name]
        domain = self._domains.find(name)
        host = None if domain is None else self._by_domain[domain]
        if len(self._known) >= MAX_KNOWN_HOSTS:
            self._known.clear()
        self._known[name] = host
        return host
