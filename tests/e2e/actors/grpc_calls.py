"""gRPC model servers (`grpc_model`) in the hands of a test, a proxy before them, and channels through it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from actors.proxy import Proxy

PROGRAM = Path(__file__).with_name("grpc_model.py")
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]
"""Of channels: what is tried again is the proxy's to say."""

CALLS = "/test.Calls/"


class GrpcModel:
    """One server; `port` stays its own when it starts again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(PROGRAM), self.name, str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def go_away(self) -> None:
        """SIGTERM: it says GOAWAY, and what is under way may end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    async def seen(self) -> dict[str, Any]:
        """What it saw until now, asked past the proxy."""
        return json.loads(await self.ask("Seen"))

    async def set(self, answers: dict[str, str]) -> None:
        """What its health calls answer: by path the bytes in hexadecimal, the name of a status, or HANG."""
        await self.ask("Set", json.dumps(answers).encode())

    async def ask(self, method: str, request: bytes = b"") -> bytes:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            return await channel.unary_unary(f"{CALLS}{method}")(request, timeout=10)


def predictor(name: str, *ports: int, spec: str = "") -> str:
    endpoints = ", ".join(f"{{address: 127.0.0.1, port: {port}}}" for port in ports)
    return f"""
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}}}
spec:
  protocol: h2c
  endpoints: [{endpoints}]
  {spec}
---
"""


def policy(name: str, spec: str) -> str:
    return f"""
apiVersion: turnout.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: {name}}}
spec: {{{spec}}}
---
"""


def use(name: str) -> str:
    return f"filters: [{{type: ExtensionRef, extensionRef: {{group: turnout.dev, kind: RoutePolicy, name: {name}}}}}]"


def route(host: str, rules: str, kind: str = "GRPCRoute") -> str:
    """The rules are a YAML list in flow style."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {host}}}
spec: {{hostnames: [{host}.test], rules: {rules}}}
---
"""


def to(name: str, host: str = "", more: str = "") -> str:
    """All calls of a host to one predictor."""
    return route(host or name, f"[{{{more + ', ' if more else ''}backendRefs: [{{name: {name}}}]}}]")


class Calls:
    """A proxy before some servers."""

    def __init__(self, proxy: Proxy, models: dict[str, GrpcModel]) -> None:
        self.proxy = proxy
        self.models = models

    def channel(self, host: str) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            f"127.0.0.1:{self.proxy.port}", [*OPTIONS, ("grpc.default_authority", f"{host}.test")]
        )

    def sync_channel(self, host: str) -> grpc.Channel:
        return grpc.insecure_channel(
            f"127.0.0.1:{self.proxy.port}", [*OPTIONS, ("grpc.default_authority", f"{host}.test")]
        )


@contextmanager
def models(*names: str) -> Iterator[dict[str, GrpcModel]]:
    with ExitStack() as stack:
        made = {name: GrpcModel(name) for name in names}
        for model in made.values():
            stack.callback(model.kill)
        yield made


@contextmanager
def proxied(
    folder: Path, rules: str, servers: dict[str, GrpcModel], *arguments: str, workers: int = 1
) -> Iterator[Calls]:
    proxy = Proxy(folder, rules, *arguments, workers=workers)
    try:
        yield Calls(proxy, servers)
    finally:
        proxy.close()


async def check_streams(channel: grpc.aio.Channel) -> None:
    """A stream of the server's, and one in turns, come whole and end well."""
    sizes = [3, 0, 100_000]
    expand = channel.unary_stream(f"{CALLS}Expand")(json.dumps(sizes).encode())
    assert [len(message) async for message in expand] == sizes
    talk = channel.stream_stream(f"{CALLS}Talk")()
    for message in (b"ping", b"", bytes(50_000)):
        await talk.write(message)
        assert await talk.read() == message
    await talk.done_writing()
    assert await talk.read() is grpc.aio.EOF
    assert await talk.code() is grpc.StatusCode.OK
