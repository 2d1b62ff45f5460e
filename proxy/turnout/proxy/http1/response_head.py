"""The head of a response: what llhttp leaves to us is checked here, and how the body is framed (RFC 9112 §6.3).

One reader serves all connections of a worker; it keeps what it has learned, and nothing of any connection.
"""

from typing import Final

import httptools

from turnout.proxy.http.fields import MalformedError, check_coding, parse_keep_alive_s, parse_length, parse_tokens
from turnout.proxy.http.head import CHUNKED, UNTIL_CLOSE, ResponseHead
from turnout.proxy.http.known import KnownHeads
from turnout.proxy.http.names import RESPONSE_MARKS, Mark, Names
from turnout.proxy.http1.heads import split_head

_LENGTH: Final = int(Mark.CONTENT_LENGTH)
_CODING: Final = int(Mark.TRANSFER_ENCODING)
_CONNECTION: Final = int(Mark.CONNECTION)
_UPGRADE: Final = int(Mark.UPGRADE)
_KEEP_ALIVE: Final = int(Mark.KEEP_ALIVE)
_ONCE: Final = _LENGTH | _CODING


class ResponseHeads:
    """Reads heads. `known` may be asked first: what stands there need not be read."""

    __slots__ = ("_known", "_names", "known")

    def __init__(self) -> None:
        self._names = Names(RESPONSE_MARKS)
        self._known: KnownHeads[bytes, ResponseHead] = KnownHeads()
        self.known = self._known.heads

    def read(self, raw: bytes) -> ResponseHead:
        """The head in `raw`, which ends with its empty line. Raises MalformedError."""
        line, parts, block = split_head(raw, httptools.HttpResponseParser, self._names)
        version, status = line[:9], line[9:12]
        if version not in (b"HTTP/1.1 ", b"HTTP/1.0 ") or not status.isdigit():
            raise MalformedError("not a status line of HTTP/1.0 or HTTP/1.1")
        head = ResponseHead((), int(status))
        head.block = block
        if version == b"HTTP/1.0 ":
            head.keep_alive = False
        connection, upgrade = self._apply_marked(head, parts)
        if connection and (connection != b"keep-alive" or not head.keep_alive):
            _apply_connection(head, connection, upgrade)
        _check_framing(head, version)
        if self._known.comes_again(raw, len(raw)):
            self._known.keep(raw, head)
        return head

    def _apply_marked(self, head: ResponseHead, parts: list[bytes]) -> tuple[bytes, bytes]:
        """Take over what the marked fields say; the values of Connection and Upgrade are returned."""
        connection = upgrade = b""
        for at in range(1, len(parts), 3):
            name, value = parts[at], parts[at + 1].rstrip()
            mark = self._names.mark(name)
            if mark & head.marks & _ONCE:
                raise MalformedError(f"{name.decode()} is there twice")
            head.marks |= mark
            if mark == _LENGTH:
                head.length = parse_length(value)
            elif mark == _CONNECTION:
                connection = connection + b"," + value if connection else value
            elif mark == _UPGRADE:
                upgrade = value
            elif mark == _CODING:
                check_coding(value)
            elif mark == _KEEP_ALIVE:
                head.keep_alive_s = parse_keep_alive_s(value)
        return connection, upgrade


def _apply_connection(head: ResponseHead, connection: bytes, upgrade: bytes) -> None:
    named = parse_tokens(connection)
    if b"close" in named:
        head.keep_alive = False
    elif b"keep-alive" in named:
        head.keep_alive = True
    if b"upgrade" in named and head.status == 101:
        head.upgrade = upgrade.lower()
    head.remove_named(named)


def _check_framing(head: ResponseHead, version: bytes) -> None:
    marks, status = head.marks, head.status
    if marks & _CODING:
        if marks & _LENGTH:
            raise MalformedError("both Transfer-Encoding and Content-Length")
        if version == b"HTTP/1.0 ":
            raise MalformedError("Transfer-Encoding in HTTP/1.0")
        head.length = CHUNKED
    elif not marks & _LENGTH:
        head.length = UNTIL_CLOSE
    if not 100 <= status <= 599:
        raise MalformedError("a status that is none")
    if status < 200 or status == 204:
        if marks & _CODING or head.length > 0:
            raise MalformedError(f"a {status} with a body")
        head.length = 0
