"""A copy's answer is read in slices, also when its connection has ended in the meantime: only then it is judged."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from turnout.proxy.http.head import CHUNKED, RequestHead, ResponseHead
from turnout.proxy.http1.response_head import ResponseHeads
from turnout.proxy.net import upstream
from turnout.proxy.net.upstream import SLICE_BYTES, UpstreamConnection

pytestmark = pytest.mark.stand_in

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = b"1\r\nx\r\n"
COUNT = 2_000
ANSWER = HEAD + CHUNK * COUNT + b"0\r\n\r\n"


class FakeTransport:
    def __init__(self, sock: socket.socket | None) -> None:
        self.closing = False
        self._sock = sock

    def get_extra_info(self, name: str) -> socket.socket | None:
        return self._sock

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        assert not self.closing, "uvloop raises, of a transport that is closed"
        return 0

    def write(self, data: bytes) -> None:
        assert not self.closing, "uvloop raises, of a transport that is closed"

    def pause_reading(self) -> None:
        """Nothing comes but by the test."""

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.closing = True

    abort = close


class FakePool:
    def __init__(self) -> None:
        self.turn = SimpleNamespace(add=lambda connection: connection.flush())

    def forget(self, connection: UpstreamConnection) -> None: ...


class Copy:
    """A shadow that waits after each slice."""

    tunnel = False

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.connection: UpstreamConnection
        self.body = b""
        self.slices = 0
        self.end = ""

    def is_copy(self) -> bool:
        return True

    def on_slice(self, size: int) -> None:
        assert size <= SLICE_BYTES
        self.slices += 1

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        self.on_response_body(data, end)

    def on_response_body(self, data: bytes, end: bool) -> None:
        self.body += data
        if end:
            self.end = "answered"
            self.connection.abort()
        else:
            self.connection.pause_reading()

    def on_upstream_gone(self, reason: str, sent: bool) -> None:
        self.end = "gone"

    def on_upstream_malformed(self, reason: str) -> None:
        self.end = "malformed"
        self.connection.abort()


def ask(tls: Any = None, sock: socket.socket | None = None) -> tuple[UpstreamConnection, FakeTransport, Copy]:
    """A connection that a copy was sent on; with a `sock` the end of its body is still to come."""
    config = SimpleNamespace(config=SimpleNamespace(pool_idle_timeout_s=4.0))
    connection = UpstreamConnection(
        cast(Any, FakePool()), cast(Any, config), cast(Any, None), ResponseHeads(), 1024, tls
    )
    transport, head = FakeTransport(sock), RequestHead()
    connection.connection_made(cast(asyncio.Transport, transport))
    head.method, head.path, head.authority, head.length = b"POST", b"/", b"h", CHUNKED if sock else 0
    copy = Copy(head)
    copy.connection = connection
    connection.send_request(cast(Any, copy), head, b"", not sock)
    return connection, transport, copy


async def read_on(connection: UpstreamConnection, copy: Copy) -> None:
    """Let it go on as often as it takes to come to an end."""
    async with asyncio.timeout(5):
        while not copy.end:
            connection.resume_reading()
            await asyncio.sleep(0)


async def test_an_answer_that_was_whole_when_its_connection_ended_is_one() -> None:
    """As over TLS, where the end comes in the same read as the last of the answer."""
    connection, transport, copy = ask(tls=object())
    connection.data_received(ANSWER)
    connection.eof_received()
    transport.close()
    connection.connection_lost(None)
    assert (copy.end, copy.slices) == ("", 1)
    assert connection.unsent_bytes() == len(ANSWER) - SLICE_BYTES
    await read_on(connection, copy)
    assert (copy.end, len(copy.body), copy.slices) == ("answered", COUNT, -(-len(ANSWER) // SLICE_BYTES))
    assert connection.unsent_bytes() == 0


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_one_that_was_torn_is_none_once_all_of_it_is_read(error: Exception | None) -> None:
    connection, transport, copy = ask()
    connection.data_received(ANSWER[:-4])
    transport.close()
    connection.connection_lost(error)
    assert copy.end == ""
    await read_on(connection, copy)
    assert (copy.end, len(copy.body)) == ("gone", COUNT)


async def test_one_that_is_not_wanted_any_more_is_dropped_with_its_connection() -> None:
    connection, transport, copy = ask()
    connection.data_received(ANSWER)
    transport.close()
    connection.connection_lost(ConnectionResetError())
    connection.resume_reading()
    connection.abort()
    await asyncio.sleep(0)
    assert (copy.end, copy.slices) == ("", 1)


async def test_what_a_broken_upload_left_in_the_socket_is_read_in_slices_and_not_without_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstream, "READ_BYTES", 10_000)
    monkeypatch.setattr(upstream, "REST_BYTES", 20_000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection, transport, copy = ask(sock=ours)
        theirs.sendall(HEAD + CHUNK * 10_000)
        transport.close()
        connection.connection_lost(BrokenPipeError())
        assert copy.slices == 1
        await read_on(connection, copy)
        assert (copy.end, copy.slices) == ("gone", -(-20_000 // SLICE_BYTES))


async def test_more_of_an_upload_whose_connection_has_ended_goes_nowhere_and_nothing_is_left_open() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        connection, transport, copy = ask(sock=ours)
        spare = connection._spare
        connection.data_received(ANSWER)
        transport.close()
        connection.connection_lost(ConnectionResetError())
        connection.send_body(b"more", False)
        assert (copy.end, copy.slices) == ("", 1), "what came of the answer still waits"
        connection.abort()
        assert spare is not None
        assert spare.fileno() == -1
