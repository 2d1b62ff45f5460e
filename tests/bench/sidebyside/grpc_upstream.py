"""The upstream of the rows of gRPC: `python grpc_upstream.py 9001 9002` answers calls on these ports of 127.0.0.1.

nginx, which answers the rows of HTTP/1, sends no trailers of its own. A call is read to its end and answered with a
fixed message of as many bytes as it had, and `grpc-status: 0` in trailers; or with 3 alone, if no answer is that long.
The port is in `x-upstream`. It has the load's core, and costs less for a call than the proxies do on theirs.
"""

import asyncio
import sys

import ngh2
import uvloop
from work import SHAPES

_ANSWERS = {shape.request_bytes: shape.answer for shape in SHAPES.values() if shape.grpc}
_OK, _INVALID_ARGUMENT = [(b"grpc-status", b"0")], [(b"grpc-status", b"3")]
_WINDOW_BYTES = 1 << 24


class Answering(asyncio.Protocol):
    """One connection of a proxy."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with SETTINGS. Windows are wide, so that no proxy waits for them."""
        self._transport = transport
        port = transport.get_extra_info("sockname")[1]
        self._head = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"x-upstream", b"%d" % port)]
        self._received: dict[int, int] = {}
        self._session = ngh2.Connection(ngh2.Role.SERVER)
        self._session.initiate_connection(
            {ngh2.Setting.INITIAL_WINDOW_SIZE: _WINDOW_BYTES, ngh2.Setting.MAX_CONCURRENT_STREAMS: 1_024}
        )
        self._session.set_local_window_size(_WINDOW_BYTES * 4)
        self._transport.write(self._session.data_to_send())

    def data_received(self, data: bytes) -> None:
        """Count the bytes of each call, and answer those that are complete."""
        session, received = self._session, self._received
        session.receive_data(data)
        for event in session.events():
            kind = type(event)
            if kind is ngh2.RequestReceived:
                received[event.stream_id] = 0
            elif kind is ngh2.DataReceived:
                received[event.stream_id] += len(event.data)
                if event.end_stream:
                    self._answer(event.stream_id, _ANSWERS.get(received[event.stream_id]))
            elif kind is ngh2.StreamClosed:
                received.pop(event.stream_id, None)
        self._transport.write(session.data_to_send())

    def _answer(self, stream_id: int, message: bytes | None) -> None:
        self._session.send_response(stream_id, self._head)
        if message is not None:
            self._session.send_data(stream_id, message)
        self._session.send_trailers(stream_id, _OK if message is not None else _INVALID_ARGUMENT)


async def serve(ports: list[int]) -> None:
    """Answer until SIGTERM ends the process."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Answering, "127.0.0.1", port, backlog=4096) for port in ports]
    await asyncio.gather(*[server.serve_forever() for server in servers])


if __name__ == "__main__":
    uvloop.run(serve([int(port) for port in sys.argv[1:]]))
