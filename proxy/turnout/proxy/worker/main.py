"""The process of a worker, once it is settled which modules it runs (`__main__`).

FD is its end of the channel. The supervisor decides how it ends: by a Drain, or by being gone.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import traceback

import uvloop

from turnout.proxy.worker.channel import Channel
from turnout.proxy.worker.memory import keep_freed_memory
from turnout.proxy.worker.messages import (
    Configure,
    Drain,
    FromWorker,
    Hello,
    Listen,
    Resolved,
    Secrets,
    SpansTaken,
    Started,
    ToWorker,
    Unlisten,
)
from turnout.proxy.worker.worker import Worker

LAST_WORDS_S = 1.0
"""How long a worker that ends waits for the supervisor to read."""


class Process:
    """Hands the supervisor's messages to the worker that its first one makes, one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, build: str) -> None:
        self._loop = loop
        self._worker: Worker | None = None
        self._inbox: asyncio.Queue[tuple[ToWorker | FromWorker, list[int]]] = asyncio.Queue()
        self._channel = Channel(sock, loop, lambda message, fds: self._inbox.put_nowait((message, fds)), loop.stop)
        self._channel.send(Started(os.getpid(), build))
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(lambda task: loop.stop())

    @property
    def failure(self) -> BaseException | None:
        """What ended the process, if it was a fault."""
        return self._task.exception() if self._task.done() and not self._task.cancelled() else None

    def finish_sending(self) -> None:
        """Have the supervisor take what it was told last."""
        self._channel.finish_sending(LAST_WORDS_S)

    async def _run(self) -> None:
        while True:
            message, fds = await self._inbox.get()
            if isinstance(message, Hello):
                self._worker = Worker(self._loop, message, fds, self._channel.send, self._loop.stop)
            else:
                assert self._worker is not None, "the supervisor says Hello first"
                await self._obey(self._worker, message, fds)

    async def _obey(self, worker: Worker, message: ToWorker | FromWorker, fds: list[int]) -> None:
        match message:
            case Listen():
                await worker.listen(message.listener, fds[0])
            case Unlisten():
                worker.unlisten(message.listener)
            case Resolved():
                worker.apply_endpoints(message)
            case Secrets():
                await worker.apply_secrets(message)
            case Configure():
                await worker.configure(message)
            case SpansTaken():
                worker.on_spans_taken()
            case Drain():
                worker.drain(message.timeout_s)


def main(build: str) -> None:
    """Run until the supervisor has it end. `build` is what is told of the modules that run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    keep_freed_memory()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    process = Process(loop, socket.socket(fileno=int(sys.argv[1])), build)
    gc.collect()
    gc.freeze()
    loop.run_forever()
    if process.failure is not None:
        traceback.print_exception(process.failure)
        os._exit(1)
    process.finish_sending()
    os._exit(0)  # nothing is left to be done, and a worker's end should not wait for the collector
