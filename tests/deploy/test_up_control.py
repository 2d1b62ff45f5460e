"""`turnout up --demo --control`: what it prints works, one edit reaches both routers, and it leaves nothing behind."""

import asyncio
import json
import re
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import DemoRun, StartDemo


async def output_of(line: str, expected: int = 0) -> str:
    """Run a line as it would be pasted."""
    process = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
    stdout, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == expected, line
    return stdout.decode()


async def versions(run: "DemoRun", port: int, count: int) -> set[str]:
    """Which models answer at the router on this port."""
    line = run.curl_lines()[0].replace(f":{run.ports['listen']}/", f":{port}/")
    return {json.loads(await output_of(line))["model_version"] for _ in range(count)}


async def test_an_edit_reaches_both_routers_and_status_says_so(
    start_demo: "StartDemo",
    control_options: list[str],
    control_ports: dict[str, int],
    require_tool: Callable[[str], str],
) -> None:
    require_tool("curl")
    run = await start_demo(options=control_options)
    status, history = (line.strip() for line in run.told.splitlines() if " --api " in line)
    assert len((await output_of(history)).splitlines()) == 2  # a head, and the first state

    text, count = re.subn(r"weight: 90\b", "weight: 0", run.rules.read_text())
    assert count == 1
    run.rules.write_text(text)
    for port in (run.ports["listen"], control_ports["--second-listen"]):
        async with asyncio.timeout(10):
            while await versions(run, port, 10) != {"v2"}:
                pass
    async with asyncio.timeout(10):
        while (told := await output_of(status)).count("SYNCED") != 8:  # four types for each router
            pass
    assert "router-2" in told
    assert len((await output_of(history)).splitlines()) == 3

    family = run.family()
    assert await run.end(signal.SIGINT, whole_group=True) == 0
    await run.all_gone(family)


async def test_the_addresses_of_a_control_plane_need_one(start_demo: "StartDemo") -> None:
    run = await start_demo(until_ready=False, options=["--api=127.0.0.1:1"])
    stdout, stderr = await asyncio.wait_for(run.process.communicate(), 30)
    assert run.process.returncode == 2
    assert stdout == b""
    assert b"--api needs --control" in stderr
