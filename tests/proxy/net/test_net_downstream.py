"""What was answered in the turn in which a drain is over still goes out, and can be read."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from turnout.proxy.http.head import RequestHead, ResponseHead
from turnout.proxy.http1.request_head import RequestHeads
from turnout.proxy.net.downstream import LINGER_S, DownstreamConnection
from turnout.proxy.net.options import Options
from turnout.proxy.net.turn import Turn

pytestmark = pytest.mark.stand_in


class FakeTransport:
    """What was done with it, in its order."""

    def __init__(self) -> None:
        self.done: list[object] = []

    def get_extra_info(self, name: str) -> Any:
        """Its socket, once there is a connection to be torn."""
        return SimpleNamespace(setsockopt=lambda *_: self.done.append("reset")) if self.done else None

    def get_write_buffer_size(self) -> int:
        return sum(len(data) for data in self.done if isinstance(data, bytes))

    def is_closing(self) -> bool:
        return "abort" in self.done

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def write_eof(self) -> None:
        self.done.append("eof")

    def abort(self) -> None:
        self.done.append("abort")

    def resume_reading(self) -> None:
        """It was never paused."""


def accept(transport: FakeTransport, soon: list[Callable[[], None]]) -> DownstreamConnection:
    """A connection that was made at 1 s."""
    nothing = SimpleNamespace(look_up=lambda *_: None, add=lambda *_: None, wake_at=lambda *_: None)
    worker = SimpleNamespace(
        clock=lambda: 1.0, request_heads=RequestHeads(), options=Options(), trust=nothing, timers=nothing,
        connections=set(), services=SimpleNamespace(counters=nothing), turn=Turn(soon.append),
    )  # fmt: skip
    connection = DownstreamConnection(cast(Any, SimpleNamespace(worker=worker, closing=False)))
    connection.connection_made(cast(Any, transport))
    return connection


def answer(connection: DownstreamConnection) -> None:
    """A request of it is answered whole."""
    head = RequestHead()
    head.minor, head.keep_alive = 1, True
    connection._exchange = cast(Any, SimpleNamespace(head=head))
    connection.send_response(ResponseHead([], 204), b"", True, False)
    connection.on_exchange_done(True, 1.0)


def test_the_last_answer_of_a_turn_goes_out_although_the_drain_is_over() -> None:
    transport, soon = FakeTransport(), list[Callable[[], None]]()
    connection = accept(transport, soon)
    answer(connection)
    assert transport.done == []
    connection.close_now()
    sent, *then = transport.done
    assert cast(bytes, sent).startswith(b"HTTP/1.1 204 ")
    assert then == ["eof"]
    assert connection.on_timer(1.0 + LINGER_S) == float("inf")
    assert transport.done[2:] == ["abort"]


def test_a_client_that_has_all_is_not_waited_for() -> None:
    transport = FakeTransport()
    accept(transport, []).close_now()
    assert transport.done == ["abort"]


@pytest.mark.parametrize("later_s", [0.0, LINGER_S / 2])
def test_what_lingers_is_not_cut_by_a_wake_for_something_older_and_not_later_than_it_says(later_s: float) -> None:
    transport = FakeTransport()
    connection = accept(transport, [])
    answer(connection)
    connection.close_now()
    assert connection.on_timer(1.0 + later_s) == 1.0 + LINGER_S
    assert "abort" not in transport.done


@pytest.mark.parametrize(("until_close", "then"), [(True, ["eof", "reset", "abort"]), (False, ["eof", "abort"])])
def test_an_answer_that_only_the_end_would_end_is_torn_by_a_reset_also_when_its_exchange_is_over(
    until_close: bool, then: list[str]
) -> None:
    transport = FakeTransport()
    connection = accept(transport, [])
    answer(connection)
    connection._until_close = until_close
    connection.close_now()
    connection.on_timer(1.0 + LINGER_S)  # and the client has not read all of it
    assert transport.done[1:] == then
