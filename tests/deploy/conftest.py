"""`turnout up --demo` as a process: start it on free ports, read what it tells, and see what it leaves behind."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from free_ports import free_port

from turnout.rules.examples import examples_path

READY_S = 60
TURNOUT = (sys.executable, "-m", "turnout.deploy")


class DemoRun:
    """One `turnout up --demo`, the leader of its own session, as under a terminal."""

    def __init__(self, process: asyncio.subprocess.Process, rules: Path, ports: dict[str, int]) -> None:
        self.process = process
        self.rules = rules
        self.ports = ports
        self.told = ""

    async def read_until_ready(self) -> None:
        """Wait for what the user is told, and keep it in `told`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_S):
            while "\nSpans go " not in self.told:
                line = await self.process.stdout.readline()
                assert line, f"ended before it was ready; it said:\n{self.told}"
                self.told += line.decode()

    def curl_lines(self) -> list[str]:
        return [line.strip() for line in self.told.splitlines() if line.startswith("  curl ")]

    def family(self) -> set[int]:
        """The process and all its descendants."""
        pids, found = {self.process.pid}, set[int]()
        while pids:
            found |= pids
            pids = {child for pid in pids for child in children_of(pid)} - found
        return found

    async def all_gone(self, pids: set[int]) -> None:
        """Wait until none of these runs. Once their parent has ended, that is a matter of moments."""
        async with asyncio.timeout(5):
            while any(runs(pid) for pid in pids):
                await asyncio.sleep(0.01)

    async def end(self, number: int, whole_group: bool = False) -> int:
        """Send a signal, wait for the end, and give the exit code."""
        (os.killpg if whole_group else os.kill)(self.process.pid, number)
        return await asyncio.wait_for(self.process.wait(), 30)


StartDemo = Callable[..., Awaitable[DemoRun]]


def children_of(pid: int) -> set[int]:
    """Processes whose parent is `pid` now."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we were looking
            continue
        if int(fields[1]) == pid:
            found.add(int(stat.parent.name))
    return found


def runs(pid: int) -> bool:
    """Is there such a process, and not only its remains?"""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


@pytest.fixture
def demo_ports() -> dict[str, int]:
    return dict(zip(("listen", "admin", "iris-v1", "iris-v2"), free_ports(4), strict=True))


@pytest.fixture
def control_ports() -> dict[str, int]:
    """What `--control` adds, by flag."""
    flags = ("--xds", "--api", "--second-listen", "--second-admin")
    return dict(zip(flags, free_ports(len(flags)), strict=True))


@pytest.fixture
def control_options(control_ports: dict[str, int]) -> list[str]:
    return ["--control", *(f"{flag}=127.0.0.1:{port}" for flag, port in control_ports.items())]


@pytest.fixture
def demo_rules(tmp_path: Path, demo_ports: dict[str, int]) -> Path:
    """A copy of the canary example, on free ports."""
    text = (examples_path() / "canary.yaml").read_text()
    for old, name in (("8081", "iris-v1"), ("8082", "iris-v2")):
        text, count = re.subn(rf"\bport: {old}\b", f"port: {demo_ports[name]}", text)
        assert count == 1
    path = tmp_path / "canary.yaml"
    path.write_text(text)
    return path


@pytest.fixture
async def start_demo(demo_rules: Path, demo_ports: dict[str, int]) -> AsyncIterator[StartDemo]:
    """`await start_demo()` runs the demo and returns once it is ready; what is left of it is killed after the test."""
    runs: list[DemoRun] = []

    async def start(turnout: Sequence[str] = TURNOUT, until_ready: bool = True, options: Sequence[str] = ()) -> DemoRun:
        addresses = [f"--{name}=127.0.0.1:{demo_ports[name]}" for name in ("listen", "admin")]
        process = await asyncio.create_subprocess_exec(
            *turnout, "up", "--demo", "--rules", str(demo_rules), *addresses, *options,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        run = DemoRun(process, demo_rules, demo_ports)
        runs.append(run)
        if until_ready:
            await run.read_until_ready()
        return run

    yield start
    for run in runs:
        if run.process.returncode is None:
            await run.end(signal.SIGTERM)
