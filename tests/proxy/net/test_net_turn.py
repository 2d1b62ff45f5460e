"""Small messages go out at the end of the turn in which they were written, and only if they are still wanted."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from turnout.proxy.http.head import RequestHead, ResponseHead
from turnout.proxy.http1.response_head import ResponseHeads
from turnout.proxy.net import upstream
from turnout.proxy.net.turn import Turn
from turnout.proxy.net.upstream import UpstreamConnection


class Loop:
    """Runs what it is to call soon when it is told that a turn is over."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def end_turn(self) -> int:
        """How many calls there were to be made."""
        calls, self.soon = self.soon, []
        for call in calls:
            call()
        return len(calls)


class Connection:
    """Something with bytes to flush; `then` is done when it is flushed."""

    def __init__(self, flushed: list[str], name: str, then: Callable[[], None] = lambda: None) -> None:
        self._flushed = flushed
        self._name = name
        self._then = then

    def flush(self) -> None:
        self._flushed.append(self._name)
        self._then()


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.waiting = 0
        self.closing = self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class Ends:
    """An exchange that is told what its upstream answered, or how it ended."""

    def __init__(self) -> None:
        self.sent: list[bool] = []
        self.answers = 0

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        assert end
        self.answers += 1

    def on_upstream_gone(self, reason: str, sent: bool) -> None:
        self.sent.append(sent)


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_all_that_wait_are_flushed_in_their_order_by_one_call(loop: Loop) -> None:
    turn, flushed = Turn(loop.soon.append), list[str]()
    for name in "abc":
        turn.add(Connection(flushed, name))
    assert flushed == []
    assert loop.end_turn() == 1
    assert flushed == ["a", "b", "c"]


def test_who_comes_while_others_are_flushed_waits_for_the_next_turn(loop: Loop) -> None:
    turn, flushed = Turn(lambda call: loop.soon.append(call)), list[str]()
    turn.add(Connection(flushed, "a", then=lambda: turn.add(Connection(flushed, "b"))))
    assert loop.end_turn() == 1
    assert flushed == ["a"]
    assert loop.end_turn() == 1
    assert flushed == ["a", "b"]


def test_one_that_fails_keeps_nobody_else_from_being_flushed(loop: Loop) -> None:
    def fail() -> None:
        raise RuntimeError("the handle is closed")

    turn, flushed = Turn(lambda call: loop.soon.append(call)), list[str]()
    turn.add(Connection(flushed, "a", then=fail))
    turn.add(Connection(flushed, "b"))
    with pytest.raises(RuntimeError):
        loop.end_turn()
    assert loop.end_turn() == 1
    assert flushed == ["a", "b"]


def ask(loop: Loop, exchange: Ends) -> tuple[UpstreamConnection, Transport, list[str]]:
    """A connection on which a whole request was sent just now, its transport, and what its pool was told."""
    told: list[str] = []
    pool = SimpleNamespace(
        turn=Turn(loop.soon.append), put=lambda _: told.append("put"), forget=lambda _: told.append("forget")
    )
    cluster = SimpleNamespace(config=SimpleNamespace(pool_idle_timeout_s=4.0))
    connection = UpstreamConnection(cast(Any, pool), cast(Any, cluster), cast(Any, None), ResponseHeads(), 1024)
    transport = Transport()
    connection.connection_made(cast(asyncio.Transport, transport))
    head = RequestHead()
    head.method, head.path, head.authority = b"GET", b"/", b"h"
    connection.send_request(cast(Any, exchange), head, b"", True)
    return connection, transport, told


@pytest.mark.stand_in
def test_a_request_goes_out_when_its_turn_is_over(loop: Loop) -> None:
    connection, transport, _ = ask(loop, Ends())
    assert transport.written == []
    waiting = connection.unsent_bytes()
    loop.end_turn()
    assert transport.written == [b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"]
    assert (waiting, connection.unsent_bytes()) == (len(transport.written[0]), 0)


@pytest.mark.stand_in
def test_what_waited_when_the_endpoint_closed_was_never_sent(loop: Loop) -> None:
    """So it may be sent again, whatever its method is, and nobody need ask the kernel."""
    exchange = Ends()
    connection, transport, _ = ask(loop, exchange)
    connection.eof_received()
    transport.close()
    loop.end_turn()
    connection.connection_lost(None)
    assert transport.written == []
    assert exchange.sent == [False]


@pytest.mark.stand_in
def test_a_request_that_is_not_wanted_any_more_is_not_sent(loop: Loop) -> None:
    connection, transport, _ = ask(loop, Ends())
    connection.abort()
    transport.closing = False
    loop.end_turn()
    assert transport.written == []


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.stand_in
def test_who_answers_what_was_asked_is_asked_again(loop: Loop) -> None:
    exchange = Ends()
    connection, transport, told = ask(loop, exchange)
    loop.end_turn()
    connection.data_received(ANSWER)
    connection.give_back(1.0)
    assert (exchange.answers, exchange.sent) == (1, [])
    assert (told, transport.closing) == (["put"], False)


@pytest.mark.stand_in
@pytest.mark.parametrize("early", [ANSWER, b"HTTP/1.1 408 Request Timeout\r\n", b"\r\n"])
def test_what_comes_before_the_request_is_no_answer_to_it_and_it_was_never_sent(loop: Loop, early: bytes) -> None:
    """An endpoint that ends an idle connection says so with a 408, perhaps just then."""
    exchange = Ends()
    connection, transport, told = ask(loop, exchange)
    connection.data_received(early)
    assert (exchange.answers, exchange.sent, transport.closing) == (0, [False], True)
    loop.end_turn()
    connection.connection_lost(None)
    assert (transport.written, exchange.sent, told) == ([], [False], [])


@pytest.mark.stand_in
async def test_what_the_client_of_a_tunnel_said_last_is_sent_though_it_has_closed(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "TUNNEL_END_S", 0.0)
    connection, transport, _ = ask(loop, Ends())
    loop.end_turn()
    transport.waiting = 10
    connection.end_tunnel()
    assert (transport.closing, transport.aborted) == (True, False)
    async with asyncio.timeout(5):
        while not transport.aborted:  # an endpoint that does not take it keeps nothing open
            await asyncio.sleep(0)
