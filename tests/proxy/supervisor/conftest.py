"""A supervisor with fake workers, in the test's own process or in one of its own."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from turnout.proxy.supervisor.options import Address, ProxyOptions
from turnout.proxy.supervisor.process import WORKER_COMMAND
from turnout.proxy.supervisor.supervisor import Supervisor
from turnout.rules.snapshot import (
    Backend,
    Cluster,
    Endpoint,
    Forward,
    Listener,
    Match,
    Origins,
    Route,
    Snapshot,
    VirtualHost,
)
from turnout.rules.source import Loaded, Update

HERE = Path(__file__).parent


def snapshot_of(name: str = "iris", address: str = "127.0.0.1", **changes: Any) -> Snapshot:
    """One listener, one route, one cluster; `name` makes it another version."""
    route = Route(f"default/{name}/0", Match(), Forward((Backend(f"default/{name}"),)))
    snapshot = Snapshot(
        listeners=(Listener("default", (VirtualHost("all", ("*",), (route,)),)),),
        clusters=(Cluster(f"default/{name}", (Endpoint(address, 9),)),),
    )
    return msgspec.structs.replace(snapshot, **changes)


async def until(condition: Callable[[], Any]) -> None:
    """Look again until the condition, which may be a coroutine function, holds."""
    async with asyncio.timeout(15):
        while True:
            holds = condition()
            if await holds if asyncio.iscoroutine(holds) else holds:
                return
            await asyncio.sleep(0.01)


class FakeSource:
    """Gives the updates that a test puts into it."""

    def __init__(self, *updates: Update) -> None:
        self.queue: asyncio.Queue[Update] = asyncio.Queue()
        self.reloads = 0
        self.served: list[Loaded] = []
        for update in updates:
            self.queue.put_nowait(update)

    async def updates(self) -> AsyncIterator[Update]:
        while True:
            yield await self.queue.get()

    def reload(self) -> None:
        self.reloads += 1

    def on_served(self, loaded: Loaded) -> None:
        self.served.append(loaded)

    def dump(self) -> None:
        """Nothing of its own."""

    def discovery(self) -> None:
        """No control plane."""

    def put(self, snapshot: Snapshot) -> None:
        self.queue.put_nowait(Loaded(snapshot, Origins()))


class FakeProxy:
    """A supervisor in this process. `wait_for` looks again until its condition holds."""

    def __init__(self, supervisor: Supervisor, source: FakeSource) -> None:
        self.supervisor = supervisor
        self.source = source
        self.running = asyncio.create_task(supervisor.run())
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        self.admin_url = "http://{}:{}".format(*supervisor.admin_socket.getsockname())

    @property
    def url(self) -> str:
        return f"http://{self.supervisor.sockets.listeners['default'].address}"

    async def admin(self, path: str, method: str = "GET", **arguments: Any) -> tuple[int, str]:
        async with self.session.request(method, self.admin_url + path, **arguments) as answer:
            return answer.status, await answer.text()

    async def admin_json(self, path: str) -> Any:
        return json.loads((await self.admin(path))[1])

    async def ask(self, path: str = "/") -> dict[str, Any]:
        async with self.session.get(self.url + path) as answer:
            return await answer.json(content_type=None)

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return (await self.admin("/ready"))[0] == 200

        await self.wait_for(is_ready)

    async def wait_for(self, condition: Callable[[], Any]) -> None:
        def checked() -> Any:
            if self.running.done():
                raise AssertionError(f"the proxy ended: {self.running!r}")
            return condition()

        await until(checked)

    async def reload(self, snapshot: Snapshot) -> None:
        """Put a Snapshot and wait until it was judged."""
        state = self.supervisor.state
        before = state.reload_successes + state.reload_failures
        self.source.put(snapshot)
        await self.wait_for(lambda: state.reload_successes + state.reload_failures > before)

    async def close(self) -> None:
        await self.session.close()
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running


@pytest.fixture
def make_snapshot() -> Callable[..., Snapshot]:
    return snapshot_of


@pytest.fixture
async def start_proxy() -> AsyncIterator[Callable[..., FakeProxy]]:
    """`start_proxy(snapshot, workers=1, fault="none", **Supervisor's arguments)`; fault `real` is a worker of ours."""
    proxies: list[FakeProxy] = []

    def start(
        *updates: Snapshot | Update, workers: int = 1, fault: str = "none", options: Any = None, **more: Any
    ) -> FakeProxy:
        source = FakeSource(*(Loaded(u, Origins()) if isinstance(u, Snapshot) else u for u in updates))
        free = Address("127.0.0.1", 0)
        chosen = ProxyOptions(listen=free, admin=free, workers=workers, **(options or {}))
        command = WORKER_COMMAND if fault == "real" else (sys.executable, str(HERE / "fake_worker.py"), fault)
        proxies.append(FakeProxy(Supervisor(chosen, source, worker_command=command, **more), source))
        return proxies[-1]

    yield start
    for proxy in proxies:
        await proxy.close()


class ProxyProcess:
    """A proxy in a process of its own, with its log."""

    def __init__(self, process: asyncio.subprocess.Process, admin: Address, log: Path, rules: Path) -> None:
        self.process = process
        self.admin_url = f"http://{admin}"
        self.log_file = log
        self.rules = rules
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))

    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def address(self) -> Address:
        host, port = re.findall(r"serves on ([\d.]+):(\d+)", self.log())[-1]
        return Address(host, int(port))

    async def wait_for_log(self, text: str, count: int = 1) -> None:
        await until(lambda: self.log().count(text) >= count)

    async def stats(self) -> dict[str, Any]:
        async with self.session.get(self.admin_url + "/stats") as answer:
            return await answer.json()

    async def ready(self) -> None:
        async def is_ready() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                async with self.session.get(self.admin_url + "/ready") as answer:
                    return answer.status == 200
            return False

        await until(is_ready)

    async def close(self) -> None:
        await self.session.close()
        pids = {int(pid) for pid in re.findall(r"handing over to pid (\d+)", self.log())} | {self.process.pid}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.process.wait()


@pytest.fixture
async def start_proxy_process(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Callable[..., Any]]:
    """`await start_proxy_process(snapshot, *arguments, **options)`."""
    proxies: list[ProxyProcess] = []

    async def start(snapshot: Snapshot, *arguments: str, **more: Any) -> ProxyProcess:
        rules, log = tmp_path / "rules.json", tmp_path / "proxy.log"
        rules.write_bytes(msgspec.json.encode(snapshot))
        admin = more.pop("admin", Address("127.0.0.1", unused_tcp_port))
        options = ProxyOptions(listen=more.pop("listen", Address("127.0.0.1", 0)), admin=admin, **more)
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(HERE / "fake_proxy.py"), msgspec.json.encode(options).decode(), str(rules),
                *arguments, stderr=stderr,
            )  # fmt: skip
        proxies.append(ProxyProcess(process, admin, log, rules))
        return proxies[-1]

    yield start
    for proxy in proxies:
        await proxy.close()
