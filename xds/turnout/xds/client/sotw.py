"""State-of-the-world ADS, one stream of it, without I/O (xDS protocol, "SotW").

Rules:

* The first request of the stream tells the node; each request tells all names, the last accepted version of its
  type, and the nonce of the last response of its type on this stream.
* ACK: the version that came. NACK: the one before it, and the reason.
* A type of which nothing was ever asked by name gets no request: an empty one would be a wildcard.
"""

from collections.abc import Iterator

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from turnout.xds.client.book import Book
from turnout.xds.client.reading import Reading
from turnout.xds.client.rejection import reject
from turnout.xds.resources import CLUSTER, LISTENER, TYPES

WILDCARDS = (CLUSTER, LISTENER)


class SotwSession:
    """One stream. `book` and `versions` (accepted, by type) outlive it."""

    def __init__(self, book: Book, versions: dict[str, str], node: Node) -> None:
        self._book = book
        self._versions = versions
        self._node: Node | None = node
        self._nonces: dict[str, str] = {}
        self._named: dict[str, set[str]] = {}

    def start(self) -> list[DiscoveryRequest]:
        """The first requests."""
        requests = []
        for type_url in TYPES:
            if type_url in WILDCARDS:
                requests.append(self._request(type_url))
            else:
                requests += self._subscribe(type_url)
        return requests

    def expects(self, type_url: str) -> bool:
        """Whether this type was asked for. Any other response is to be ignored: an answer would ask for it."""
        return type_url in self._named

    def on_reading(self, reading: Reading, now: float) -> list[DiscoveryRequest]:
        """Take a response to a type that was asked for; the answers to it."""
        reason = self._book.take(reading, now)
        self._nonces[reading.type_url] = reading.nonce
        if not reason:
            self._versions[reading.type_url] = reading.version
        answer = self._request(reading.type_url)
        if reason:
            reject(answer, reason)
        return [answer, *(request for type_url in TYPES for request in self._subscribe(type_url))]

    def _subscribe(self, type_url: str) -> Iterator[DiscoveryRequest]:
        """Tell the names of a type if they are others than those that were told last."""
        if type_url not in WILDCARDS and self._book.asked(type_url) != self._named.get(type_url, set()):
            yield self._request(type_url)

    def _request(self, type_url: str) -> DiscoveryRequest:
        names = self._named[type_url] = self._book.asked(type_url)
        node, self._node = self._node, None
        return DiscoveryRequest(
            node=node,
            version_info=self._versions.get(type_url, ""),
            type_url=type_url,
            resource_names=sorted(names),
            response_nonce=self._nonces.get(type_url, ""),
        )
