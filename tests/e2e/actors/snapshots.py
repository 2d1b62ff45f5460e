"""A supervisor in the test's own process, with real workers, that is given Snapshots; for what rules do not say."""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

from actors.proxy import until
from actors.wire import Message, connect

from turnout.proxy.net.options import Options
from turnout.proxy.supervisor.options import Address, ProxyOptions
from turnout.proxy.supervisor.supervisor import Supervisor
from turnout.rules.snapshot import Cluster, Listener, Origins, Route, Snapshot, VirtualHost
from turnout.rules.source import Loaded, Update


def snapshot_of(*routes: Route, clusters: tuple[Cluster, ...] = (), **more: Any) -> Snapshot:
    """One listener with routes for every host; it is checked."""
    snapshot = Snapshot((Listener("default", (VirtualHost("all", ("*",), routes),)),), clusters, **more)
    snapshot.check()
    return snapshot


class SnapshotProxy:
    """`async with SnapshotProxy(snapshot) as proxy`: one worker that serves it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._updates: asyncio.Queue[Update] = asyncio.Queue()
        self._updates.put_nowait(Loaded(snapshot, Origins()))
        free = Address("127.0.0.1", 0)
        options = ProxyOptions(listen=free, admin=free, workers=1, worker=Options(access_log="off"))
        self._supervisor = Supervisor(options, self)
        self._running: asyncio.Task[int] | None = None

    async def __aenter__(self) -> "SnapshotProxy":
        self._running = asyncio.create_task(self._supervisor.run())
        await until(lambda: not self._supervisor.why_not_ready())
        (bound,) = self._supervisor.sockets.listeners.values()
        self.port = bound.address.port
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._running is not None
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    # The source

    async def updates(self) -> AsyncIterator[Update]:
        while True:
            yield await self._updates.get()

    def reload(self) -> None:
        """Nothing changes by itself."""

    def on_served(self, loaded: Loaded) -> None:
        """Nothing is kept."""

    def dump(self) -> None:
        """Nothing of its own."""

    def discovery(self) -> None:
        """No control plane."""

    # What a test does

    async def apply(self, snapshot: Snapshot) -> None:
        """Serve this from now on."""
        version = snapshot.version()
        self._updates.put_nowait(Loaded(snapshot, Origins()))
        await until(lambda: (served := self._supervisor.state.served) and served.version == version)

    async def ask(self, start: str = "GET /", *fields: str) -> Message:
        """One request on a connection of its own."""
        client = await connect(self.port)
        lines = (f"{start} HTTP/1.1", "Host: h.example", *fields, "Connection: close", "", "")
        await client.send("\r\n".join(lines).encode())
        answer = await client.read_response(start.split()[0])
        client.close()
        return answer

    async def admin(self, path: str) -> Any:
        host, port = self._supervisor.admin_socket.getsockname()[:2]

        def get() -> Any:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
                return json.load(answer)

        return await asyncio.to_thread(get)

    async def counted(self, flag: str, code_class: str, count: int) -> None:
        """Wait until that many requests have ended so: a client has its answer before it is counted."""

        async def are_counted() -> bool:
            rows = [row for route in (await self.admin("/stats"))["routes"] for row in route["requests"]]
            return sum(r["count"] for r in rows if (r["flag"], r["code_class"]) == (flag, code_class)) == count

        await until(are_counted)
