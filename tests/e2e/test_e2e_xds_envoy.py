"""Real Envoy and `turnout proxy`, both with state-of-the-world and with delta ADS, on one control plane: one meaning.

Every example and the table of interop/requests.yaml are asked of all four, and all must do the same; then all must
follow what changes. Envoy's bootstrap is the one of the documentation.
"""

import asyncio
import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from actors.documents import predictor, route
from actors.echo import Echo
from actors.envoy import Envoy, require_envoy
from actors.interop import Request, Stage
from actors.interop_documents import DATA_PLANES, DataPlane
from actors.interop_table import failures, outcome_of, read_cases
from actors.load import Load
from actors.proxy import until
from actors.wire import connect

from turnout.rules.examples import examples_path

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Path(__file__).parent / "interop"
DOCUMENTS = (HERE / "documents.yaml").read_text()
TABLE: dict[str, list[Any]] = yaml.safe_load((HERE / "requests.yaml").read_text())
# At a Gateway, which each data plane needs here, the GRPCRoute without hostnames of that example leaves the HTTPRoutes
# none; test_e2e_xds_grpc_routes.py asks for calls.
EXAMPLES = sorted(path.stem for path in examples_path().glob("*.yaml") if path.stem != "grpc")
SPLITS = {
    "/plain": {"iris-v1": 3 / 4, "iris-v2": 1 / 4},
    "/partly-missing": {"iris-v1": 1 / 2, "500": 1 / 2},
    "/apart": {"iris-v1": 2 / 4, "iris-v2 /rewritten": 1 / 4, "302 http://new.test:PORT/apart": 1 / 4},
}
SAMPLE = 600


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    require_envoy()
    async with Echo("iris-v1") as v1, Echo("iris-v2") as v2:
        v1.fields = v2.fields = ["Server: model", "X-From: model", "X-Secret: 7"]
        stage = Stage(tmp_path_factory.mktemp("interop"), {8081: v1, 8082: v2})
        try:
            await stage.start(DOCUMENTS)
            yield stage
        finally:
            stage.close()


# The same answer


async def check(stage: Stage, name: str) -> None:
    faults = []
    for case in read_cases(TABLE[name]):
        faults += [f"{case}: {fault}" for fault in failures(case, await stage.ask_all(case.request, case.only))]
    assert not faults, "\n".join(["", *faults])


async def test_all_do_what_the_table_says(stage: Stage) -> None:
    await stage.push(DOCUMENTS)
    await check(stage, "documents")


@pytest.mark.parametrize("name", EXAMPLES)
async def test_all_do_the_same_with_an_example(stage: Stage, name: str) -> None:
    await stage.push((examples_path() / f"{name}.yaml").read_text())
    await check(stage, name)


@pytest.mark.parametrize("path", SPLITS)
async def test_the_shares_of_a_split_are_what_its_weights_say(stage: Stage, path: str) -> None:
    """Within four sigma. One in some thousand is not, by chance; two of them in a row are none."""
    await stage.push(DOCUMENTS)
    for plane in DATA_PLANES:
        samples = [await sample(stage, plane, path)]
        if not is_near(samples[0], SPLITS[path]):
            samples.append(await sample(stage, plane, path))
        assert is_near(samples[-1], SPLITS[path]), (plane.name, samples)


async def sample(stage: Stage, plane: DataPlane, path: str) -> Counter[str]:
    request = Request("GET", path, "split.test")
    return Counter([outcome_of(await stage.ask(plane, request), request) for _ in range(SAMPLE)])


def is_near(got: Counter[str], shares: dict[str, float]) -> bool:
    return set(got) == set(shares) and all(
        abs(got[name] - SAMPLE * share) <= 4 * sqrt(SAMPLE * share * (1 - share)) for name, share in shares.items()
    )


async def test_what_takes_too_long_is_a_504_of_each(stage: Stage) -> None:
    await stage.push(DOCUMENTS)
    stage.predictors[8081].delay_s = 0.4
    try:
        for path, status in (("/request", 504), ("/backend", 504), ("/none", 200)):
            request = Request("GET", path, "slow.test")
            answers = await asyncio.gather(*(stage.ask(plane, request) for plane in DATA_PLANES))
            assert [answer.status for answer in answers] == [status] * len(DATA_PLANES)
    finally:
        stage.predictors[8081].delay_s = 0.0


async def test_a_websocket_goes_through_each(stage: Stage) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        writer.write(await reader.readexactly(5))
        writer.close()

    fields = (("connection", "upgrade"), ("upgrade", "websocket"))
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await stage.push(predictor("echo", port) + route("{rules: [{backendRefs: [{name: echo}]}]}"))
        for plane in DATA_PLANES:
            wire = await connect(stage.ports[8080], plane.address)
            await wire.send(Request("GET", "/", fields=fields).data())
            head = await wire.read_head()
            assert (head.status, head.get("upgrade")) == (101, "websocket")
            await wire.send(b"hello")
            assert await wire.read(5) == b"hello"
            wire.close()


