"""The channel between supervisor and worker: frames of messages, and descriptors, over a Unix stream pair.

Rules:

* A frame is a 4-byte big-endian length, one byte that counts its descriptors, and a msgpack message.
* Descriptors leave with the first byte of their frame, and a stream keeps the order of both. The kernel hands
  them over no later than that byte, so a frame that is complete takes its count from the front of the queue,
  and no read, however it cuts the bytes, can give a frame the descriptors of another.
* Sending never blocks and never fails: what the socket does not take waits in memory (the other side is ours
  and reads), and a peer that is gone is told by `on_close`, once.
"""

import asyncio
import contextlib
import os
import socket
import struct
from array import array
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from turnout.proxy.worker.messages import FromWorker, Message, ToWorker

AnyMessage = ToWorker | FromWorker
OnMessage = Callable[[AnyMessage, list[int]], None]

_HEADER = struct.Struct(">IB")
_READ_BYTES = 262_144
# SCM_MAX_FD: the kernel takes no more than 253 descriptors in one message.
_FDS_SPACE = socket.CMSG_SPACE(253 * 4)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


class Channel:
    """One end of a pair, on the running loop.

    `on_message(message, fds)` owns the descriptors it is given; `on_close()` comes once, when the peer has gone
    or spoke nonsense, never after `close()`.
    """

    __slots__ = ("_fds", "_in", "_loop", "_on_close", "_on_message", "_out", "_sock", "_writing")

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        on_message: OnMessage,
        on_close: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._loop = loop
        self._on_message = on_message
        self._on_close = on_close
        self._in = bytearray()
        self._fds: deque[int] = deque()
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self._writing = False
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._read)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "writing" if self._writing else "open"
        return f"<Channel {state}>"

    @property
    def closed(self) -> bool:
        return self._sock.fileno() < 0

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a message with copies of `fds`, which stay the caller's. Does nothing once closed."""
        if self.closed:
            return
        body = _encoder.encode(message)
        frame = memoryview(_HEADER.pack(len(body), len(fds)) + body)
        # The caller may close its descriptors before a waiting frame leaves.
        self._out.append((frame, [os.dup(fd) for fd in fds]))
        if not self._writing:
            self._flush()

    def finish_sending(self, timeout_s: float) -> None:
        """Send what waits, and do nothing else meanwhile: this end is about to go."""
        if self.closed:
            return
        self._sock.settimeout(timeout_s)
        with contextlib.suppress(OSError):
            while self._out:
                self._send_first()

    def finish_reading(self) -> None:
        """Deliver what came from a peer that has gone, then close."""
        while not self.closed and self._read():
            pass
        self.close()

    def close(self) -> None:
        """Close at once; what still waits is dropped."""
        if self.closed:
            return
        self._loop.remove_reader(self._sock.fileno())
        if self._writing:
            self._loop.remove_writer(self._sock.fileno())
            self._writing = False
        self._sock.close()
        _close_fds(self._fds)
        for _, fds in self._out:
            _close_fds(fds)
        self._out.clear()

    # Sending

    def _flush(self) -> None:
        try:
            while self._out:
                self._send_first()
        except (BlockingIOError, InterruptedError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._sock.fileno(), self._flush)
            return
        except OSError:
            # The peer is gone. What it sent before that still stands in the socket, so the reader tells.
            for _, fds in self._out:
                _close_fds(fds)
            self._out.clear()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock.fileno())

    def _send_first(self) -> None:
        frame, fds = self._out[0]
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        sent = self._sock.sendmsg([frame], beside)
        _close_fds(fds)
        if sent == len(frame):
            self._out.popleft()
        else:
            self._out[0] = (frame[sent:], [])

    # Receiving

    def _read(self) -> bool:
        """Deliver what has come; whether there was something."""
        try:
            data, beside, _, _ = self._sock.recvmsg(_READ_BYTES, _FDS_SPACE, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._lost()
            return False
        for level, kind, payload in beside:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._fds.extend(memoryview(payload[: len(payload) // 4 * 4]).cast("i"))
        self._in += data
        if not data or not self._deliver():
            self._lost()
            return False
        return True

    def _deliver(self) -> bool:
        """Hand on every complete frame; False if what came is not what a peer of ours says."""
        buffer = self._in
        start = 0
        try:
            while len(buffer) - start >= _HEADER.size and not self.closed:
                length, count = _HEADER.unpack_from(buffer, start)
                end = start + _HEADER.size + length
                if len(buffer) < end:
                    break
                if len(self._fds) < count:
                    return False
                message = _decoder.decode(bytes(memoryview(buffer)[start + _HEADER.size : end]))
                start = end
                self._on_message(message, [self._fds.popleft() for _ in range(count)])
        except msgspec.DecodeError:
            return False
        finally:
            del buffer[:start]
        return True

    def _lost(self) -> None:
        if not self.closed:
            self.close()
            self._on_close()


def _close_fds(fds: list[int] | deque[int]) -> None:
    while fds:
        with contextlib.suppress(OSError):
            os.close(fds.pop())
