"""The head of a request: what llhttp leaves to us is checked here, and what the marked fields say is taken over.

One reader serves all connections of a worker; it keeps what it has learned, and nothing of any connection.

Most requests of a client differ in three fields at most: how long the body is, the trace, the request's id. So heads
are also known without these, as *frames*. A frame and fields that are well-formed by themselves make the head that
reading all of it would have made; where that is not sure (chunked, an upgrade, fields that Connection names), there
is no frame. Clients of whom each head is another (a path of its own) find out that nothing is learned of them: after
some misses in a row nothing is tried for a while.
"""

import re
from typing import Final

import httptools

from turnout.proxy.errors import METHOD_UNSUPPORTED, VERSION_UNSUPPORTED
from turnout.proxy.http.fields import MalformedError, RefusedError, check_coding, parse_length, parse_tokens
from turnout.proxy.http.head import CHUNKED, RequestHead
from turnout.proxy.http.known import KnownHeads
from turnout.proxy.http.names import REQUEST_MARKS, Mark, Names
from turnout.proxy.http.target import Authorities, Targets, split_target
from turnout.proxy.http1.heads import split_head
from turnout.proxy.telemetry.trace.parent import read_traceparent

MAX_MISSES: Final = 256
PAUSE: Final = 4_096
"""So many heads in a row that were not known, and nothing is learned of so many of the next."""

_HOST: Final = int(Mark.HOST)
_LENGTH: Final = int(Mark.CONTENT_LENGTH)
_CODING: Final = int(Mark.TRANSFER_ENCODING)
_CONNECTION: Final = int(Mark.CONNECTION)
_UPGRADE: Final = int(Mark.UPGRADE)
_ONCE: Final = _HOST | _LENGTH | _CODING
_REQUEST_ID: Final = int(Mark.REQUEST_ID)
_TRACEPARENT: Final = int(Mark.TRACEPARENT)
_UNFRAMED: Final = _LENGTH | _CODING | _UPGRADE | _REQUEST_ID | _TRACEPARENT
_FRAME_NAMES: Final = frozenset({b"close", b"keep-alive"})
_DROPPED: Final = int(Mark.HOP_BY_HOP | Mark.TE)

_split_own: Final = re.compile(
    rb"\r\n(?=[ctx])(content-length|traceparent|x-request-id): ([0-9A-Za-z-]{1,128})(?=\r\n)", re.IGNORECASE
).split
"""Takes out the fields that are each request's own: `[before, name, value, between, name, value, …, behind]`."""


