"""Delta ADS, one stream of it, without I/O (xDS protocol, "Incremental xDS").

Rules:

* The first request of the stream tells the node; the first of a type tells the versions that we have.
* A type of which nothing is asked by name gets no first request: an empty one would be a wildcard.
* Each response is acknowledged, or rejected with the reason, by its nonce. Changed subscriptions follow in
  requests of their own, which carry no nonce.
"""

from collections.abc import Iterator

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from turnout.xds.client.book import Book
from turnout.xds.client.reading import Reading
from turnout.xds.client.rejection import reject
from turnout.xds.resources import CLUSTER, LISTENER, TYPES

WILDCARDS = (CLUSTER, LISTENER)


class DeltaSession:
    """One stream. `book` outlives it."""

    def __init__(self, book: Book, node: Node) -> None:
        self._book = book
        self._node: Node | None = node
        self._subscribed: dict[str, set[str]] = {}

    def start(self) -> list[DeltaDiscoveryRequest]:
        """The first requests."""
        requests = []
        for type_url in TYPES:
            if type_url in WILDCARDS:
                requests.append(self._first(type_url, set()))
            else:
                requests += self._subscribe(type_url)
        return requests

    def expects(self, type_url: str) -> bool:
        """Whether this type was asked for. Any other response is to be ignored: an answer would ask for it."""
        return type_url in self._subscribed

    def on_reading(self, reading: Reading, now: float) -> list[DeltaDiscoveryRequest]:
        """Take a response to a type that was asked for; the answers to it."""
        reason = self._book.take(reading, now)
        answer = DeltaDiscoveryRequest(type_url=reading.type_url, response_nonce=reading.nonce)
        if reason:
            reject(answer, reason)
        return [answer, *(request for type_url in TYPES for request in self._subscribe(type_url))]

    def _subscribe(self, type_url: str) -> Iterator[DeltaDiscoveryRequest]:
        """Bring the subscriptions of a type to what is needed."""
        wanted = self._book.asked(type_url)
        if type_url not in self._subscribed:
            if wanted:
                yield self._first(type_url, wanted)
            return
        known = self._subscribed[type_url]
        if wanted != known:
            self._subscribed[type_url] = wanted
            yield DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=sorted(wanted - known),
                resource_names_unsubscribe=sorted(known - wanted),
            )

    def _first(self, type_url: str, names: set[str]) -> DeltaDiscoveryRequest:
        self._subscribed[type_url] = names
        node, self._node = self._node, None
        return DeltaDiscoveryRequest(
            node=node,
            type_url=type_url,
            resource_names_subscribe=sorted(names),
            initial_resource_versions=self._book.versions(type_url),
        )
