"""Tiny gRPC servers, and a client that finds them by gRPC's own xDS resolver."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

CLIENT = Path(__file__).with_name("grpc_xds_client.py")


@asynccontextmanager
async def named_server(name: str) -> AsyncIterator[int]:
    """Answers every unary call with its name; its port."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    async def answer(request: bytes, context: Any) -> bytes:
        return name.encode()

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


class GrpcXdsClient:
    """A process whose channel is `xds:///<host>`: gRPC reads its bootstrap file once, before anything else."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, count: int, method: str = "/iris.Iris/Infer", **metadata: str) -> Counter[str]:
        """Make that many calls, one after the other; how often each server, or status code, answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"count": count, "method": method, "metadata": [*metadata.items()]}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(20):
            line = await self._process.stdout.readline()
        return Counter(json.loads(line))


@asynccontextmanager
async def grpc_xds_client(
    folder: Path, control_plane: str, host: str, node: str = "grpc-1", **metadata: str
) -> AsyncIterator[GrpcXdsClient]:
    """A client with a node id and labels."""
    server = {
        "server_uri": control_plane,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    bootstrap = folder / f"{node}.json"
    bootstrap.write_text(json.dumps({"xds_servers": [server], "node": {"id": node, "metadata": metadata}}))
    async with grpc_client(f"xds:///{host}", bootstrap) as client:
        yield client


@asynccontextmanager
async def grpc_client(target: str, bootstrap: Path) -> AsyncIterator[GrpcXdsClient]:
    """A client of this target, with this bootstrap file."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), target,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(bootstrap)},
    )  # fmt: skip
    try:
        yield GrpcXdsClient(process)
    finally:
        process.kill()
        await process.wait()
