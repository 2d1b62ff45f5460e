"""A route with mirrors, what /metrics says of them, and a shadow that behaves as badly as it is told."""

import asyncio
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Self

from actors.documents import predictor
from actors.proxy import Proxy, until
from actors.serving import Serving
from actors.wire import Message

PIECE = b"x" * 65_536
CRUMBS = b"1\r\nx\r\n" * 10_000
_ends_chunks = re.compile(rb"(?:.*\r\n)?0\r\n(?:[^\r\n]+\r\n)*\r\n\Z", re.DOTALL).match
_RESET = struct.pack("ii", 1, 0)


def mirrored(live: int, shadows: dict[str, int], policy: str = "", share: str = "", more: str = "") -> str:
    """Rules that answer from port `live` and copy to `shadows`; `policy` is the spec of a RoutePolicy, `share` like
    `percent: 10`, `more` what else the rule says."""
    filters = [
        f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}}}{', ' + share if share else ''}}}}}"
        for name in shadows
    ]
    documents = predictor("live", live) + "".join(predictor(name, port) for name, port in shadows.items())
    if policy:
        head = "apiVersion: turnout.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: policy}\n"
        documents += f"{head}spec: {{{policy}}}\n---"
        filters.append("{type: ExtensionRef, extensionRef: {group: turnout.dev, kind: RoutePolicy, name: policy}}")
    return f"""{documents}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route}}
spec:
  rules:
  - filters: [{", ".join(filters)}]
    backendRefs: [{{name: live}}]{more}
"""


def hosts(live: int, shadows: dict[str, int], policy: str) -> str:
    """Rules with a host for each of `shadows`, by its name, all of whose requests are copied to it."""
    head = "apiVersion: turnout.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: policy}\n"
    documents = predictor("live", live) + f"{head}spec: {{{policy}}}\n---"
    for name, port in shadows.items():
        documents += predictor(name, port)
        documents += f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  hostnames: [{name}.test]
  rules:
  - filters:
    - {{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}}}}}}}
    - {{type: ExtensionRef, extensionRef: {{group: turnout.dev, kind: RoutePolicy, name: policy}}}}
    backendRefs: [{{name: live}}]
