"""A listening socket that several processes have: one file description, whose flags are those of all."""

import asyncio
import os
import socket
from typing import Any, cast

import pytest

from turnout.proxy.net.listener import Listener

pytestmark = pytest.mark.stand_in


class Loop:
    """Looks whether the socket blocks in the moment in which it begins to accept."""

    def __init__(self) -> None:
        self.blocks: list[bool] = []

    async def create_server(self, factory: Any, sock: socket.socket, backlog: int) -> Any:
        self.blocks.append(os.get_blocking(sock.fileno()))
        sock.close()


async def test_to_begin_does_not_make_it_block_for_another_process() -> None:
    """That one may be in its last `accept`, and would wait there for ever."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        theirs.setblocking(False)
        loop = Loop()
        listener = Listener(cast(asyncio.AbstractEventLoop, loop), socket.socket(fileno=os.dup(theirs.fileno())))
        await listener.start(cast(Any, None))
        assert loop.blocks == [False]
        assert not os.get_blocking(theirs.fileno())
