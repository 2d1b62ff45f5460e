"""A model server in a process of its own (`model_server`), in the hands of a test: killed, stopped, started again."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = Path(__file__).with_name("model_server.py")


class ModelProcess:
    """`async with ModelProcess("a") as a`: listens on `a.port`, which it keeps when it starts again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    async def __aenter__(self) -> "ModelProcess":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, **settings: Any) -> None:
        """(Again) with these settings; what it saw is forgotten."""
        self.kill()
        command = [sys.executable, str(PROGRAM), self.name, str(self.port)]
        pipe = subprocess.PIPE
        self._process = await asyncio.to_thread(subprocess.Popen, command, stdin=pipe, stdout=pipe, text=True)
        self.port = int(await self._read())
        await self.tell(**settings)

    async def tell(self, **settings: Any) -> dict[str, Any]:
        """Change settings (`model_server.Settings`); what it saw until now (`model_server.Seen`)."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        return json.loads(await self._read())

    async def seen(self) -> dict[str, Any]:
        """What it saw until now (`model_server.Seen`)."""
        return await self.tell()

    async def is_idle(self) -> bool:
        """Whether it has no request in its hands."""
        return not (await self.seen())["active"]

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def stop(self) -> None:
        """SIGSTOP: its kernel still takes connections and bytes, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def _read(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        assert line, f"{self.name} has ended"
        return line


@contextlib.asynccontextmanager
async def model_processes(*names: str) -> AsyncIterator[list[ModelProcess]]:
    """Some of them."""
    async with contextlib.AsyncExitStack() as stack:
        yield list(await asyncio.gather(*(stack.enter_async_context(ModelProcess(name)) for name in names)))
