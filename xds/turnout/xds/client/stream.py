"""One ADS stream over gRPC, as bytes: the only place that knows grpc.

A channel is made for each stream, with no state of the last one: gRPC's own back-off between connection attempts
would go on top of ours. Certificates are read each time, so that they may be replaced.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from turnout.xds.client.options import XdsOptions

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS = {"delta": f"{SERVICE}/DeltaAggregatedResources", "sotw": f"{SERVICE}/StreamAggregatedResources"}
CONNECT_TIMEOUT_MS = 5_000
MAX_REASON = 500
KEEPALIVE_MS = 310_000
"""gRPC servers take offence at pings that come more often than every 5 minutes."""


class StreamError(Exception):
    """There is no stream, or not any more; the text says why.

    `exhausted`: a message was too large, or the server has too much to do, so the next stream may end just so.
    """

    def __init__(self, reason: str, exhausted: bool = False) -> None:
        super().__init__(reason)
        self.exhausted = exhausted


class Stream:
    """`async with Stream(options) as stream`: `send` and iterate. Raises StreamError in any of these."""

    def __init__(self, options: XdsOptions) -> None:
        self._options = options

    async def __aenter__(self) -> "Stream":
        options = self._options
        self._channel = _open_channel(options)
        # No deserializer: gRPC would swallow its exceptions.
        self._call = self._channel.stream_stream(METHODS[options.variant], _serialize)()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()
        await self._channel.close()

    async def send(self, messages: Iterable[Message]) -> None:
        """Write these, in order; waits while the server does not read."""
        try:
            for message in messages:
                await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await self._reason() from error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._call:
                yield data
        except grpc.aio.AioRpcError as error:
            raise await self._reason() from error

    async def _reason(self) -> StreamError:
        code, details = await self._call.code(), await self._call.details()
        return StreamError(f"{code.name}: {details}"[:MAX_REASON], code is grpc.StatusCode.RESOURCE_EXHAUSTED)


def _open_channel(options: XdsOptions) -> Any:
    # Any: the stubs of grpc.aio ask for arguments that have defaults.
    arguments = [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]
    if options.ca is None:
        return grpc.aio.insecure_channel(options.address, arguments)
    try:
        credentials = grpc.ssl_channel_credentials(_read(options.ca), _read(options.key), _read(options.cert))
    except OSError as error:
        raise StreamError(f"{error.filename} can't be read: {error.strerror}") from error
    return grpc.aio.secure_channel(options.address, credentials, arguments)


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
