"""Where the access log goes: a file, standard output, or nowhere; written in blocks, never waited for.

A pipe whose reader stalls must not stall the proxy, so only as much is written as is taken at once; what waits
is bounded, and what does not fit is dropped and counted. Lines are written whole: in blocks of at most
`PIPE_BUF` bytes into a pipe, which are atomic, so that workers may share it.
"""

import os
import select
import stat
from collections.abc import Callable

FLUSH_BYTES = 32_768
MAX_WAITING_BYTES = 4_194_304


class LogFile:
    """A buffer of lines in front of a descriptor. `on_dropped` is told how many lines were dropped."""

    def __init__(self, path: str, on_dropped: Callable[[int], None]) -> None:
        self.buffer = bytearray()
        self._on_dropped = on_dropped
        self._fd = 1 if path == "-" else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
