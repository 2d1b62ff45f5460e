"""Workers tell whether they run plain Python or the compiled build, and it is what was asked for."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from actors.documents import predictor, split
from actors.echo import Echo
from actors.proxy import Proxy

from turnout.proxy.compiled import FOLDER, SWITCH

StartProxy = Callable[..., Proxy]
ASKED = "compiled" if os.environ[SWITCH] == "1" else "plain"


def loaded_library(pid: int) -> bool:
    """Whether a process has the build's library in its memory, whatever it says."""
    return str(FOLDER) in Path(f"/proc/{pid}/maps").read_text()


async def test_each_worker_tells_what_it_runs(start_proxy: StartProxy) -> None:
    proxy = start_proxy(predictor("v1", 1), workers=2)
    assert [worker["build"] for worker in (await proxy.stats())["supervisor"]["workers"]] == [ASKED] * 2
    assert re.findall(r"worker \d \(pid \d+\) runs (.+)", proxy.events()) == [ASKED] * 2
    assert [loaded_library(pid) for pid in await proxy.workers()] == [ASKED == "compiled"] * 2
    assert not loaded_library(proxy.process.pid), "the supervisor is never on a request's path"


async def test_the_switch_makes_workers_plain(start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)))
        (pid,) = await proxy.workers()
        assert not loaded_library(pid)
