"""A shadow that misbehaves against one that behaves well: the answers come as soon."""

import asyncio
import itertools
import socket
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from actors.bad_calls import answer, break_off, call_rules, crumble, flood, hang, lie, refuse, reset
from actors.grpc_calls import proxied
from actors.http2_server import Connection, Http2Server, Request
from actors.mirroring import Start, ended, glance, hosts
from actors.proxy import until
from actors.shadow_process import shadow_process
from actors.steady_load import SteadyLoad
from free_ports import free_port

BAD = ("hang", "reset", "slam", "garbage", "cut", "flood", "deaf", "fail", "crumbs")
BAD_CALLS = (hang, reset, lie, refuse, break_off, flood, crumble)
"""Those that leave the connection be: with the others the shadow is soon left alone."""
RATE = 1_000
CALL_BYTES = 150
"""What `quick_model` answers."""
TURNS = 10
SECONDS = 2


POLICY = "mirror: {timeout: 300ms}"
"""So that a shadow that hangs does so again and again, and is not left alone when too many do."""


def p99_ms(sorted_s: list[float]) -> float:
    return 1_000 * sorted_s[int(len(sorted_s) * 0.99)]


async def test_nobody_waits_for_a_shadow_that_hangs_floods_or_breaks(start_proxy: Start) -> None:
    """The slowest of the answers is not among those that the slowest of the shadows would give."""
    with shadow_process("answer") as live, shadow_process(*BAD) as bad:
        proxy = start_proxy(hosts(live, {"bad": bad}, POLICY))
        async with SteadyLoad(proxy.port, "bad.test", 200, b"\r\n\r\nshadow") as load:
            found = await load.run(400)
        assert (len(found), load.wrong) == (400, 0)
        assert found[-1] < 10.0
        told = await ended(proxy, 400, "bad")
        assert set(told.skipped) <= {"breaker"}
        assert {"timeout", "reset"} <= set(told.results)


@pytest.mark.soak
async def test_the_p99_at_1000_requests_a_second_is_that_beside_a_good_shadow(
    start_proxy: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """Medians of interleaved turns: no more than 1.1 times, or one millisecond, apart."""
    found: dict[str, list[float]] = {"good": [], "bad": []}
    with shadow_process("answer") as live, shadow_process("answer") as good, shadow_process(*BAD) as bad:
        proxy = start_proxy(hosts(live, {"good": good, "bad": bad}, POLICY))
        for _ in range(TURNS + 1):
            for name, figures in found.items():
                async with SteadyLoad(proxy.port, f"{name}.test", RATE, b"\r\n\r\nshadow") as load:
                    figures.append(p99_ms(await load.run(RATE * SECONDS)))
                assert load.wrong == 0
        told = {name: await glance(proxy, name) for name in found}
    medians = {name: statistics.median(figures[1:]) for name, figures in found.items()}
    with capsys.disabled():
        print(f"\np99 of {TURNS} turns, ms: {medians}; {told}")
    assert medians["bad"] <= max(1.1 * medians["good"], medians["good"] + 1.0), found


@asynccontextmanager
async def quick_model() -> AsyncIterator[int]:
    """The port of a gRPC server that costs next to nothing, so that its own load is not what is measured."""
    port, program = free_port(), Path(__file__).parents[1] / "bench" / "sidebyside" / "grpc_upstream.py"
    process = await asyncio.create_subprocess_exec(sys.executable, str(program), str(port))
    try:
        await until(lambda: is_open(port))
        yield port
    finally:
        process.kill()
        await process.wait()


def is_open(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


async def p99_of_calls_ms(tool: str, folder: Path, port: int, host: str) -> float:
    """RATE unary calls a second for SECONDS by h2load, over four connections; all of them are answered."""
    message, log = folder / "message", folder / "calls.log"
    message.write_bytes(b"\0\0\0\0\x91" + bytes(CALL_BYTES - 5))
    log.unlink(missing_ok=True)
    fields = (":authority: " + f"{host}.test", "content-type: application/grpc", "te: trailers")
    argv = [tool, "-c", "4", "-m", "50", "--rps", str(RATE // 4), "-D", str(SECONDS), "-d", str(message)]
    argv += [*itertools.chain(*(("-H", field) for field in fields)), "--log-file", str(log)]
    process = await asyncio.create_subprocess_exec(
        *argv, f"http://127.0.0.1:{port}/test.Calls/Name", stdout=asyncio.subprocess.DEVNULL
    )
    await asyncio.wait_for(process.wait(), 60)
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    assert {row[1] for row in rows} == {"200"}
    assert len(rows) > RATE * SECONDS / 2
    return p99_ms(sorted(int(row[2]) / 1e6 for row in rows))


@pytest.mark.soak
async def test_the_p99_of_calls_is_that_beside_a_good_shadow(
    tmp_path: Path, require_tool: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for gRPC: resets, refusals and floods of one shadow, and another that answers. Both are the same kind of
    server, so that none costs the machine more than the other by what it is."""
    tool, found = require_tool("h2load"), {"good": list[float](), "bad": list[float]()}

    def take_turns(connection: Connection, stream: int, request: Request) -> None:
        BAD_CALLS[len(bad.requests) % len(BAD_CALLS)](connection, stream, request)

    async with Http2Server("good") as good, Http2Server("bad") as bad:
        good.on_request, bad.on_request = answer, take_turns
        ports = {"good": good.port, "bad": bad.port}
        async with quick_model() as live:
            with proxied(tmp_path / "proxy", call_rules(live, ports), {}) as calls:
                for _ in range(TURNS + 1):
                    for name, figures in found.items():
                        figures.append(await p99_of_calls_ms(tool, tmp_path, calls.proxy.port, name))
                told = {name: await glance(calls.proxy, name) for name in found}
    medians = {name: statistics.median(figures[1:]) for name, figures in found.items()}
    with capsys.disabled():
        print(f"\np99 of calls in {TURNS} turns, ms: {medians}; {told}")
    assert medians["bad"] <= max(1.1 * medians["good"], medians["good"] + 1.0), found
