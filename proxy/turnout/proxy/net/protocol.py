"""What the loop is told that our connections are.

The loop asks a protocol for its methods and never for its base class, so the connections of HTTP/1 have none: a class
with an interpreted base could not be compiled to an extension type.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast


class Connection(Protocol):
    """The methods that the loop calls (`asyncio.Protocol`)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, error: Exception | None, /) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


def as_protocol(connection: Connection) -> asyncio.Protocol:
    """The connection, as the loop's types have it."""
    return cast(asyncio.Protocol, connection)


def as_factory(make: Callable[[], Connection]) -> Callable[[], asyncio.Protocol]:
    """The same of what makes one."""
    return cast(Callable[[], asyncio.Protocol], make)
