"""An xDS client without I/O: what it asks, what it was told, what of it is live, and what it shows of that.

`source` is the shell around it: streams, the clock, and the Snapshot that is made of what is live.
"""

from collections import Counter
from typing import Any, Protocol, TypeAlias

import msgspec
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from turnout.xds.client.book import Book, Entry
from turnout.xds.client.delta import DeltaSession
from turnout.xds.client.options import XdsOptions
from turnout.xds.client.reading import Reading, read_delta, read_sotw
from turnout.xds.client.sotw import SotwSession
from turnout.xds.client.warming import WARM_TIMEOUT_S, Live, Warming
from turnout.xds.resources import SHORT_NAMES, TYPES

Request: TypeAlias = DeltaDiscoveryRequest | DiscoveryRequest
Json = dict[str, Any]


class Session(Protocol):
    """One stream, delta or state of the world."""

    def start(self) -> list[Any]: ...
    def expects(self, type_url: str) -> bool: ...
    def on_reading(self, reading: Reading, now: float) -> list[Any]: ...


class Connection(msgspec.Struct):
    """The stream now and those before it. Times are the loop's."""

    is_up: bool = False
    since: float = 0.0
    streams: int = 0
    error: str = ""


class Answers(msgspec.Struct, frozen=True):
    """What a response is answered with: the ACK or NACK first. `repeated`: the last one was rejected as this one."""

    requests: list[Request]
    reason: str
    repeated: bool


class Client:
    """What outlives a stream. `acks` and `nacks` count responses by type. `now` is the loop's time."""

    def __init__(self, options: XdsOptions, warm_timeout_s: float = WARM_TIMEOUT_S) -> None:
        self._options = options
        self._book = Book()
        self._warming = Warming(warm_timeout_s)
        self._versions: dict[str, str] = {}
        self._session: Session | None = None
        self._nacks: dict[str, str] = {}
        self.acks: Counter[str] = Counter()
        self.nacks: Counter[str] = Counter()
        self.connection = Connection()

    @property
    def live(self) -> Live:
        """What serves."""
        return self._warming.live

    # The stream

    def on_connect(self, node: Node, now: float) -> list[Request]:
        """A stream is there; its first requests."""
        if self._options.variant == "delta":
            self._session = DeltaSession(self._book, node)
        else:
            self._session = SotwSession(self._book, self._versions, node)
        self.connection.streams += 1
        return list(self._session.start())

    def read(self, data: bytes) -> Reading | None:
        """Read a response; None for one of a type that was not asked for.

        Raises google.protobuf.message.DecodeError. Changes nothing, so it may run in a thread while nobody calls
        `on_reading`.
        """
        assert self._session is not None, "responses come on a stream"
        if self._options.variant == "delta":
            delta = DeltaDiscoveryResponse.FromString(data)
            return read_delta(delta) if self._session.expects(delta.type_url) else None
        response = DiscoveryResponse.FromString(data)
        if not self._session.expects(response.type_url):
            return None
        return read_sotw(response, self._book.by_body(response.type_url))

    def on_reading(self, reading: Reading, now: float) -> Answers:
        """Take what was read."""
        assert self._session is not None, "responses come on a stream"
        if not self.connection.is_up:
            self.connection.is_up, self.connection.since, self.connection.error = True, now, ""
        requests = self._session.on_reading(reading, now)
        reason = requests[0].error_detail.message
        repeated = bool(reason) and self._nacks.get(reading.type_url) == reason
        self._nacks[reading.type_url] = reason
        (self.nacks if reason else self.acks)[SHORT_NAMES[reading.type_url]] += 1
        return Answers(requests, reason, repeated)

    def on_disconnect(self, error: str, now: float) -> None:
        """The stream ended, or could not be made."""
        self._session = None
        if self.connection.is_up or not self.connection.error:
            self.connection.since = now
        self.connection.is_up, self.connection.error = False, error

    # What is live

    def advance(self, now: float) -> bool:
        """Let begin to serve what can; whether `live` has changed."""
        return self._warming.advance(self._book, now)

    def wake_at(self, now: float) -> float | None:
        """When to `advance` although nothing came."""
        return self._warming.wake_at(now)

    def dump(self, now: float) -> Json:
        """All of it as plain data. Ages are seconds."""
        connection = self.connection
        acks, nacks = self.acks.total(), self.nacks.total()
        return {
            "control_plane": self._options.address,
            "variant": self._options.variant,
            "node": {"id": self._options.node_id, "metadata": self._options.metadata},
            "connected": connection.is_up,
            "for_s": round(now - connection.since, 3),
            "error": connection.error or None,
            "streams": connection.streams,
            "counts": {"responses": acks + nacks, "acks": acks, "nacks": nacks},
            "cold_clusters": list(self.live.cold),
            "waiting": [
                {"type": SHORT_NAMES[type_url], "name": name, "left_s": round(left_s, 3)}
                for (type_url, name), left_s in self._warming.waiting(now).items()
            ],
            "resources": [
                self._dump_resource(type_url, name, entry, now)
                for type_url in TYPES
                for name, entry in sorted(self._book.entries[type_url].items())
            ],
        }

    def _dump_resource(self, type_url: str, name: str, entry: Entry, now: float) -> Json:
        live = self.live.resources[type_url].get(name)
        rejection = entry.rejection
        return {
            "type": SHORT_NAMES[type_url],
            "name": name,
            "state": entry.state,
            "version": entry.accepted.resource.version if entry.accepted else None,
            "live_version": live.resource.version if live else None,
            "for_s": round(now - entry.since, 3),
            "rejected": {"version": rejection.version, "reason": rejection.reason} if rejection else None,
        }