# What changes


async def answered_by(stage: Stage, name: str) -> None:
    """Wait until all data planes send `GET /p` there."""

    async def holds() -> bool:
        answers = await stage.ask_all(Request("GET", "/p", "paths.test"))
        return {answer.predictor for answer in answers.values()} == {name}

    await until(holds)


async def test_new_endpoints_arrive_in_all_and_nothing_else_is_sent(stage: Stage) -> None:
    await stage.push(DOCUMENTS)
    await answered_by(stage, "iris-v1")
    before = await pushes(stage)
    stage.change(DOCUMENTS.replace("port: 8081", "port: 8082"))
    await answered_by(stage, "iris-v2")
    assert await pushes(stage) - before == {"EDS": len(DATA_PLANES)}


async def pushes(stage: Stage) -> Counter[str]:
    text = (await stage.control.ask("/metrics"))[1]
    found = re.findall(r'^turnout_control_pushes_total\{type="(\w+)"\} (\S+)', text, re.MULTILINE)
    return Counter({kind: int(float(count)) for kind, count in found})


async def test_a_rollback_arrives_in_all_and_stays_until_it_is_taken_back(stage: Stage) -> None:
    await stage.push(DOCUMENTS)
    good = await stage.control.status()
    await stage.push(DOCUMENTS.replace("port: 8081", "port: 8082"))
    await answered_by(stage, "iris-v2")
    status, _ = await stage.control.ask("/api/v1/rollback", "POST", {"state": good["state"]["hash"]})
    assert status == 200
    await answered_by(stage, "iris-v1")
    stage.change(DOCUMENTS.replace("port: 8081", "port: 1"))

    async def is_held() -> bool:
        return bool((await stage.control.status())["held"])

    await until(is_held)
    await stage.settled()
    await answered_by(stage, "iris-v1")
    stage.change(DOCUMENTS.replace("port: 8081", "port: 8082"))
    await stage.control.ask("/api/v1/resume", "POST", {})
    await answered_by(stage, "iris-v2")


async def test_no_request_notices_that_clusters_come_and_go(stage: Stage) -> None:
    def to(name: str, port: int) -> str:
        return predictor(name, port) + route(f"{{rules: [{{backendRefs: [{{name: {name}}}]}}]}}")

    await stage.push(to("turn-0", 8081))
    loads = [Load(stage.ports[8080], host=plane.address) for plane in DATA_PLANES]
    async with contextlib.AsyncExitStack() as stack:
        for load in loads:
            await stack.enter_async_context(load.running(clients=1))
        for turn in range(1, 7):
            await stage.push(to(f"turn-{turn}", 8081 + turn % 2))
    for load in loads:
        assert not load.failures
        assert set(load.answers) == {"iris-v1", "iris-v2"}


async def test_listeners_come_and_go_in_all(stage: Stage) -> None:
    await stage.push((examples_path() / "gateway.yaml").read_text())
    places = [(plane.address, stage.ports[port]) for plane in DATA_PLANES for port in (8088, 8089)]
    assert all([await accepts(*place) for place in places])
    await stage.push(DOCUMENTS)

    async def are_gone() -> bool:
        return not any([await accepts(*place) for place in places])

    await until(are_gone)


async def accepts(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


# What is told of it


async def test_the_status_command_shows_that_all_have_taken_everything(stage: Stage) -> None:
    await stage.push(DOCUMENTS)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "turnout.deploy", "status",
        env={**os.environ, "TURNOUT_API": f"127.0.0.1:{stage.control.api_port}"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    rows = {tuple(line.split()[:3]) for line in output.splitlines()}
    for plane in DATA_PLANES:
        assert rows >= {(plane.name, kind, "SYNCED") for kind in ("CDS", "EDS", "LDS", "RDS")}


async def test_nothing_was_ever_refused(stage: Stage) -> None:
    """In the whole of this module."""
    text = (await stage.control.ask("/metrics"))[1]
    assert re.findall(r"^turnout_control_nacks_total\{.*\} [1-9].*", text, re.MULTILINE) == []
    for process in stage.processes.values():
        if isinstance(process, Envoy):
            assert process.count("cluster_manager.cds.update_rejected") == 0
            assert process.count("listener_manager.lds.update_rejected") == 0
            lines = process.events().splitlines()
            assert [line for line in lines if "global_downstream_max_connections" not in line] == []
        else:
            assert "rejected" not in process.events()
