"""Heads and bodies to bytes. What goes out is always framed here, whatever framing it came with."""

from http import HTTPStatus
from typing import Final

from turnout.proxy.http.head import CHUNKED, UNTIL_CLOSE, Data, Fields, RequestHead, ResponseHead
from turnout.proxy.http.names import Mark

_LENGTH: Final = int(Mark.CONTENT_LENGTH)

STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}
LAST_CHUNK: Final = b"0\r\n\r\n"


def encode_request(head: RequestHead, data: Data, end: bool) -> bytes:
    """The head for an upstream, with the body that is already there (`end`: all of it)."""
    target = head.path if head.query is None else head.target
    parts: list[Data] = [head.method, b" ", target, b" HTTP/1.1\r\nhost: ", head.authority, head.block]
    if head.upgrade:
        parts.append(b"\r\nconnection: upgrade\r\nupgrade: %b" % head.upgrade)
    if head.length == CHUNKED:
        parts += (b"\r\ntransfer-encoding: chunked\r\n\r\n", encode_chunk(data, end, head.trailers))
    elif head.marks & _LENGTH:
        parts += (b"\r\ncontent-length: %d\r\n\r\n" % head.length, data)
    else:
        parts.append(b"\r\n\r\n")
    return b"".join(parts)


def encode_response(head: ResponseHead, data: Data, end: bool, connection: bytes) -> bytes:
    """The head for a downstream, with the body that is already there; `connection` is that field's value or empty.

    `head.length` is CHUNKED only towards HTTP/1.1; UNTIL_CLOSE has no framing field.
    """
    parts: list[Data] = [STATUS_LINES.get(head.status) or b"HTTP/1.1 %d " % head.status, head.block]
    if connection:
        parts.append(b"\r\nconnection: %b" % connection)
    if head.upgrade:
        parts.append(b"\r\nupgrade: %b" % head.upgrade)
    if head.length == CHUNKED:
        body = b"" if head.bodyless else encode_chunk(data, end, head.trailers)
        parts += (b"\r\ntransfer-encoding: chunked\r\n\r\n", body)
    elif head.length == UNTIL_CLOSE or head.status < 200 or head.status == 204:
        parts += (b"\r\n\r\n", data)
    else:
        parts += (b"\r\ncontent-length: %d\r\n\r\n" % head.length, data)
    return b"".join(parts)


def encode_chunk(data: Data, end: bool, trailers: Fields) -> bytes:
    """`data` as one chunk (none if it is empty), and the last chunk with the trailers if this is the end."""
    chunk = b"".join((b"%x\r\n" % len(data), data, b"\r\n")) if data else b""
    if not end:
        return chunk
    if not trailers:
        return chunk + LAST_CHUNK
    return b"%b0\r\n%b\r\n\r\n" % (chunk, b"\r\n".join(map(b": ".join, trailers)))
