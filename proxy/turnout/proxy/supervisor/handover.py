"""Hot restart: how a supervisor hands its listening sockets to a successor.

SIGUSR2 → the old supervisor starts a successor with its own command line → the successor inherits every
listening socket, starts its own workers on them, and says when they serve → the old one drains and exits. The
sockets never close, so no connection is refused. A successor that ends before it serves changes nothing.

The descriptors are inherited, and described in the environment variable `TURNOUT_INHERIT`.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import MutableMapping, Sequence

import msgspec

from turnout.proxy.supervisor.options import Address
from turnout.proxy.supervisor.sockets import Bound

VARIABLE = "TURNOUT_INHERIT"


class InheritedListener(msgspec.Struct, frozen=True):
    """One listener's address, as configured and as bound, and its descriptors, one a slot."""

    name: str
    wanted: Address
    address: Address
    fds: list[int]


class Description(msgspec.Struct, frozen=True):
    """What a successor inherits. `ready_fd` is the pipe on which it says that it serves."""

    listeners: list[InheritedListener]
    admin_fd: int
    ready_fd: int


class Inheritance:
    """What this supervisor got from its predecessor."""

    def __init__(self, description: Description) -> None:
        fds = [description.admin_fd, description.ready_fd, *(f for one in description.listeners for f in one.fds)]
        for fd in fds:
            os.set_inheritable(fd, False)
        self.admin = _adopt(description.admin_fd)
        self.listeners = [
            Bound(one.name, one.wanted, one.address, [_adopt(fd) for fd in one.fds]) for one in description.listeners
        ]
        self._ready_fd = description.ready_fd

    def say_ready(self) -> None:
        """Tell the predecessor to go. If it is gone already, so be it."""
        try:
            os.write(self._ready_fd, b"ready")
        except BrokenPipeError:
            return
        finally:
            os.close(self._ready_fd)


def take_inheritance(environ: MutableMapping[str, str]) -> Inheritance | None:
    """What a predecessor left in the environment, taken out of it so that no child of ours sees it."""
    text = environ.pop(VARIABLE, None)
    if text is None:
        return None
    return Inheritance(msgspec.json.decode(text, type=Description))


class Successor:
    """A supervisor that is starting to take over. `command` is by default what started this process."""

    def __init__(self, listeners: Sequence[Bound], admin: socket.socket, command: Sequence[str] | None = None) -> None:
        self._ready, ready_fd = os.pipe()
        os.set_blocking(self._ready, False)
        description = Description(
            [InheritedListener(b.name, b.wanted, b.address, [s.fileno() for s in b.sockets]) for b in listeners],
            admin.fileno(),
            ready_fd,
        )
        fds = [admin.fileno(), ready_fd, *(fd for one in description.listeners for fd in one.fds)]
        try:
            self._process = subprocess.Popen(
                command or [sys.executable, *sys.orig_argv[1:]],
                pass_fds=fds,
                env={**os.environ, VARIABLE: msgspec.json.encode(description).decode()},
            )
        except OSError:
            os.close(self._ready)
            raise
        finally:
            os.close(ready_fd)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def is_ready(self) -> bool:
        """Wait until it serves (True) or has ended before that (False)."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        loop.add_reader(self._ready, told.set)
        try:
            await told.wait()
            ready = bool(os.read(self._ready, 16))
        finally:
            loop.remove_reader(self._ready)
            os.close(self._ready)
        if not ready:
            await loop.run_in_executor(None, self._process.wait)
        return ready

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()


def _adopt(fd: int) -> socket.socket:
    """A socket that both processes have. That it does not block is a flag of both: a copy of one that is not said to be
    so would take it away for a moment, in which the other may wait in `accept` for ever."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock
