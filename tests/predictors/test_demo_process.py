"""The demo predictor as its own process: ready when trained, gone when told, clear when it cannot start."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest
from free_ports import free_port

BODY = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]}


async def start(port: int, *arguments: str) -> asyncio.subprocess.Process:
    command = ["-m", "turnout.predictors.demo", "--port", str(port), *arguments]
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


@pytest.fixture
def taken() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture(name="free_port")
def a_free_port() -> int:
    return free_port()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def wait_until_ready(session: aiohttp.ClientSession, url: str) -> None:
    """Ask until it is answered 200: only asking tells of another process."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{url}/v2/health/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_trains_answers_and_ends_at_a_signal(
    session: aiohttp.ClientSession, free_port: int, number: signal.Signals
) -> None:
    process = await start(free_port, "--name", "flowers", "--version", "v3", "--classifier", "decision-tree")
    url = f"http://127.0.0.1:{free_port}"
    await wait_until_ready(session, url)
    async with session.post(f"{url}/v2/models/flowers/infer", data=json.dumps(BODY)) as answer:
        assert (await answer.json())["model_version"] == "v3"
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_taken_port_is_one_line_that_names_it(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    process = await start(port)
    _, stderr = await process.communicate()
    taken.close()
    assert process.returncode == 1
    assert stderr.decode() == f"turnout demo predictor: cannot listen on 127.0.0.1:{port}: the port is taken\n"


async def test_an_unknown_classifier_is_a_usage_error() -> None:
    process = await start(1, "--classifier", "oracle")
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert b"invalid choice: 'oracle'" in stderr
