"""A real control plane: the process that `turnout control` is, its rule file, its store, its API. Its ports stay the
same when it is started again, so that clients find it."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from actors.proxy import until
from free_ports import free_port


class ControlPlane:
    """To be started with `start`, as often as wanted, and closed, whatever happens."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rules = folder / "rules" / "rules.yaml"
        self.rules.parent.mkdir(exist_ok=True)
        self.state = folder / "state.db"
        self.event_log = folder / "events.log"
        self.xds_port, self.api_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = arguments

    @property
    def xds(self) -> str:
        return f"127.0.0.1:{self.xds_port}"

    # The process

    def start(self) -> None:
        """Start it. It is not waited for."""
        command = [
            sys.executable, "-m", "turnout.deploy", "control", "--rules", str(self.rules.parent), "--xds", self.xds,
            "--api", f"127.0.0.1:{self.api_port}", "--state", str(self.state), *self._arguments,
        ]  # fmt: skip
        with self.event_log.open("ab") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr)

    def kill(self) -> None:
        """SIGKILL: nothing is said to anybody."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    close = kill

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 20)

    def events(self) -> str:
        return self.event_log.read_text()

    # What it is told

    def write(self, rules: str) -> None:
        """Replace the rule file as an editor does."""
        fresh = self.rules.with_suffix(".new")
        fresh.write_text(rules)
        fresh.replace(self.rules)

    async def ready(self) -> None:
        """Wait until it serves."""

        async def is_ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.events()
            return (await self.ask("/ready"))[0] == 200

        await until(is_ready)

    async def has_published(self) -> None:
        """Wait until proxies are told what is accepted now."""
        accepted = (await self.status())["state"]["hash"]

        async def is_published() -> bool:
            return (await self.status())["published"] == accepted

        await until(is_published)

    async def status(self) -> Any:
        return json.loads((await self.ask("/api/v1/status"))[1])

    async def ask(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, str]:
        """Status and body; (0, "") while nobody listens there."""
        return await asyncio.to_thread(self._ask, path, method, body)

    async def apply(self, text: str) -> int:
        """`turnout apply`; the status."""
        return (await self.ask("/api/v1/apply", "POST", {"files": [{"text": text}]}))[0]

    def _ask(self, path: str, method: str, body: Any) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.api_port}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""
