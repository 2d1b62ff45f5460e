"""`turnout up --demo`, as a new user meets it: what it prints works, and it leaves nothing behind."""

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from turnout.deploy.demo.plan import Plan
from turnout.proxy.supervisor.options import ProxyOptions

if TYPE_CHECKING:
    from conftest import DemoRun, StartDemo


async def shell(line: str) -> dict[str, Any]:
    """Run a line as it would be pasted, and read the JSON that it prints."""
    process = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
    stdout, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, line
    answer: dict[str, Any] = json.loads(stdout)
    return answer


async def test_the_printed_lines_work_and_an_edited_rule_file_moves_the_split(
    start_demo: "StartDemo", require_tool: Callable[[str], str]
) -> None:
    require_tool("curl")
    run = await start_demo()
    by_weight, by_header = run.curl_lines()
    assert str(run.rules) in run.told
    assert "Spans go nowhere: OTEL_EXPORTER_OTLP_ENDPOINT would be" in run.told

    answers = [await shell(by_weight) for _ in range(3)]
    assert {answer["model_name"] for answer in answers} == {"iris"}
    assert {answer["outputs"][1]["data"][0] for answer in answers} <= {"versicolor", "virginica"}
    assert {(await shell(by_header))["model_version"] for _ in range(3)} == {"v2"}

    await move_all_traffic_to_v2(run, by_weight)
    assert {(await shell(by_weight))["model_version"] for _ in range(10)} == {"v2"}

    family = run.family()
    assert len(family) >= 5  # this, two models, a supervisor and a worker
    assert await run.end(signal.SIGINT, whole_group=True) == 0
    await run.all_gone(family)


async def move_all_traffic_to_v2(run: "DemoRun", by_weight: str) -> None:
    text, count = re.subn(r"weight: 90\b", "weight: 0", run.rules.read_text())
    assert count == 1
    run.rules.write_text(text)
    # "At once" is the time until the file is looked at: well under a second. Ten answers in a row by chance
    # from a model that gets one in ten would be as likely as winning a lottery.
    async with asyncio.timeout(5):
        in_a_row = 0
        while in_a_row < 10:
            in_a_row = in_a_row + 1 if (await shell(by_weight))["model_version"] == "v2" else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_to_the_parent_alone_ends_all_of_it(start_demo: "StartDemo", number: signal.Signals) -> None:
    run = await start_demo()
    family = run.family()
    assert await run.end(number) == 0
    await run.all_gone(family)


async def test_a_signal_before_it_is_ready_ends_all_of_it(start_demo: "StartDemo") -> None:
    run = await start_demo(until_ready=False)
    async with asyncio.timeout(20):
        while len(run.family()) < 4:
            await asyncio.sleep(0.01)
    family = run.family()
    assert await run.end(signal.SIGINT) == 0
    await run.all_gone(family)


async def test_when_a_model_dies_the_rest_ends_with_a_line_that_names_it(start_demo: "StartDemo") -> None:
    run = await start_demo()
    family = run.family()
    model = next(pid for pid in family if b"random-forest" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
    os.kill(model, signal.SIGKILL)
    assert await asyncio.wait_for(run.process.wait(), 30) == 1
    assert run.process.stderr is not None
    last = (await run.process.stderr.read()).decode().splitlines()[-1]
    assert last == f"turnout up: iris-v2 (pid {model}) was killed by SIGKILL"
    await run.all_gone(family)


@pytest.mark.parametrize("name", ["listen", "admin", "iris-v1", "iris-v2"])
async def test_a_taken_port_is_one_line_that_names_it(
    start_demo: "StartDemo", demo_ports: dict[str, int], name: str
) -> None:
    with socket.create_server(("127.0.0.1", demo_ports[name])):
        run = await start_demo(until_ready=False)
        stdout, stderr = await asyncio.wait_for(run.process.communicate(), 30)
    assert run.process.returncode == 1
    assert stdout == b""
    line = f"turnout up: cannot listen on 127.0.0.1:{demo_ports[name]}: address already in use\n"
    assert stderr.decode() == line


async def test_rules_with_errors_are_told_before_anything_starts(start_demo: "StartDemo", demo_rules: Path) -> None:
    demo_rules.write_text(demo_rules.read_text().replace("weight: 90", "weight: many"))
    run = await start_demo(until_ready=False)
    stdout, stderr = await asyncio.wait_for(run.process.communicate(), 30)
    assert run.process.returncode == 1
    assert stdout == b""
    assert f"{demo_rules}:" in stderr.decode()


async def test_rules_without_the_demo_predictors_are_refused(start_demo: "StartDemo", demo_rules: Path) -> None:
    demo_rules.write_text(demo_rules.read_text().replace("iris-v2", "iris-v9"))
    run = await start_demo(until_ready=False)
    _, stderr = await asyncio.wait_for(run.process.communicate(), 30)
    assert run.process.returncode == 1
    assert "the demo needs a Predictor iris-v2 with one endpoint in the rules" in stderr.decode()


def test_the_demo_tells_where_its_spans_go() -> None:
    told = str(Plan(ProxyOptions(), [], [], spans="http://collector:4318/v1/traces"))
    assert told.endswith("Spans go to http://collector:4318/v1/traces\n")
