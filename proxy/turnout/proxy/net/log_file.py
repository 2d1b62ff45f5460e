"""Where the access log goes: a file, standard output, or nowhere; written in blocks, never waited for.

A reader that stalls, be it of a pipe or a person who stopped the terminal, must not stall the proxy, so only as
much is written as is taken at once; what waits is bounded, and what does not fit is dropped and counted. To ask
first whether there is room is not enough: a terminal that has some blocks a write of more, and of two workers
that ask, one finds the pipe filled by the other.

Lines are written whole: in blocks of at most `PIPE_BUF` bytes into a pipe, which are atomic, so that workers may
share it.
"""

import contextlib
import os
import select
import stat
from collections.abc import Callable

FLUSH_BYTES = 32_768
MAX_WAITING_BYTES = 4_194_304

_NO_WAIT = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_log(path: str) -> int:
    """A descriptor for a path, or `-` for standard output, that does not block. Raises OSError."""
    if path == "-":
        return _open_standard_output()
    # For both directions a named pipe opens without a reader, and stays when its reader goes.
    access = os.O_RDWR if os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode) else os.O_WRONLY
    return os.open(path, access | os.O_APPEND | os.O_CREAT | _NO_WAIT, 0o644)


def _open_standard_output() -> int:
    """Opened anew: that a description does not block would hold for all who share it. A file has its place there."""
    if not stat.S_ISREG(os.fstat(1).st_mode):
        with contextlib.suppress(OSError):  # a socket, which says truly whether it has room, or not ours to open
            return os.open("/proc/self/fd/1", os.O_WRONLY | _NO_WAIT)
    return 1


class LogFile:
    """A buffer of lines in front of a descriptor. `on_dropped` is told how many lines were dropped."""

    def __init__(self, path: str, on_dropped: Callable[[int], None]) -> None:
        self.buffer = bytearray()
        self._on_dropped = on_dropped
        self._fd = open_log(path)
        self._is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)

    def flush(self) -> None:
        """Write what can be written now."""
        try:
            if self._is_file:
                self._write_all()
            else:
                self._write_ready()
        except BlockingIOError:
            pass  # asked too early, or another worker was faster
        except OSError:
            self._drop()
        if len(self.buffer) > MAX_WAITING_BYTES:
            self._drop()

    def _write_all(self) -> None:
        while self.buffer:
            del self.buffer[: os.write(self._fd, self.buffer)]

    def _write_ready(self) -> None:
        while self.buffer and self._poll.poll(0):
            end = self.buffer.rfind(b"\n", 0, select.PIPE_BUF) + 1 or select.PIPE_BUF
            del self.buffer[: os.write(self._fd, self.buffer[:end])]

    def _drop(self) -> None:
        self._on_dropped(self.buffer.count(b"\n"))
        self.buffer.clear()
