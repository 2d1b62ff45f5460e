"""What of an answer the kernel still has, of a connection that is being closed."""

import asyncio
import fcntl
import struct
import termios

_COUNT = struct.Struct("i")


def has_unsent(transport: asyncio.Transport) -> bool:
    """Whether the kernel has bytes that the client has not acknowledged. A TLS transport does not tell of those that it
    has handed to the one below it; that one has some only while the kernel takes no more."""
    sock = transport.get_extra_info("socket")
    try:
        return sock is not None and _COUNT.unpack(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0] > 0
    except OSError:
        return False
