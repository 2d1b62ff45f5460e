"""A worker that speaks the channel like the real one and answers every request with what it knows, as JSON.

Run as `python fake_worker.py FAULT FD`. FAULT `dies` ends before Started, `deaf` never answers a Configure, `none` has
none. A Snapshot in which `refused` is missing is not taken. Requests count in the record for no route; `/hang` is
never answered in full. `/say/KIND/VALUE` says a message of that kind (`failing`, `probing`, `probed`, `overloaded`) to
the supervisor, of the first endpoint; `/5xx/N` counts so many failed requests at it.
"""

import asyncio
import json
import mmap
import os
import socket
import sys

from turnout.proxy.cluster.target import Target
from turnout.proxy.telemetry.layout import BLOCK_BYTES, BOUNDS_S, CODE_CLASSES, FLAGS, EndpointWord, RouteWord, Word
from turnout.proxy.worker import messages
from turnout.proxy.worker.channel import Channel
from turnout.rules.snapshot import decode_snapshot

OK = CODE_CLASSES.index("2xx") * FLAGS


class FakeWorker:
    def __init__(self, fd: int, fault: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.fault = fault
        self.listeners: dict[str, socket.socket] = {}
        self.resolved: dict[str, list] = {}
        self.targets: dict[str, list[Target]] = {}
        self.tasks: set[asyncio.Task] = set()
        self.idle: set[asyncio.StreamWriter] = set()
        self.known = {"pid": os.getpid()}
        self.draining = False
        self.channel = Channel(socket.socket(fileno=fd), self.loop, self.on_message, lambda: os._exit(3))
        self.channel.send(messages.Started(os.getpid()))

    def on_message(self, message: messages.Message, fds: list[int]) -> None:
        match message:
            case messages.Hello():
                self.known["slot"] = message.slot
                self.block = memoryview(mmap.mmap(fds[message.slot], BLOCK_BYTES)).cast("Q")
            case messages.Listen():
                sock = socket.socket(fileno=fds[0])
                self.listeners[message.listener] = sock
                self.loop.add_reader(sock.fileno(), self.accept, message.listener)
            case messages.Unlisten():
                self.unlisten(message.listener)
            case messages.Resolved():
                self.resolved[message.cluster] = [f"{t.address}:{t.port}" for t in message.endpoints]
                self.targets[message.cluster] = message.endpoints
            case messages.Configure():
                self.configure(message)
            case messages.Drain():
                self.drain()

    def configure(self, message: messages.Configure) -> None:
        if self.fault == "deaf":
            return
        snapshot = decode_snapshot(bytes(message.snapshot))
        refused = "refused" in snapshot.missing
        if not refused:
            self.known["version"] = message.version
            self.record = message.records[0]
        self.channel.send(messages.Configured(message.number, "there is a name that I refuse" if refused else ""))

    def accept(self, listener: str) -> None:
        while True:
            try:
                connection, _ = self.listeners[listener].accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            task = self.loop.create_task(self.serve(connection, listener))
            self.tasks.add(task)
            task.add_done_callback(self.on_done)

    async def serve(self, connection: socket.socket, listener: str) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        self.block[Word.CONNECTIONS_ACTIVE] += 1
        try:
            while True:
                self.idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self.idle.discard(writer)
                self.answer(writer, head.split()[1].decode(), listener)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.block[Word.CONNECTIONS_ACTIVE] -= 1
            self.idle.discard(writer)
            writer.close()

    def answer(self, writer: asyncio.StreamWriter, path: str, listener: str) -> None:
        if path == "/hang":
            self.block[Word.TUNNELS_ACTIVE] += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all")
            return
        if path.startswith(("/say/", "/5xx/")):
            self.obey(*path.split("/")[1:])
        self.block[Word.CONNECTIONS_TOTAL] += 1
        self.block[self.record + RouteWord.REQUESTS + OK] += 1
        self.block[self.record + RouteWord.DOWNSTREAM + 3] += 1
        self.block[self.record + RouteWord.DOWNSTREAM + len(BOUNDS_S) + 1] += 800_000
        states = {name: [[t.state.name, t.probe_slot] for t in targets] for name, targets in self.targets.items()}
        body = json.dumps({**self.known, "listener": listener, "resolved": self.resolved, "states": states}).encode()
        close = b"Connection: close\r\n" if self.draining else b""
        writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (close, len(body), body))

    def obey(self, what: str, *values: str) -> None:
        cluster, (target, *_) = next(iter(self.targets.items()))
        place = cluster, target.address, target.port
        match what, *values:
            case "5xx", number:
                self.block[target.record + EndpointWord.REQUESTS] += int(number)
                self.block[target.record + EndpointWord.ANSWERS_5XX] += int(number)
            case "say", "failing", kind:
                self.channel.send(messages.Failing(*place, kind, 7))
            case "say", "overloaded", refusing:
                self.channel.send(messages.Overloaded(refusing == "yes", 0.91))
            case "say", "probing", _:
                self.channel.send(messages.Probing(*place))
            case "say", "probed", well:
                self.channel.send(messages.Probed(*place, {"well": True, "badly": False}.get(well)))

    def unlisten(self, listener: str) -> None:
        self.accept(listener)
        sock = self.listeners.pop(listener)
        self.loop.remove_reader(sock.fileno())
        sock.close()

    def drain(self) -> None:
        self.draining = True
        for listener in list(self.listeners):
            self.unlisten(listener)
        # Next turn, so that what was just accepted is answered.
        self.loop.call_later(0.05, self.close_idle)

    def close_idle(self) -> None:
        for writer in self.idle:
            writer.close()
        self.maybe_leave()

    def on_done(self, task: asyncio.Task) -> None:
        self.tasks.discard(task)
        if self.draining:
            self.maybe_leave()

    def maybe_leave(self) -> None:
        if not self.tasks:
            self.channel.send(messages.Drained())
            os._exit(0)


async def main() -> None:
    worker = FakeWorker(int(sys.argv[-1]), sys.argv[1])
    await asyncio.Event().wait()
    del worker


if __name__ == "__main__":
    if sys.argv[1] == "dies":
        sys.exit(7)
    asyncio.run(main())
