"""One worker seen from the supervisor: its process, its channel, and what it has said so far.

A worker is a fresh interpreter, never a fork. It stands in a process group of its own, so that Ctrl-C in a
terminal reaches the supervisor alone, which then drains. A worker whose channel closes is of no more use and is
killed; its end is told by its pidfd, once.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

from turnout.proxy.worker.channel import AnyMessage, Channel
from turnout.proxy.worker.messages import (
    Configured,
    Failing,
    Message,
    Overloaded,
    Probed,
    Probing,
    Spans,
    Started,
    TlsFailed,
)

# -P: a file in the working directory must not pass for a module of ours.
WORKER_COMMAND = (sys.executable, "-P", "-m", "turnout.proxy.worker")
"""What starts a worker; the number of its channel's descriptor is appended."""


Said = Started | Configured | Failing | Probing | Probed | Overloaded | TlsFailed | Spans


class Worker:
    """A worker process. `number` is the Snapshot that it serves, 0 for none; `answered` the last it judged."""

    __slots__ = (
        "_channel", "_loop", "_on_exit", "_pidfd", "_process", "_tell",
        "answered", "build", "draining", "error", "number", "slot", "started", "started_at",
    )  # fmt: skip

    def __init__(
        self,
        slot: int,
        command: Sequence[str],
        on_message: Callable[["Worker", Said], None],
        on_exit: Callable[["Worker", int], None],
        now: float,
    ) -> None:
        """Start the process. `on_message` is told what it says, `on_exit` when it has ended, and how."""
        self.slot = slot
        self.started = False
        self.started_at = now
        self.number = 0
        self.answered = 0
        self.build = ""
        """What it runs, in its own words."""
        self.error = ""
        self.draining = False
        self._tell = on_message
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        self._channel = Channel(ours, self._loop, self._on_message, self._on_channel_closed)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._on_process_ended)

    def __repr__(self) -> str:
        return f"<Worker {self.slot} pid {self.pid} {self.state}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def state(self) -> str:
        """`starting`, `started`, `serving`, or `draining`."""
        if self.draining:
            return "draining"
        return "serving" if self.number else "started" if self.started else "starting"

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a message with copies of `fds`; one that is gone takes nothing."""
        self._channel.send(message, fds)

    def kill(self) -> None:
        """End it now; `on_exit` follows."""
        self._process.kill()

    def _on_message(self, message: AnyMessage, fds: list[int]) -> None:
        for fd in fds:  # a worker has none to send
            os.close(fd)
        match message:
            case Started():
                self.started, self.build = True, message.build
            case Configured():
                self.answered = message.number
                self.error = message.error
                if not message.error:
                    self.number = message.number
            case Failing() | Probing() | Probed() | Overloaded() | TlsFailed() | Spans():
                pass
            case _:
                return
        self._tell(self, message)

    def _on_channel_closed(self) -> None:
        if not self.draining:
            self.kill()

    def _on_process_ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._channel.finish_reading()
        self._on_exit(self, self._process.wait())


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"
