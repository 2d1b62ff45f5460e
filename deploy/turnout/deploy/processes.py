"""Child processes of `turnout up`: started together, watched, and ended so that none is left behind.

Each child leads a process group of its own: Ctrl-C in the terminal reaches only us, and we end the children in
order; and whatever a child has started (workers, a successor of its own) can be told with it. Should we be
killed without a word, the kernel sends SIGTERM to every child (PR_SET_PDEATHSIG).
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine, Sequence

PR_SET_PDEATHSIG = 1
POLL_S = 0.02


class Child:
    """One running process. `ended` is done, with the exit code, once it has ended."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.pid = process.pid
        self.ended: asyncio.Future[int] = loop.create_future()
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        loop.add_reader(self._pidfd, self._on_exit)

    def __repr__(self) -> str:
        state = f"exit {self.ended.result()}" if self.ended.done() else "running"
        return f"<Child {self.name} pid={self.pid} {state}>"

    def epitaph(self) -> str:
        """How an ended child came to its end, in words."""
        code = self.ended.result()
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        return f"{self.name} (pid {self.pid}) {how}"

    def signal_group(self, number: int) -> bool:
        """Send a signal to the child and all that it started; False if nobody of them is left."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def terminate(self) -> None:
        """Ask the child to end. If it is gone, ask what it left behind."""
        if self.ended.done():
            self.signal_group(signal.SIGTERM)
        else:
            self._process.terminate()

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.ended.set_result(self._process.wait())


class Processes:
    """The children, in the order in which they were started."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._die_with_us = _death_signal_setter()

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start a child with our output and no input."""
        # preexec_fn is safe here: this process has no threads that could hold a lock over the fork.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=self._die_with_us)
        child = Child(name, process)
        self.children.append(child)
        return child

    async def first_to_end(self) -> Child:
        """Wait until one child has ended, and tell which."""
        await asyncio.wait([child.ended for child in self.children], return_when=asyncio.FIRST_COMPLETED)
        return next(child for child in self.children if child.ended.done())

    async def stop(self, timeout_s: float, hurry: asyncio.Event) -> None:
        """End all, the last started first, each with `timeout_s` to do it; at once when `hurry` is set."""
        for child in reversed(self.children):
            child.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_first_of(_group_gone(child), hurry.wait()), timeout_s)
            child.signal_group(signal.SIGKILL)
            await child.ended


async def _group_gone(child: Child) -> None:
    await asyncio.wait([child.ended])  # unlike `await`, this does not cancel the future with its waiter
    # Others of the group are not our children: nothing tells of their end, so it is looked for.
    while child.signal_group(0):  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


async def _first_of(*awaitables: Coroutine[None, None, object]) -> None:
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _death_signal_setter() -> Callable[[], None]:
    """A function to run in a new child: the kernel tells it when this process dies."""
    prctl = ctypes.CDLL(None).prctl  # looked up here: after a fork nothing is to be loaded
    parent = os.getpid()

    def set_death_signal() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked to be told
            os._exit(1)

    return set_death_signal
