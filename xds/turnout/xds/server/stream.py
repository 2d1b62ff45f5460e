"""One gRPC stream around a session: a reader that feeds it, a writer that sends what it says, one after the other.

What waits to be written is bounded by the session: one response of each type. A change is noted at once and told by the
writer when its turn comes, if it concerns the client; so many clients share the loop, and one that does not read costs
nothing but its memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from turnout.xds.server.encode import Encode
from turnout.xds.server.node import Node
from turnout.xds.server.resource_set import ResourceSet
from turnout.xds.server.session import Session
from turnout.xds.server.subscription import BadRequest
from turnout.xds.server.substream import Response

END: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # its stubs do not know it
"""What `read` gives when the client has said everything."""
LAST_WRITE_S = 1.0
"""How long a stream that ends may still take to write what it has begun to."""


class Stream:
    """A client that is connected. `on_settled` is called each time it has answered everything."""

    def __init__(
        self,
        node: Node,
        peer: str,
        session: Session[Any],
        encode: Encode,
        clock: Callable[[], float],
        on_settled: Callable[["Stream"], None],
    ) -> None:
        self.node = node
        self.peer = peer
        self.session = session
        self._encode = encode
        self._clock = clock
        self._on_settled = on_settled
        self._outbox: deque[Response] = deque()
        self._wake = asyncio.Event()
        self._is_ending = False

    def on_change(self, resources: ResourceSet) -> bool:
        """There are other resources. Whether they concern the client, and it keeps up."""
        if not self.session.look(resources):
            return False
        self._wake.set()
        return not self.session.is_stale(self._clock())

    def take(self, request: Any) -> None:
        """Take a request. Raises BadRequest."""
        self._send(self.session.on_request(request, self._clock()))

    def end(self) -> None:
        """Let `write` return, once it has written what it has begun to."""
        self._is_ending = True
        self._wake.set()

    async def read(self, context: Any) -> None:
        """Take requests until the client ends. Raises BadRequest."""
        while (request := await read_request(context)) is not END:
            self.take(request)
            del request  # it may be large, and the next one far away

    async def write(self, context: Any) -> None:
        """Send what there is to send, until `end`."""
        counters = self.session.counters
        while not self._is_ending:
            while self._outbox:
                response = self._outbox.popleft()
                message = self._encode(response)
                counters.on_push(response.type_url, len(message))
                await write_message(context, message)
            await self._wait()
            self._wake.clear()
            self._send(self.session.flush(self._clock()))

    def _send(self, responses: list[Response]) -> None:
        self._outbox.extend(responses)
        if self._outbox:
            self._wake.set()
        elif self.session.is_settled:
            self._on_settled(self)

    async def _wait(self) -> None:
        now = self._clock()
        end = self.session.wake_at(now)
        try:
            async with asyncio.timeout(None if end is None else max(0.0, end - now)):
                await self._wake.wait()
        except TimeoutError:
            return


async def read_request(context: Any) -> Any:
    """The next request, or END. Raises BadRequest.

    Not gRPC's iterator of requests: that keeps each until the next one comes.
    """
    try:
        return await context.read()
    except DecodeError as error:
        raise BadRequest("what came is no discovery request") from error


async def write_message(context: Any, message: bytes) -> None:
    """Write it; what has begun is ended although the caller is cancelled, for LAST_WRITE_S."""
    write = asyncio.ensure_future(context.write(message))
    try:
        await asyncio.shield(write)
    except asyncio.CancelledError:
        # gRPC can't end a call with a status while a write of ours is under way.
        write.add_done_callback(_expect)
        await asyncio.wait((write,), timeout=LAST_WRITE_S)
        write.cancel()
        raise


def _expect(write: "asyncio.Future[None]") -> None:
    """That the last write to a client that has gone fails is no news; asyncio logs what nobody looks at."""
    if not write.cancelled():
        write.exception()
