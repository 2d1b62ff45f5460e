"""The end of a tunnel to an HTTP/2 endpoint: in order if the endpoint takes it, and in any case."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from turnout.proxy.http2.session import Error
from turnout.proxy.net import http2_upstream
from turnout.proxy.net.http2_upstream import UpstreamStream

pytestmark = pytest.mark.stand_in


class FakeSession:
    """What was said on its streams."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def send(self, stream_id: int, data: bytes, *, end: bool) -> None:
        self.told.append("end" if end else data)

    def reset(self, stream_id: int, code: Error) -> None:
        self.told.append(code)

    def acknowledge(self, stream_id: int, amount: int) -> None:
        self.told.append(amount)


class FakeConnection:
    def __init__(self) -> None:
        self.session = FakeSession()
        self.sending: set[Any] = set()
        self.returned = 0

    def schedule_flush(self) -> None:
        """All is told at once."""

    def on_returned(self) -> None:
        self.returned += 1


def begin_tunnel(connection: FakeConnection) -> UpstreamStream:
    """A stream that is a tunnel by now, whose client reads nothing for the moment."""
    stream = UpstreamStream(cast(Any, connection))
    stream.id = 1
    stream._exchange = cast(Any, SimpleNamespace(tunnel=True, on_upstream_tunnel_data=lambda data: None))
    stream.pause_reading()
    stream.on_data(b"held", False)
    return stream


async def test_a_tunnel_is_lent_until_both_sides_have_ended_it() -> None:
    connection = FakeConnection()
    stream = begin_tunnel(connection)
    stream.send_tunnel_data(b"last words")
    stream.end_tunnel()
    stream.on_data(b"for nobody", False)
    assert connection.session.told == [b"last words", 4, "end", 10]
    assert connection.returned == 0
    stream.on_closed(0)
    assert connection.returned == 1


async def test_an_endpoint_that_does_not_end_a_tunnel_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http2_upstream, "TUNNEL_END_S", 0.0)
    connection = FakeConnection()
    begin_tunnel(connection).end_tunnel()
    async with asyncio.timeout(5):
        while not connection.returned:
            await asyncio.sleep(0)
    assert connection.session.told == [4, "end", Error.CANCEL]


async def test_a_tunnel_that_is_over_is_not_reset_when_its_time_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_upstream, "TUNNEL_END_S", 0.0)
    connection = FakeConnection()
    stream = begin_tunnel(connection)
    stream.end_tunnel()
    stream.on_gone("", True)
    later = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.0, later.set_result, None)
    await later
    assert connection.session.told == [4, "end"]
    assert connection.returned == 1
