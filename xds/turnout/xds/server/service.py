"""The discovery service on gRPC: ADS in both variants, and CSDS. The shell around the sessions.

It holds what all streams share: the sets of resources, the rejections, what was serialised, the numbers. All of it
belongs to the loop's thread.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from turnout.xds.resources import Resources
from turnout.xds.server.counters import Counters
from turnout.xds.server.csds import ClientStatusService
from turnout.xds.server.delta import DeltaSession
from turnout.xds.server.encode import Encode, Encoder
from turnout.xds.server.node import read_node
from turnout.xds.server.provider import Memory, Provider
from turnout.xds.server.rejections import Rejections
from turnout.xds.server.resource_set import ResourceSet
from turnout.xds.server.session import Session
from turnout.xds.server.sotw import SotwSession
from turnout.xds.server.status import ProxyStatus, describe_types
from turnout.xds.server.stream import END, Stream, read_request
from turnout.xds.server.subscription import BadRequest

logger = logging.getLogger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
MAX_STREAMS = 10_000
"""Open at once, whether they have said something or not."""
FIRST_REQUEST_S = 15.0
"""A stream that says nothing for so long is ended."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
)
"""For the grpc.aio.Server: clients that are gone are found by pings, and a taken port is an error."""


class AdsServer:
    """Serves what `provider` gives. `clock` counts seconds, `wall` seconds since the epoch."""

    def __init__(
        self,
        provider: Provider,
        memory: Memory,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.counters = Counters()
        self._provider = provider
        self._rejections = Rejections(memory, provider)
        self._clock = clock
        self._wall = wall
        self._encoder = Encoder()
        self._streams: dict[Stream, None] = {}
        self._sets: dict[int, ResourceSet] = {}
        self._changed_at = 0.0
        self._unsettled: set[Stream] = set()
        self._calls = 0
        """Streams, with those that have said nothing yet."""
        self._is_ending = False

    def add_to(self, server: grpc.aio.Server) -> None:
        """Offer the services on a gRPC server that was not started yet."""
        methods = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._stream, request_deserializer=DiscoveryRequest.FromString
            ),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._delta, request_deserializer=DeltaDiscoveryRequest.FromString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        ClientStatusService(self.statuses).add_to(server)

    def on_change(self, since: float | None = None) -> None:
        """The provider gives something else. `since` is when the change was accepted, by the clock; default now.

        Costs next to nothing for a client that gets what it got before.
        """
        self._changed_at = self._clock() if since is None else since
        self._unsettled.clear()
        before, self._sets = self._sets, {}
        for stream in self._streams:
            try:
                resources = self._share(self._provider.resources_for(stream.node), before)
            except Exception:
                logger.exception("nothing is known for the node %r; it keeps what it has", stream.node.id)
                continue
            if stream.on_change(resources):
                self._unsettled.add(stream)

    def end(self) -> None:
        """End all streams, before their gRPC server is stopped: that would break them off, and log each."""
        self._is_ending = True
        for stream in self._streams:
            stream.end()

    def statuses(self) -> list[ProxyStatus]:
        """Each connected client, the longest connected first."""
        now = self._clock()
        epoch = self._wall() - now
        return [
            ProxyStatus(
                stream.node,
                stream.session.variant,
                stream.peer,
                stream.session.opened_at + epoch,
                describe_types(stream.session, now, epoch),
            )
            for stream in self._streams
        ]

    @property
    def connected(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    # Streams

    async def _stream(self, _: AsyncIterator[DiscoveryRequest], context: Any) -> None:
        await self._serve(context, SotwSession, self._encoder.sotw)

    async def _delta(self, _: AsyncIterator[DeltaDiscoveryRequest], context: Any) -> None:
        await self._serve(context, DeltaSession, self._encoder.delta)

    async def _serve(self, context: Any, kind: type[Session[Any]], encode: Encode) -> None:
        if self._calls >= MAX_STREAMS:
            self.counters.refused_streams += 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_STREAMS} streams are open")
        self.counters.streams += 1
        self._calls += 1
        try:
            await self._serve_one(context, kind, encode)
        except BadRequest as error:
            self.counters.refused_streams += 1
            logger.warning("a stream from %s ends: %s", context.peer(), error)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._calls -= 1

    async def _serve_one(self, context: Any, kind: type[Session[Any]], encode: Encode) -> None:
        try:
            async with asyncio.timeout(FIRST_REQUEST_S):
                first = await read_request(context)
        except TimeoutError:
            return
        if first is END:
            return
        try:
            stream = self._open(first, context.peer(), kind, encode)
        except Exception:
            logger.exception("nothing is known for a new client at %s", context.peer())
            await context.abort(grpc.StatusCode.UNAVAILABLE, "nothing is known for this node")
        stream.take(first)
        # It has been read. Envoy's has 77 KB of extensions, and anybody's may have megabytes.
        del first
        await self._converse(stream, context)
        if self._is_ending:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the control plane ends")

    async def _converse(self, stream: Stream, context: Any) -> None:
        """Until one of both ends. Raises BadRequest."""
        self._streams[stream] = None
        reader = asyncio.create_task(stream.read(context))
        writer = asyncio.create_task(stream.write(context))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            await (reader if reader.done() else writer)
        finally:
            self._close(stream)
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    def _open(self, first: Any, peer: str, kind: type[Session[Any]], encode: Encode) -> Stream:
        node = read_node(first.node)
        resources = self._share(self._provider.resources_for(node), self._sets)
        # Those that tell no name must not share what they have rejected.
        key = node.id or f"unnamed client {self.counters.streams}"
        session = kind(key, resources, self._rejections, self.counters, self._clock())
        return Stream(node, peer, session, encode, self._clock, self._on_settled)

    def _close(self, stream: Stream) -> None:
        del self._streams[stream]
        self._on_settled(stream)

    def _on_settled(self, stream: Stream) -> None:
        if stream in self._unsettled:
            self._unsettled.discard(stream)
            if not self._unsettled:
                self.counters.convergence.observe(self._clock() - self._changed_at)

    def _share(self, resources: Resources, before: dict[int, ResourceSet]) -> ResourceSet:
        """The one set for these resources. A set holds its resources, so that their identity stands for them."""
        key = id(resources)
        found = self._sets.get(key) or before.get(key) or ResourceSet(resources)
        self._sets[key] = found
        return found