---
"""
    return documents


class MirrorProxy(Proxy):
    """One for many tests, each of which has its own rules and, since numbers only grow, a route of its own name."""

    route = ""
    served = 0

    async def serve(self, rules: str) -> Self:
        """Serve these rules of `mirrored` from now on."""
        self.served += 1
        name = f"route-{self.served}"
        await self.reload(rules.replace("metadata: {name: route}", f"metadata: {{name: {name}}}"))
        self.route = f"default/{name}/0"
        return self


class Counts:
    """The numbers of one mirror of a route at one moment."""

    def __init__(self, text: str, mirror: str, route: str = "") -> None:
        """Without a `route` of all that have the mirror."""
        found: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        for name, labels, value in re.findall(r"^turnout_mirror(\w*)\{([^}]*)\} (\S+)$", text, re.MULTILINE):
            told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if told["predictor"] != f"default/{mirror}" or route not in ("", told["route"]):
                continue
            if name == "_skipped_total":
                self.skipped[told["reason"]] += int(float(value))
            elif name == "_results_total":
                self.results[told["outcome"]] += int(float(value))
            else:
                found[name] += int(float(value))
        self.eligible, self.mirrored = found["_eligible_total"], found["ed_total"]
        self.active = found["_active"]
        self.sent_bytes, self.received_bytes = found["_sent_bytes_total"], found["_received_bytes_total"]

    def __repr__(self) -> str:
        return f"<Counts {self.eligible} = {self.mirrored} + {dict(self.skipped)}, {dict(self.results)}, {self.active}>"

    def check(self) -> Self:
        """What holds at every moment at which nothing happens."""
        assert self.eligible == self.mirrored + self.skipped.total(), self
        assert self.mirrored == self.active + self.results.total(), self
        return self


async def glance(proxy: Proxy, mirror: str = "shadow") -> Counts:
    """The numbers while something happens: they are not of one moment."""
    return Counts((await proxy.admin("/metrics"))[1], mirror, getattr(proxy, "route", ""))


async def counts(proxy: Proxy, mirror: str = "shadow") -> Counts:
    """The numbers while nothing happens."""
    return (await glance(proxy, mirror)).check()


async def ended(proxy: Proxy, count: int, mirror: str = "shadow", within_s: float = 20) -> Counts:
    """The numbers, once so many requests were eligible and all copies have ended."""

    async def are_over() -> Counts | None:
        found = await glance(proxy, mirror)
        return found if found.eligible >= count and not found.active else None

    found: Counts = await until(are_over, within_s)
    assert found.eligible == count, found
    return found.check()


async def at_rest(proxy: Proxy, mirror: str = "shadow") -> None:
    """Wait until no copy is in flight."""

    async def is_at_rest() -> bool:
        return not (await glance(proxy, mirror)).active

    await until(is_at_rest)


class Shadow(Serving):
    """A server whose `ways` are taken in turn by the requests that come: `answer`, `fail` (500), `hang`, `reset` after
    the request, `slam` (a reset at once), `cut` in the answer, `garbage`, `flood` (`flood_bytes` of body), `deaf` (it
    reads the head and nothing more), `early` (it answers at the head), `crumbs` (without end, in chunks of one byte).

    `bodies` are what came whole, `seen` the heads of all. With `keeps` off neither is kept; `digests` are the SHA-256
    of bodies with a length, in any case.
    """

    def __init__(self, *ways: str, port: int = 0) -> None:
        super().__init__(port)
        self.ways = list(ways) or ["answer"]
        self.flood_bytes = 1 << 22
        self.keeps = True
        self.requests = 0
        self.digests: list[str] = []
        self.seen: list[Message] = []
        self.bodies: list[bytes] = []
        self.received = 0
        self.connections = 0

    def next_way(self) -> str:
        return self.ways[(self.requests - 1) % len(self.ways)]

    def make_connection(self) -> asyncio.Protocol:
        return _Connection(self)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nshadow"
_ANSWERS = {
    "answer": OK,
    "early": OK,
    "fail": b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n",
    "garbage": b"\x00\xffHTTP/9.9 never\r\n: \r\ncontent-length: -1\r\n\r\n" + bytes(range(256)) * 16,
    "cut": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
}


class _Connection(asyncio.Protocol):
    """It reads as much HTTP/1.1 as the proxy speaks to it."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow
        self._buffer = bytearray()
        self._left = 0
        self._body = bytearray()
        self._digest = sha256()
        self._chunked = False
        self._way = ""
        self._flood = 0
        self._piece = PIECE
        self._blocked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._shadow.connections += 1
        self._shadow.transports.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._shadow.transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._shadow.received += len(data)
        while self._transport.is_reading() and self._read_one():
            pass

    def _read_one(self) -> bool:
        """Whether a whole request was there."""
        if not self._way and not self._read_head():
            return False
        if not (self._take_chunks() if self._chunked else self._take_length()):
            return False
        if self._shadow.keeps:
            self._shadow.bodies.append(bytes(self._body))
        self._body.clear()
        way, self._way = self._way, ""
        self._react(way)
        return not self._transport.is_closing()

    def _read_head(self) -> bool:
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            return False
        start, *lines = self._buffer[:at].decode("latin-1").split("\r\n")
        del self._buffer[: at + 4]
        pairs = (line.partition(":") for line in lines)
        message = Message(start, [(name.lower(), value.strip()) for name, _, value in pairs])
        self._shadow.requests += 1
        if self._shadow.keeps:
            self._shadow.seen.append(message)
        self._chunked = message.get("transfer-encoding") == "chunked"
        self._left = int(message.get("content-length") or 0)
        self._way = self._shadow.next_way()
        if self._way == "deaf":
            self._transport.pause_reading()
            return False
        if self._way in ("slam", "early"):
            self._react(self._way)
            return False
        return True

    def _take_length(self) -> bool:
        """Take what is there of a body with a length; whether that is all of it."""
        piece = self._buffer[: self._left]
        del self._buffer[: self._left]
        self._left -= len(piece)
        self._digest.update(piece)
        if self._shadow.keeps:
            self._body += piece
        if not self._left:
            self._shadow.digests.append(self._digest.hexdigest())
            self._digest = sha256()
        return not self._left

    def _take_chunks(self) -> bool:
        """Take a chunked body, once all of it is there, with its trailers."""
        if not _ends_chunks(self._buffer):
            return False
        rest = memoryview(bytes(self._buffer))
        self._buffer.clear()
        while True:
            line, _, _ = bytes(rest[:20]).partition(b"\r\n")
            size, begin = int(line, 16), len(line) + 2
            if not size:
                return True
            self._body += rest[begin : begin + size]
            rest = rest[begin + size + 2 :]

    def _react(self, way: str) -> None:
        if way in _ANSWERS:
            self._transport.write(_ANSWERS[way])
        if way in ("cut", "garbage", "early"):
            self._transport.close()
        elif way in ("reset", "slam"):
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        elif way == "crumbs":
            self._flood, self._piece = 1 << 40, CRUMBS
            self._transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            self._pour()
        elif way == "flood":
            self._flood = self._shadow.flood_bytes
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self._flood)
            self._pour()

    def _pour(self) -> None:
        while self._flood and not self._blocked and not self._transport.is_closing():
            piece = self._piece[: self._flood]
            self._flood -= len(piece)
            self._transport.write(piece)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        asyncio.get_running_loop().call_soon(self._pour)


Start = Callable[..., Proxy]
