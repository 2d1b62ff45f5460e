"""A proxy process with fake workers: `python fake_proxy.py OPTIONS SNAPSHOT`.

OPTIONS is ProxyOptions as JSON, SNAPSHOT a file with a Snapshot as JSON that is read again at SIGHUP. Argument
`--broken-successor`: a successor ends at once.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from turnout.proxy.supervisor import run
from turnout.proxy.supervisor.options import ProxyOptions
from turnout.proxy.supervisor.supervisor import Supervisor
from turnout.rules.snapshot import Origins, Snapshot
from turnout.rules.source import Loaded, Update

FAKE_WORKER = (sys.executable, str(Path(__file__).with_name("fake_worker.py")), "none")


class SnapshotFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.again = asyncio.Event()

    async def updates(self) -> AsyncIterator[Update]:
        while True:
            yield Loaded(msgspec.json.decode(self.path.read_bytes(), type=Snapshot), Origins())
            await self.again.wait()
            self.again.clear()

    def reload(self) -> None:
        self.again.set()

    def on_served(self, loaded: Loaded) -> None:
        """Nothing is kept."""

    def dump(self) -> None:
        """Nothing of its own."""

    def discovery(self) -> None:
        """No control plane."""


def with_fake_workers(options, source, **more):
    broken = [sys.executable, "-c", "raise SystemExit(4)"] if "--broken-successor" in sys.argv else None
    return Supervisor(options, source, worker_command=FAKE_WORKER, successor_command=broken, **more)


if __name__ == "__main__":
    run.Supervisor = with_fake_workers
    given = msgspec.json.decode(sys.argv[1], type=ProxyOptions)
    sys.exit(run.run_proxy(given, SnapshotFile(Path(sys.argv[2]))))
