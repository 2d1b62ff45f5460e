"""The fault script: a control plane that is killed again and again while it pushes, and proxies that nobody notices it
by. Half of the documents are the files', half the API's.

All that happens is drawn from a seed, which is printed; TURNOUT_FAULT_SEED in the environment is one to begin with.
"""

import asyncio
import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from actors.control_plane import ControlPlane
from actors.echo import Echo
from actors.generations import Ledger
from actors.proxy import until
from actors.wire import Wire, connect
from actors.xds_proxy import XdsProxy

SERVERS = 5
CLIENTS = 2
"""Of each proxy."""
PACE_S = 0.002
"""Between two requests of a client: both control plane and proxies need the processor, too."""
LAST_S = 60.0
"""Within which everybody is to have the newest: the control plane may be called again after 15 s only, and a machine
may be busy."""


class Witness:
    """Clients of one proxy, who judge each answer. `shown` is the newest generation of each owner that it has shown."""

    def __init__(self, proxy: XdsProxy, ledgers: list[Ledger]) -> None:
        self.proxy = proxy
        self.ledgers = ledgers
        self.shown = {ledger.owner: 0 for ledger in ledgers}
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._stopping = False

    @contextlib.asynccontextmanager
    async def watching(self, chance: random.Random) -> AsyncIterator[None]:
        """Ask for as long as the block lasts."""
        tasks = [asyncio.create_task(self._client(random.Random(chance.random()))) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    def has_all(self) -> bool:
        """Whether the newest generation of each owner answers."""
        return all(self.shown[ledger.owner] == ledger.newest for ledger in self.ledgers)

    async def _client(self, chance: random.Random) -> None:
        wire = await connect(self.proxy.port)
        while not self._stopping:
            try:
                await self._ask(wire, chance)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.wrong.append(repr(error))
                wire = await connect(self.proxy.port)
            await asyncio.sleep(PACE_S)
        wire.close()

    async def _ask(self, wire: Wire, chance: random.Random) -> None:
        ledger = chance.choice(self.ledgers)
        path, oldest = chance.choice(ledger.paths), self.shown[ledger.owner]
        await wire.send(f"GET {path} HTTP/1.1\r\nHost: load.test\r\n\r\n".encode())
        answer = await wire.read_response()
        self.answers[answer.status] += 1
        if answer.status != 200:
            self.wrong.append(f"{path}: {answer.status} {answer.body!r}")
            return
        generation = int(answer.get("x-generation") or -1)
        fault = ledger.judge(path, generation, answer.get("x-predictor") or "", answer.body.decode(), oldest)
        if fault:
            self.wrong.append(fault)
        self.shown[ledger.owner] = max(self.shown[ledger.owner], generation)


class Script:
    """What happens to the control plane."""

    def __init__(self, control: ControlPlane, files: Ledger, api: Ledger, chance: random.Random) -> None:
        self.control = control
        self.files = files
        self.api = api
        self.witnesses: list[Witness] = []
        self.kept = 0
        """The newest generation of the API's that was acknowledged."""
        self._chance = chance

    async def change(self) -> None:
        """One random change, by file or by API; that it is accepted is not waited for, or is, as it comes."""
        if self._chance.random() < 0.5:
            self.control.write(self.files.grow())
        else:
            await self._apply(self.api.grow())

    async def kill_in_between(self) -> None:
        """Kill it at some moment of some changes, and change the files while it is away."""
        for _ in range(self._chance.randint(1, 3)):
            await self.change()
            await asyncio.sleep(self._chance.choice((0.0, 0.0, 0.1, 0.3)))
        await self._chance.choice((self._nothing, self._any_shows_it))()
        self.control.kill()
        if self._chance.random() < 0.5:
            self.control.write(self.files.grow())
        self.control.start()
        if self._chance.random() < 0.2:  # not even up
            await asyncio.sleep(self._chance.uniform(0.0, 0.6))
            self.control.kill()
            self.control.start()
        await self.control.ready()
        await self.check_nothing_is_lost()

    async def check_nothing_is_lost(self) -> None:
        """What was acknowledged is there."""
        status, text = await self.control.ask(f"/api/v1/objects/HTTPRoute/default/{self.api.owner}")
        assert status == 200, text
        assert int(json.loads(text)["document"]["metadata"]["annotations"]["generation"]) >= self.kept

    async def settle(self) -> None:
        """The last changes, by both, and until they are everywhere."""
        self.control.write(self.files.grow())
        await self._apply(self.api.grow())
        assert self.kept == self.api.newest
        with contextlib.suppress(TimeoutError):
            await until(lambda: all(witness.has_all() for witness in self.witnesses), LAST_S)
        newest = {ledger.owner: ledger.newest for ledger in (self.files, self.api)}
        assert [witness.shown for witness in self.witnesses] == [newest] * len(self.witnesses)

    async def _apply(self, text: str) -> None:
        number = self.api.newest
        if await self.control.apply(text) == 200:
            self.kept = number

    async def _nothing(self) -> None:
        """Not even a moment."""

    async def _any_shows_it(self) -> None:
        """Until it has begun to be pushed."""
        with contextlib.suppress(TimeoutError):
            await until(lambda: any(w.shown["f"] == self.files.newest for w in self.witnesses), 1.0)


@pytest.mark.parametrize(
    "kills", [5, pytest.param(200, marks=(pytest.mark.soak, pytest.mark.timeout(1500)))], ids="{} kills".format
)
async def test_no_request_notices_that_the_control_plane_is_killed(kills: int, tmp_path: Path) -> None:
    seed = os.environ.get("TURNOUT_FAULT_SEED") or random.randbytes(4).hex()
    print(f"TURNOUT_FAULT_SEED={seed}")
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        echoes = [await stack.enter_async_context(Echo(f"s{n}")) for n in range(SERVERS)]
        servers = {echo.name: echo.port for echo in echoes}
        files, api = Ledger("f", servers, chance), Ledger("a", servers, chance)
        control = ControlPlane(tmp_path / "control")
        stack.callback(control.close)
        script = Script(control, files, api, chance)
        control.write(files.grow())
        control.start()
        await control.ready()
        assert await control.apply(api.grow()) == 200
        await control.has_published()
        for name, *variant in (("delta",), ("sotw", "--xds-sotw")):
            proxy = XdsProxy(tmp_path / name, control.xds, *variant, "--node-id", name)
            stack.callback(proxy.close)
            script.witnesses.append(Witness(proxy, [files, api]))
        for witness in script.witnesses:
            await witness.proxy.ready()
        async with AsyncExitStack() as load:
            for witness in script.witnesses:
                await load.enter_async_context(witness.watching(chance))
            for _ in range(kills):
                await script.kill_in_between()
            await script.settle()
        for witness in script.witnesses:
            assert witness.wrong == []
            assert set(witness.answers) == {200}
        await check_the_end(script)


async def check_the_end(script: Script) -> None:
    """Every proxy runs on just the same, it is the newest, and nothing was refused."""
    dumps = [await witness.proxy.dump() for witness in script.witnesses]
    assert dumps[0]["version"] == dumps[1]["version"]
    for dump in dumps:
        assert dump["source"]["counts"]["nacks"] == 0
        assert {one["state"] for one in dump["source"]["resources"]} == {"ACKED"}
        for ledger in (script.files, script.api):
            told = {c["name"].removeprefix("default/"): c for c in dump["snapshot"]["clusters"]}
            for name, of in ledger.generations[-1].endpoints.items():
                if name in told:
                    ports = {endpoint["port"] for endpoint in told[name]["endpoints"]}
                    assert ports == {ledger.servers[server] for server in of}
    status = await script.control.status()
    assert status["state"]["hash"] == status["published"]
    types = [each for proxy in status["proxies"] for each in proxy["types"]]
    assert {each["status"] for each in types} == {"SYNCED"}
    assert sorted(proxy["node"] for proxy in status["proxies"]) == ["delta", "sotw"]
