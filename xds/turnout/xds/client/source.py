"""The xDS client as a Source: Snapshots out of what a control plane pushes.

* One task keeps a stream up, with jittered exponential back-off between attempts. It reads responses in a thread,
  and answers them; it never waits for what is made of them.
* `updates` makes Snapshots of what is live, in a thread too, and yields those that differ from the last one. While
  one is applied, pushes gather, and the next one has them all.
* The last Snapshot that was yielded and served is on disk, without its secrets. It is the first one after a restart,
  and the new one is made from nothing: what is on disk has no say in what the control plane is asked for.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from importlib.metadata import version

from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.message import DecodeError

from turnout.rules.diagnostics import Diagnostic
from turnout.rules.snapshot import Origin, Origins, Snapshot
from turnout.rules.source import Discovery, Loaded, Rejected, Secret, Update
from turnout.xds.client.backoff import BackOff
from turnout.xds.client.cache import CacheError, load_snapshot, save_snapshot
from turnout.xds.client.client import Client, Json
from turnout.xds.client.options import XdsOptions
from turnout.xds.client.stream import Stream, StreamError
from turnout.xds.client.warming import WARM_TIMEOUT_S, Live
from turnout.xds.resources import SECRET
from turnout.xds.translate.from_envoy import from_xds
from turnout.xds.translate.read.secrets import read_secrets

logger = logging.getLogger(__name__)

SETTLE_S = 0.01
"""Responses of one change come together: a moment makes one Snapshot of them."""
REPEATED_NACK_S = 1.0
"""A server may send again at once what was rejected; then it is not told so at once."""


class XdsSource:
    """A `turnout.rules.source.Source` over ADS."""

    def __init__(self, options: XdsOptions, warm_timeout_s: float = WARM_TIMEOUT_S) -> None:
        self._options = options
        self._client = Client(options, warm_timeout_s)
        self._back_off = BackOff()
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._asked = False
        self._exhausted = False
        self._from_cache = False
        self._cache_error = ""
        self._updated_at = 0.0
        self._served: Snapshot | None = None
        self._told: tuple[Secret, ...] = ()

    def reload(self) -> None:
        """Yield what there is again, and connect at once if that was waited with."""
        self._asked = True
        self._changed.set()
        self._hurry.set()

    def on_served(self, loaded: Loaded) -> None:
        """Keep this for a restart, once the next update is asked for."""
        self._served = loaded.snapshot

    def dump(self) -> Json:
        """The connection, and each resource with version and state."""
        now = asyncio.get_running_loop().time()
        cache = {"path": self._options.cache, "serves": self._from_cache, "error": self._cache_error or None}
        return {**self._client.dump(now), "cache": cache}

    def discovery(self) -> Discovery:
        """The connection, and how many responses were taken and refused."""
        client = self._client
        return Discovery(client.connection.is_up, dict(client.acks), dict(client.nacks), self._updated_at)

    async def updates(self) -> AsyncIterator[Update]:
        """The last good Snapshot, then one item a change, for ever."""
        connection = asyncio.create_task(self._stay_connected(), name="xDS stream")
        # A fault of ours in there must not leave a proxy that waits for nothing.
        connection.add_done_callback(lambda _: self._changed.set())
        try:
            snapshot = await self._load()
            if snapshot is not None:
                yield Loaded(snapshot, Origins())
            while True:
                asked = await self._wait()
                if connection.done():
                    connection.result()
                update = await self._look(snapshot, asked)
                if update is None:
                    continue
                yield update
                if isinstance(update, Loaded):
                    snapshot = update.snapshot
                    if snapshot is self._served:
                        await self._save(snapshot)
        finally:
            connection.cancel()
            await asyncio.gather(connection, return_exceptions=True)

    # Snapshots

    async def _wait(self) -> bool:
        """Wait until there is a reason to look; whether somebody asked for it."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._client.wake_at(loop.time())):
                await self._changed.wait()
        await asyncio.sleep(SETTLE_S)
        self._changed.clear()
        asked, self._asked = self._asked, False
        return asked

    async def _look(self, served: Snapshot | None, asked: bool) -> Update | None:
        """What there is to say now."""
        before = self._client.live
        if self._client.advance(asyncio.get_running_loop().time()):
            live = self._client.live
            for name in sorted(set(live.cold) - set(before.cold)):
                logger.warning("cluster %s has not come in time: its share is answered 503 (NC)", name)
            try:
                snapshot = await asyncio.to_thread(_build, live)
            except Exception as error:
                # Each resource was good. Whatever is wrong with all of them must not end what serves.
                logger.exception("no Snapshot can be made of what the control plane told")
                origin = Origin(f"xds://{self._options.address}", 1)
                return Rejected((Diagnostic("error", origin, "inconsistent", str(error)),))
            self._from_cache = False
            told = _tell_secrets(live)
            is_rotated, self._told = told != self._told, told
            if asked or is_rotated or snapshot != served:
                return Loaded(snapshot, Origins(), told_secrets=told)
        elif asked and served is not None:
            return Loaded(served, Origins(), told_secrets=self._told)
        return None

    async def _load(self) -> Snapshot | None:
        if self._options.cache is None:
            return None
        try:
            snapshot = await asyncio.to_thread(load_snapshot, self._options.cache)
        except CacheError as error:
            self._on_cache_error(error)
            return None
        self._from_cache = snapshot is not None
        return snapshot

    async def _save(self, snapshot: Snapshot) -> None:
        if self._options.cache is None or self._from_cache:
            return
        try:
            await asyncio.to_thread(save_snapshot, self._options.cache, snapshot)
            self._cache_error = ""
        except CacheError as error:
            self._on_cache_error(error)

    def _on_cache_error(self, error: CacheError) -> None:
        if str(error) != self._cache_error:
            logger.warning("%s", error)
        self._cache_error = str(error)

    # The stream

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._exhausted = False
            error = await self._follow_stream()
            if self._client.connection.is_up and not self._exhausted:
                self._back_off.reset()
            if self._client.connection.error != error:
                logger.warning("no control plane at %s: %s", self._options.address, error)
            self._client.on_disconnect(error, loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._back_off.next_s()):
                    await self._hurry.wait()
            self._hurry.clear()

    async def _follow_stream(self) -> str:
        """Open a stream and answer what comes on it; why it ended."""
        loop = asyncio.get_running_loop()
        try:
            async with Stream(self._options) as stream:
                await stream.send(self._client.on_connect(_node(self._options), loop.time()))
                async for data in stream:
                    await self._on_data(stream, data)
        except StreamError as error:
            self._exhausted = error.exhausted
            return str(error)
        except DecodeError:
            return "it sent what is no discovery response"
        except Exception:
            # A fault of ours that some message finds must not end what serves.
            logger.exception("a response could not be handled")
            return "a response could not be handled"
        return "it ended the stream"

    async def _on_data(self, stream: Stream, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        reading = await asyncio.to_thread(self._client.read, data)
        if reading is None:
            return
        if not self._client.connection.is_up:
            logger.info("connected to the control plane at %s", self._options.address)
        answers = self._client.on_reading(reading, loop.time())
        if not answers.reason:
            self._updated_at = time.time()
        self._changed.set()
        if answers.repeated:
            await asyncio.sleep(REPEATED_NACK_S)
        elif answers.reason:
            logger.error("rejected: %s", answers.reason)
        await stream.send(answers.requests)


def _tell_secrets(live: Live) -> tuple[Secret, ...]:
    return read_secrets(read.resource for read in live.resources[SECRET].values())


def _build(live: Live) -> Snapshot:
    resources = {
        type_url: {name: read.resource for name, read in reads.items()} for type_url, reads in live.resources.items()
    }
    return from_xds(resources, cold=live.cold)


def _node(options: XdsOptions) -> Node:
    node = Node(id=options.node_id, user_agent_name="turnout", user_agent_version=version("turnout"))
    node.metadata.update(options.metadata)
    return node
