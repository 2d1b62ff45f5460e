"""Children of `turnout up`: ended in order, ended by force, and never left behind."""

import asyncio
import signal
import sys
import textwrap
from pathlib import Path

from turnout.deploy.processes import Processes

WAITS = "import signal; print('up', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"


def python(script: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(script)]


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def gone(pid: int) -> None:
    """Wait until no such process is left (or only its remains, that nobody has collected)."""
    async with asyncio.timeout(10):
        while True:
            try:
                if proc(pid, "stat").rpartition(")")[2].split()[0] in "ZX":
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            await asyncio.sleep(0.01)


async def test_children_end_by_themselves_when_asked() -> None:
    processes = Processes()
    first = processes.start("first", python(WAITS))
    second = processes.start("second", python(WAITS))
    await processes.stop(10, asyncio.Event())
    assert first.ended.result() == second.ended.result() == -signal.SIGTERM
    assert "first" in repr(first)
    assert "exit -15" in repr(first)


async def test_a_child_that_does_not_listen_is_killed_at_the_timeout() -> None:
    processes = Processes()
    child = processes.start("deaf", python(DEAF))
    await deaf(child.pid)
    await processes.stop(0.1, asyncio.Event())
    assert child.ended.result() == -signal.SIGKILL


async def test_hurry_does_not_wait_for_the_timeout() -> None:
    processes = Processes()
    child = processes.start("deaf", python(DEAF))
    await deaf(child.pid)
    hurry = asyncio.Event()
    hurry.set()
    await asyncio.wait_for(processes.stop(3600, hurry), 10)
    assert child.ended.result() == -signal.SIGKILL


async def test_the_first_child_to_end_is_told() -> None:
    processes = Processes()
    processes.start("stays", python(WAITS))
    processes.start("leaves", python("raise SystemExit(3)"))
    ended = await asyncio.wait_for(processes.first_to_end(), 10)
    assert (ended.name, ended.ended.result()) == ("leaves", 3)
    await processes.stop(10, asyncio.Event())


async def test_what_a_child_left_behind_is_ended_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f"""
        import pathlib, subprocess, sys
        left = subprocess.Popen([sys.executable, "-c", {DEAF!r}])
        pathlib.Path({str(note)!r}).write_text(str(left.pid))
    """
    processes = Processes()
    child = processes.start("leaver", python(script))
    assert await asyncio.wait_for(child.ended, 10) == 0
    left = int(note.read_text())
    await deaf(left)
    await processes.stop(0.1, asyncio.Event())
    await gone(left)


async def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f"""
        import asyncio, os, pathlib, signal, sys
        from turnout.deploy.processes import Processes
        async def main():
            child = Processes().start("child", [sys.executable, "-c", {WAITS!r}])
            pathlib.Path({str(note)!r}).write_text(str(child.pid))
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """
    parent = await asyncio.create_subprocess_exec(*python(script))
    assert await asyncio.wait_for(parent.wait(), 10) == -signal.SIGKILL
    await gone(int(note.read_text()))


async def deaf(pid: int) -> None:
    """Wait until the process ignores SIGTERM."""
    async with asyncio.timeout(10):
        while True:
            status = proc(pid, "status").splitlines()
            ignored = next(line for line in status if line.startswith("SigIgn:")).split()[1]
            if int(ignored, 16) & (1 << (signal.SIGTERM - 1)):
                return
            await asyncio.sleep(0.01)
