"""A `Shadow` in a process of its own, so that what it does takes nothing from who measures: `shadow_process.py WAY …`
prints its port."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


async def main(*ways: str) -> None:
    from actors.mirroring import Shadow

    async with Shadow(*ways) as shadow:
        shadow.flood_bytes = 10 << 30
        shadow.keeps = False
        print(shadow.port, flush=True)
        await asyncio.Event().wait()


@contextmanager
def shadow_process(*ways: str) -> Iterator[int]:
    """Its port, while the block lasts."""
    here = Path(__file__)
    folders = here.parents[1], here.parents[2] / "common"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, str(here), *ways]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