class RequestHeads:
    """Reads heads. `known` may be asked first: what stands there need not be read."""

    __slots__ = ("_authorities", "_frames", "_known", "_misses", "_names", "_pause", "_targets", "known")

    def __init__(self) -> None:
        self._names = Names(REQUEST_MARKS, steering=True)
        self._authorities = Authorities()
        self._targets = Targets()
        self._known: KnownHeads[bytes, RequestHead] = KnownHeads()
        self._frames: KnownHeads[bytes, RequestHead] = KnownHeads()
        self.known = self._known.heads
        self._misses = self._pause = 0

    def read(self, raw: bytes) -> RequestHead:
        """The head in `raw`, which ends with its empty line. Raises MalformedError or RefusedError."""
        if self._pause:
            self._pause -= 1
            return self._read(raw)
        parts = _split_own(raw)
        frame = b"".join(parts[::3])
        known = self._frames.heads.get(frame)
        if known is not None and (head := self._fill(known.copy(), parts)) is not None:
            self._misses = 0
            return head
        self._misses += 1
        if self._misses == MAX_MISSES:
            self._misses, self._pause = 0, PAUSE
        head = self._read(raw)
        if self._known.comes_again(raw, len(raw)):
            self._known.keep(raw, head)
        elif len(parts) > 1 and self._frames.comes_again(frame, len(frame)):
            self._keep_frame(frame)
        return head

    def _keep_frame(self, raw: bytes) -> None:
        frame = self._read(raw)
        if not frame.marks & _UNFRAMED and _FRAME_NAMES.issuperset(frame.named):
            self._frames.keep(raw, frame)

    def _fill(self, head: RequestHead, parts: list[bytes]) -> RequestHead | None:
        """A frame with fields of its own, as `_split_own` gives them; None if one is there twice."""
        own = b""
        for at in range(1, len(parts), 3):
            name, value = parts[at], parts[at + 1]
            mark = self._names.mark(name)
            if mark & head.marks:
                return None
            head.marks |= mark
            if mark == _LENGTH:
                head.length = parse_length(value)
            else:
                own += b"\r\n%b: %b" % (name.lower(), value)
                if mark == _TRACEPARENT:
                    head.traceparent = read_traceparent(value)
        head.add_marked(own)
        return head

    def _read(self, raw: bytes) -> RequestHead:
        line, parts, block = split_head(raw, httptools.HttpRequestParser, self._names)
        words = line.split(b" ")
        if len(words) != 3:
            raise MalformedError("not a request line")
        head = RequestHead()
        head.block = block
        head.method, target, version = words
        if version != b"HTTP/1.1":
            _check_version(head, version)
        if head.method == b"CONNECT":
            _refuse_connect(target)
        connection, upgrade = self._apply_marked(head, parts)
        path = self._targets.plain.get(target)
        if path is not None:
            head.path = path
        else:
            self._split_target(head, target)
        if not head.marks & _HOST and head.minor:
            raise MalformedError("HTTP/1.1 without Host")
        if head.marks & _CODING:
            _check_coding(head)
        if connection:
            _apply_connection(head, connection, upgrade)
        if head.marks & _HOST:
            head.host = self._authorities.hosts.get(head.authority) or self._authorities.look_up(head.authority)
        return head

    def _apply_marked(self, head: RequestHead, parts: list[bytes]) -> tuple[bytes, bytes]:
        """Take over what the marked fields say; the values of Connection and Upgrade are returned."""
        connection = upgrade = b""
        marks = 0
        for at in range(1, len(parts), 3):
            name, value = parts[at], parts[at + 1].rstrip()
            mark = self._names.mark(name)
            again = mark & marks
            if again & _ONCE:
                raise MalformedError(f"{name.decode()} is there twice")
            marks |= mark
            if mark == _HOST:
                head.authority = value
            elif mark == _LENGTH:
                head.length = parse_length(value)
            elif mark == _CONNECTION:
                connection = connection + b"," + value if connection else value
            elif mark == _UPGRADE:
                upgrade = upgrade + b"," + value if upgrade else value
            elif mark == _CODING:
                check_coding(value)
            elif not mark & _DROPPED:
                head.add(name.lower(), value)
                if mark == _TRACEPARENT:
                    head.traceparent = b"" if again else read_traceparent(value)
        head.marks = marks
        return connection, upgrade

    def _split_target(self, head: RequestHead, target: bytes) -> None:
        head.path, head.query, authority = split_target(target, head.method)
        if authority is None:
            self._targets.learn(target, head.path, head.query)
        elif not head.marks & _HOST:
            if not head.minor:
                head.authority = authority
                head.marks |= _HOST
        elif authority.lower() != head.authority.lower():
            raise MalformedError("Host differs from the target's authority")


def _check_version(head: RequestHead, version: bytes) -> None:
    if version != b"HTTP/1.0":
        raise RefusedError(VERSION_UNSUPPORTED)
    head.minor = 0
    head.keep_alive = False


def _refuse_connect(target: bytes) -> None:
    if b":" not in target or b"/" in target:
        raise MalformedError("the target of CONNECT is not in authority-form")
    raise RefusedError(METHOD_UNSUPPORTED)


def _check_coding(head: RequestHead) -> None:
    if head.marks & _LENGTH:
        raise MalformedError("both Transfer-Encoding and Content-Length")
    if not head.minor:
        raise MalformedError("Transfer-Encoding in HTTP/1.0")
    head.length = CHUNKED


def _apply_connection(head: RequestHead, connection: bytes, upgrade: bytes) -> None:
    named = parse_tokens(connection)
    if b"close" in named:
        head.keep_alive = False
    elif b"keep-alive" in named:
        head.keep_alive = True
    if b"upgrade" in named and head.minor and not head.length:
        head.upgrade = _choose_upgrade(upgrade)
    head.remove_named(named)


def _choose_upgrade(value: bytes) -> bytes:
    """WebSocket is the one protocol that is let through; others are ignored, as a server may (RFC 9110 §7.8)."""
    return b"websocket" if b"websocket" in parse_tokens(value) else b""
