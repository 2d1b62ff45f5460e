"""A real proxy whose rules come from a control plane."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from actors.proxy import Proxy, until
from free_ports import free_port


class XdsProxy(Proxy):
    """`turnout proxy --xds`: not waited for, since it is ready only when it was told its first configuration."""

    def __init__(
        self, folder: Path, control_plane: str, *arguments: str, node: str = "node-1", workers: int = 1
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host = "127.0.0.1"
        self.access_log = folder / "access.log"
        self.event_log = folder / "events.log"
        self.port, self.admin_port = free_port(), free_port()
        command = [
            sys.executable, "-m", "turnout.deploy", "proxy", "--xds", control_plane, "--node-id", "node-1",
            "--workers", str(workers), "--listen", f"127.0.0.1:{self.port}",
            "--admin", f"127.0.0.1:{self.admin_port}", "--access-log", str(self.access_log), *arguments,
        ]  # fmt: skip
        # Its cache is in the working directory.
        with self.event_log.open("ab") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr, cwd=folder)

    async def ready(self) -> None:
        async def is_ready() -> bool:
            assert self.process.poll() is None, self.events()
            return (await self.admin_soon("/ready"))[0] == 200

        await until(is_ready)

    async def admin_soon(self, path: str) -> tuple[int, str]:
        """As `admin`, and (0, "") while nobody listens there."""
        try:
            return await self.admin(path)
        except OSError:
            return 0, ""

    async def dump(self) -> Any:
        return await self.json("/config_dump")

    async def json(self, path: str) -> Any:
        return json.loads((await self.admin(path))[1])
