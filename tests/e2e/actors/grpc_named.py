"""A model server of gRPC (grpcio), and clients of it: one handler for calls of all four kinds."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, NamedTuple

import grpc
import grpc.aio

Metadata = tuple[tuple[str, str | bytes], ...]


class Call(NamedTuple):
    """What the server saw of a call."""

    method: str
    metadata: dict[str, str | bytes]


class GrpcModel(grpc.GenericRpcHandler):
    """`async with GrpcModel("v1") as v1`: listens on `v1.port`. It answers each message of a call with its name and the
    message; a method `Collect` answers once, with how many there were; `Wait` never. `fails` is a status for all calls.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.seen: list[Call] = []
        self.waiting = 0
        self.fails: grpc.StatusCode | None = None
        self._server: Any = None

    def service(self, handler_call_details: Any) -> Any:
        call = Call(handler_call_details.method, dict(handler_call_details.invocation_metadata))
        self.seen.append(call)

        async def answer(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            if self.fails is not None:
                await context.abort(self.fails, f"{self.name} fails")
            context.set_trailing_metadata((("x-by", self.name), ("x-seal-bin", b"\x00\xff")))
            if call.method.endswith("/Wait"):
                await self._wait()
            collected = [message async for message in requests] if call.method.endswith("/Collect") else None
            if collected is not None:
                yield b"%b %d" % (self.name.encode(), len(collected))
                return
            async for message in requests:
                yield b"%b %b" % (self.name.encode(), message)

        return grpc.stream_stream_rpc_method_handler(answer)

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1

    async def __aenter__(self) -> "GrpcModel":
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(None)


def open_channel(port: int, host: str, address: str = "127.0.0.1") -> Any:
    """A channel for this host; to be closed."""
    options = [("grpc.default_authority", host), ("grpc.max_receive_message_length", -1)]
    return grpc.aio.insecure_channel(f"{address}:{port}", options=options)


async def call_once(channel: Any, method: str, *metadata: tuple[str, str | bytes], body: bytes = b"") -> str:
    """A unary call: what answered, or the name of its status."""
    try:
        answer: bytes = await channel.unary_unary(method)(body, timeout=10, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return answer.decode().strip()
