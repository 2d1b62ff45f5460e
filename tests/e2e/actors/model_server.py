"""The program of a model server: `model_server.py NAME PORT`, which says its port when it is up.

Each line on standard input is a JSON object of settings (`Settings`), answered by a line of what it saw (`Seen`); the
end of standard input ends it. It answers each request with its name and the request's `x-id`, or, with the probability
of the setting, in one of the wrong ways.
"""

import asyncio
import json
import random
import socket
import struct
import sys
from typing import Any, cast

import uvloop

_RESET = struct.pack("ii", 1, 0)
FAULTS = ("refuse", "reset", "half_head", "half_body")
FIRST_PATHS = 50


class Settings:
    """How it answers. Those named as `FAULTS` are shares of the requests: answered with `status`, broken off before the
    head, within the head, within the body. `stall` is the share that takes `stall_s` and not `delay_s`; `leave` is the
    share of answers after which the connection is closed, at once or up to `leave_s` later, if it is idle then."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.stall = self.stall_s = 0.0
        self.refuse = self.reset = self.half_head = self.half_body = 0.0
        self.status = 503
        self.ready = 200
        self.leave = self.leave_s = 0.0
        self.filler = 0

    def update(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            assert hasattr(self, name), name
            setattr(self, name, value)


class Seen:
    """What came: requests, but for checks; how many of them at once, now and at the most; the paths of the first."""

    def __init__(self) -> None:
        self.requests = self.checks = self.active = self.most_active = 0
        self.attempts: dict[str, int] = {}
        self.paths: list[str] = []


class Server:
    """All connections of the process."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.loop = loop
        self.settings = Settings()
        self.seen = Seen()
        self.random = random.Random(name)

    def on_line(self) -> None:
        """The test says something."""
        line = sys.stdin.readline()
        if not line:
            self.loop.stop()
            return
        self.settings.update(json.loads(line))
        print(json.dumps(vars(self.seen)), flush=True)


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        start, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = end + 4 + int(fields.get("content-length", "0"))
        if len(self._buffer) >= size and not self._busy:
            self._buffer = self._buffer[size:]
            self._on_request(start.split(" ")[1], fields)

    def _on_request(self, path: str, fields: dict[str, str]) -> None:
        settings, seen = self._server.settings, self._server.seen
        if len(seen.paths) < FIRST_PATHS:
            seen.paths.append(path)
        if path.endswith("/ready"):
            seen.checks += 1
            self._write(settings.ready, b"")
            return
        seen.requests += 1
        attempt = fields.get("x-envoy-attempt-count", "1")
        seen.attempts[attempt] = seen.attempts.get(attempt, 0) + 1
        self._busy = True
        seen.active += 1
        seen.most_active = max(seen.most_active, seen.active)
        delay_s = settings.stall_s if self._draw(settings.stall) else settings.delay_s
        self._server.loop.call_later(delay_s, self._answer, fields.get("x-id", ""))

    def _answer(self, number: str) -> None:
        if not self._busy:
            return  # the client has left
        settings = self._server.settings
        self._end()
        body = f"{self._server.name} {number} ".encode() + b"x" * settings.filler
        fault = next((fault for fault in FAULTS if self._draw(getattr(settings, fault))), None)
        if fault is None:
            self._write(200, body)
            if self._draw(settings.leave):
                self._server.loop.call_later(self._server.random.random() * settings.leave_s, self._leave)
        elif fault == "refuse":
            self._write(settings.status, body)
        else:
            if fault == "half_head":
                self._transport.write(b"HTTP/1.1 200 OK\r\nX-Half: ")
            elif fault == "half_body":
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body) + 10, body))
            self._reset()

    def _write(self, status: int, body: bytes) -> None:
        self._transport.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    def _leave(self) -> None:
        if not self._busy:
            self._transport.close()

    def _reset(self) -> None:
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _end(self) -> None:
        if self._busy:
            self._busy = False
            self._server.seen.active -= 1

    def _draw(self, share: float) -> bool:
        return share > 0 and self._server.random.random() < share


async def serve(name: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = Server(name, loop)
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", port, backlog=1024)
    loop.add_reader(sys.stdin.fileno(), server.on_line)
    print(listening.sockets[0].getsockname()[1], flush=True)


if __name__ == "__main__":
    loop = uvloop.new_event_loop()
    loop.run_until_complete(serve(sys.argv[1], int(sys.argv[2])))
    loop.run_forever()
