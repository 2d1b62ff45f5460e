"""A real proxy: the process that `turnout proxy` is, its rules, its logs, its admin interface."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from free_ports import free_port

START_S = 20
FLUSH_BYTES = 40_000
FLUSH_HOST = "flush.test"


async def until(condition: Callable[[], Any], within_s: float = 20) -> Any:
    """Look again until the condition, which may be a coroutine function, holds; what it gave."""
    async with asyncio.timeout(within_s):
        while True:
            holds = condition()
            if asyncio.iscoroutine(holds):
                holds = await holds
            if holds:
                return holds
            await asyncio.sleep(0.01)


class Proxy:
    """`rules` is the file that it watches, `stdout` a descriptor, `environ` what is added to the environment. To be
    closed, whatever happens."""

    def __init__(
        self,
        folder: Path,
        rules: str,
        *arguments: str,
        host: str = "127.0.0.1",
        workers: int = 1,
        stdout: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host = host
        self.rules = folder / "rules.yaml"
        self.access_log = folder / "access.log"
        self.event_log = folder / "events.log"
        self.rules.write_text(rules)
        self.port, self.admin_port = free_port(host), free_port()
        authority = f"[{host}]" if ":" in host else host
        command = [
            sys.executable, "-m", "turnout.deploy", "proxy", "--rules", str(self.rules), "--workers", str(workers),
            "--listen", f"{authority}:{self.port}", "--admin", f"127.0.0.1:{self.admin_port}",
            "--access-log", str(self.access_log), *arguments,
        ]  # fmt: skip
        with self.event_log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, env={**os.environ, **(environ or {})}
            )
        self._wait_until_ready()

    # The process

    def close(self) -> None:
        """Kill what is left of it, and of its successors."""
        pids = {int(pid) for pid in re.findall(r"handing over to pid (\d+)", self.events())}
        for pid in pids | ({self.process.pid} if self.process.poll() is None else set()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; the exit code. If it does not come, what was said last is told."""
        try:
            return await asyncio.to_thread(self.process.wait, START_S)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"it does not end; the end of its log:\n{self.events()[-4_000:]}") from late

    async def workers(self) -> list[int]:
        """Process ids of the workers."""
        return [worker["pid"] for worker in (await self.stats())["supervisor"]["workers"]]

    # What it tells

    def events(self) -> str:
        return self.event_log.read_text()

    def access_lines(self) -> list[dict[str, Any]]:
        text = self.access_log.read_text() if self.access_log.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["host"] != FLUSH_HOST]

    async def access(self, count: int, **fields: Any) -> list[dict[str, Any]]:
        """Wait for that many access log lines with these values."""
        await self._flush()

        def found() -> list[dict[str, Any]]:
            lines = [line for line in self.access_lines() if all(line[k] == v for k, v in fields.items())]
            return lines if len(lines) >= count else []

        lines = await until(found)
        assert len(lines) == count, lines
        return lines

    async def admin(self, path: str, method: str = "GET") -> tuple[int, str]:
        return await asyncio.to_thread(self._admin, path, method)

    async def stats(self) -> dict[str, Any]:
        return json.loads((await self.admin("/stats"))[1])

    async def count(self, **fields: Any) -> int:
        """Requests in the counters with these values of route, predictor, code_class and flag."""
        total = 0
        for route in (await self.stats())["routes"]:
            for row in route["requests"]:
                if all({**route, **row}[name] == value for name, value in fields.items()):
                    total += row["count"]
        return total

    async def reload(self, rules: str) -> None:
        """Replace the rule file as an editor does, ask for a reload, and wait until it was judged."""
        before = sum((await self._reloads()).values())
        fresh = self.rules.with_suffix(".new")
        fresh.write_text(rules)
        fresh.replace(self.rules)
        self.signal(signal.SIGHUP)

        async def is_judged() -> bool:
            return sum((await self._reloads()).values()) > before

        await until(is_judged)

    async def _flush(self) -> None:
        """Lines are written about once a second, or when there are many bytes of them: one long line is enough."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(b"GET /%b HTTP/1.0\r\nHost: %b\r\n\r\n" % (b"a" * FLUSH_BYTES, FLUSH_HOST.encode()))
        await reader.read(-1)
        writer.close()

    async def _reloads(self) -> dict[str, int]:
        facts = (await self.stats())["supervisor"]
        return {name: facts[name] for name in ("reload_successes", "reload_failures")}

    def _admin(self, path: str, method: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                if self._admin("/ready", "GET")[0] == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                self.close()
                raise AssertionError(f"the proxy did not come up:\n{self.events()}")
            time.sleep(0.02)


def resident_kib(pid: int) -> int:
    """The resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
