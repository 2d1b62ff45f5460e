"""One request over HTTP/2, with prior knowledge or over TLS, on a connection of its own: what a health check asks with.

The codec is the data plane's (`http2.session`). Whatever ends the connection or the stream before the answer is whole
is a ConnectionError. Of an answer beyond the bound the rest is not read. Time is the caller's to limit.
"""

import asyncio

from turnout.proxy.http.head import Data, Fields
from turnout.proxy.http2.never_indexed import FieldTuple
from turnout.proxy.http2.session import Error, Session
from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.proxy.supervisor.options import Address

MAX_HEAD_BYTES = 65_536
READ_BYTES = 65_536


class Answer:
    """What came of it; the session's handler. With `max_body_bytes` of it the answer is taken for whole."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self.status = 0
        self.fields: Fields = []
        self.body = b""
        self.trailers: Fields = []
        self.failure = ""
        self.unacknowledged = 0
        self.ended = False

    def on_head(self, stream_id: int, fields: FieldTuple, data: bytes, end: bool, trailers: FieldTuple | None) -> None:
        self.fields = [field for field in fields if field[0] != b":status"]
        self.status = int(dict(fields)[b":status"])
        self.trailers = list(trailers or ())
        self.on_data(stream_id, data, end)

    def on_interim(self, stream_id: int, fields: FieldTuple) -> None:
        """An answer is to follow."""

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        self.body += data
        self.unacknowledged += len(data)
        self.ended = self.ended or end or len(self.body) > self._max_body_bytes

    def on_trailers(self, stream_id: int, fields: FieldTuple) -> None:
        self.trailers = list(fields)
        self.ended = True

    def on_closed(self, stream_id: int, code: int) -> None:
        if not self.ended:
            name = Error(code).name if code in Error._value2member_map_ else f"error {code}"
            self.failure = f"stream reset: {name}"

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        """The stream is closed, if it is not to be served."""

    def on_settings(self) -> None:
        """The session keeps to them."""

    def on_ping_acknowledged(self) -> None:
        """Of a PING that nobody sends."""

    def on_abuse(self, what: str) -> None:
        self.failure = f"a flood of {what}"


async def connect(address: Address, tls: UpstreamContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection of its own. Raises OSError if there is none."""
    if tls is None:
        return await asyncio.open_connection(*address)
    return await asyncio.open_connection(*address, ssl=tls.context, server_hostname=tls.server_name)


async def ask(address: Address, tls: UpstreamContext | None, head: Fields, body: Data, max_body_bytes: int) -> Answer:
    """Send one request and wait for all of its answer. Raises OSError if there is none."""
    reader, writer = await connect(address, tls)
    try:
        return await _exchange(reader, writer, head, body, max_body_bytes)
    finally:
        writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Fields, body: Data, max_body_bytes: int
) -> Answer:
    clock = asyncio.get_running_loop().time
    answer = Answer(max_body_bytes)
    session = Session(answer, server=False, max_head_bytes=MAX_HEAD_BYTES, now=clock())
    stream_id = session.open(head, end=not body)
    if not stream_id:
        raise ConnectionError("the request can't be sent")
    if body:
        session.send(stream_id, body, end=True)
    while not answer.ended:
        while data := session.take(clock()):
            writer.write(data)
        await writer.drain()
        if answer.failure or session.ended:
            raise ConnectionError(answer.failure or "the answer is not valid HTTP/2")
        received = await reader.read(READ_BYTES)
        if not received:
            raise ConnectionError("the connection was closed")
        session.feed(received, clock())
        session.acknowledge(stream_id, answer.unacknowledged)
        answer.unacknowledged = 0
    return answer
