"""`turnout control` as a process, and the commands that ask it, with a client on its xDS port."""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from turnout.deploy.cli import COMMANDS, main
from turnout.deploy.commands import control as control_command
from turnout.rules.examples import examples_path
from turnout.xds.resources import CLUSTER, ENDPOINTS, ROUTES, SECRET, TYPES

LOCAL = ("--xds=127.0.0.1:0", "--api=127.0.0.1:0")
START_S = 30
WINE = """\
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: wine}
spec: {endpoints: [{address: 127.0.0.1, port: 9999}]}
"""
WINE_ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wine}
spec: {hostnames: [wine.test], rules: [{backendRefs: [{name: wine}]}]}
"""
ASKED = {ENDPOINTS: ["default/iris-v1", "default/iris-v2"], ROUTES: ["default"]}
"""What the client asks for by name; of the other types it asks for all."""
PAGE = (Path(__file__).parents[2] / "docs/control-plane.md").read_text()


class Control:
    """One `turnout control` over a folder of rules, with its store beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rules = folder / "rules" / "canary.yaml"
        self.process: asyncio.subprocess.Process | None = None
        self.log = ""
        self.ports: dict[str, int] = {}

    async def start(self, *arguments: str, ready: bool = True) -> None:
        """Start it, and wait until it serves."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "turnout.deploy", "control", *LOCAL, "--state", str(self.folder / "state.db"),
            "--rules", str(self.rules.parent), *arguments,
            stderr=asyncio.subprocess.PIPE, cwd=self.folder,
        )  # fmt: skip
        self.ports = {"api": await self.read_port("the API is at http://")}
        if ready:
            self.ports["xds"] = await self.read_port("discovery is at ")

    async def read_port(self, before: str) -> int:
        """Read the log up to the line with the port."""
        assert self.process is not None
        assert self.process.stderr is not None
        async with asyncio.timeout(START_S):
            while True:
                line = (await self.process.stderr.readline()).decode()
                assert line, f"it ended; it said:\n{self.log}"
                self.log += line
                if found := re.search(rf"{before}[^ ]*:(\d+)", line):
                    return int(found[1])

    async def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        _, rest = await self.process.communicate()
        self.log += rest.decode()
        assert "Traceback" not in self.log
        assert self.process.returncode is not None
        return self.process.returncode

    async def turnout(self, *words: str, code: int = 0) -> str:
        """Run a command as a process; what it printed on both outputs."""
        environment = {**os.environ, "TURNOUT_API": f"127.0.0.1:{self.ports['api']}", "COLUMNS": "200"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "turnout.deploy", *words, env=environment, cwd=self.folder,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), START_S)
        assert process.returncode == code, output.decode()
        return output.decode()

    async def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(await self.turnout(*words, "-o", "json", code=code))

    async def status_when(self, condition: Callable[[Any], bool], code: int = 0) -> Any:
        """Ask again until the status is so."""
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(AssertionError):
                    if condition(told := await self.json("status", code=code)):
                        return told


class Client:
    """A state-of-the-world client that asks for all types, and takes what it gets unless told otherwise."""

    def __init__(self, port: int, node: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._call = AggregatedDiscoveryServiceStub(self._channel).StreamAggregatedResources()
        self._node = node
        self.refuses: set[str] = set()
        self.got: dict[str, DiscoveryResponse] = {}
        self.news = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        for type_url in (kind for kind in TYPES if kind != SECRET):
            request = DiscoveryRequest(type_url=type_url, resource_names=ASKED.get(type_url, ()))
            request.node.id = self._node
            await self._call.write(request)
        while (response := await self._call.read()) is not grpc.aio.EOF:
            await self._answer(response)

    async def _answer(self, response: DiscoveryResponse) -> None:
        request = DiscoveryRequest(
            type_url=response.type_url, response_nonce=response.nonce, resource_names=ASKED.get(response.type_url, ())
        )
        if response.type_url in self.refuses:
            old = self.got.get(response.type_url)
            request.version_info = old.version_info if old else ""
            request.error_detail.message = "no, thank you"
        else:
            self.got[response.type_url] = response
            request.version_info = response.version_info
        await self._call.write(request)
        self.news.set()

    async def close(self) -> None:
        self._call.cancel()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._channel.close()


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "canary.yaml").write_text((examples_path() / "canary.yaml").read_text())
    control = Control(tmp_path)
    yield control
    if control.process is not None and control.process.returncode is None:
        control.process.kill()
        await control.process.wait()


@pytest.fixture
async def connect(control: Control) -> AsyncIterator[Callable[[str], Awaitable[Client]]]:
    clients: list[Client] = []

    async def connect(node: str) -> Client:
        clients.append(Client(control.ports["xds"], node))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()


Connect = Callable[[str], Awaitable[Client]]


def statuses(told: Any) -> dict[str, str]:
    return {kind["type"]: kind["status"] for proxy in told["proxies"] for kind in proxy["types"]}


def all_synced(told: Any) -> bool:
    return statuses(told) == dict.fromkeys(("CDS", "EDS", "LDS", "RDS"), "SYNCED")


def reweigh(text: str) -> str:
    return text.replace("weight: 90", "weight: 80").replace("weight: 10", "weight: 20")


async def test_a_document_goes_its_way_from_the_command_to_a_proxy(control: Control, connect: Connect) -> None:
    await control.start("--log-format", "json")
    assert json.loads(control.log.splitlines()[0])["logger"] == "control"
    client = await connect("sidecar-1")
    await control.status_when(all_synced)
    (control.folder / "wine.yaml").write_text(WINE + "---\n" + WINE_ROUTE)
    told = await control.turnout("apply", "-f", "wine.yaml", "-m", "a second model")
    assert "Predictor default/wine created" in told
    async with asyncio.timeout(START_S):
        while len(client.got[CLUSTER].resources) < 3:
            client.news.clear()
            await client.news.wait()
    told = await control.turnout("status")
    version = client.got[ROUTES].version_info
    assert re.search(rf"^sidecar-1 +RDS +SYNCED +\S+ +{version} +1$", told, re.MULTILINE)
    assert re.search(r"Predictor +default +wine +api +2 +wine.yaml:1", await control.turnout("get"))
    assert "port: 9999" in await control.turnout("get", "predictor", "wine")
    assert "deleted" in await control.turnout("delete", "predictors", "wine")
    assert "there is no Predictor default/wine" in await control.turnout("get", "predictor", "wine", code=1)
    metrics = await asyncio.to_thread(read_url, f"http://127.0.0.1:{control.ports['api']}/metrics")
    assert 'turnout_control_proxies{status="SYNCED"} 1.0' in metrics.splitlines()
    there = set(re.findall(r"^# TYPE (turnout_\w+) ", metrics, re.MULTILINE))
    assert set(re.findall(r"`(turnout_control_\w+)[`{]", PAGE)) == there
    assert await control.end(signal.SIGTERM) == 0


async def test_a_rollback_reaches_proxies_and_holds_the_files_until_resume(control: Control, connect: Connect) -> None:
    await control.start()
    client = await connect("sidecar-1")
    first = (await control.status_when(all_synced))["state"]["hash"]
    before = client.got[ROUTES].version_info
    control.rules.write_text(reweigh(control.rules.read_text()))
    second = (await control.status_when(lambda s: s["published"] != first and all_synced(s)))["state"]["hash"]
    assert await control.turnout("diff", first, second) == (
        "iris, rule split: 10 % of traffic moves from iris-v1 to iris-v2\n"
    )
    assert "it is pinned" in await control.turnout("rollback", first[:8], "-m", "too many errors")
    await control.status_when(lambda s: s["published"] == first and all_synced(s))
    assert client.got[ROUTES].version_info == before
    told = await control.turnout("history")
    assert re.search(rf"^3 +{first} .*current,pinned +too many errors$", told, re.MULTILINE)
    assert f"held       {second}" in await control.turnout("status")
    assert second in await control.turnout("resume")
    await control.status_when(lambda s: s["published"] == second and s["pinned"] is None)


async def test_a_refusal_is_put_on_the_document_that_was_changed(control: Control, connect: Connect) -> None:
    await control.start()
    client = await connect("sidecar-1")
    await control.status_when(all_synced)
    client.refuses.add(ROUTES)
    control.rules.write_text(reweigh(control.rules.read_text()))
    told = await control.status_when(lambda s: statuses(s).get("RDS") == "ERROR", code=1)
    text = await control.turnout("status", code=1)
    assert "sidecar-1 RDS: no, thank you" in text
    (suspect,) = next(k for k in told["proxies"][0]["types"] if k["type"] == "RDS")["suspects"]
    assert all(str(control.rules) in place for place in suspect["places"])
    assert f"suspect: {suspect['places'][0]}" in text


async def test_what_was_accepted_and_not_pushed_survives_a_kill(control: Control) -> None:
    await control.start("--debounce", "1h")
    (control.folder / "wine.yaml").write_text(WINE)
    accepted = (await control.json("apply", "-f", "wine.yaml"))["state"]["hash"]
    assert (await control.json("status"))["published"] != accepted
    assert await control.end(signal.SIGKILL) == -signal.SIGKILL
    await control.start()
    assert (await control.json("status"))["published"] == accepted


@pytest.fixture
def certificate(tmp_path: Path, require_tool: Callable[[str], str]) -> tuple[str, str]:
    """Files of a certificate of localhost, which has signed itself, and of its key."""
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    command = [
        require_tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


async def test_a_json_log_is_json_whoever_comes(control: Control, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    tls = ("--xds-cert", cert, "--xds-key", key, "--xds-client-ca", cert)
    await control.start("--log-format", "json", *tls)
    stranger = ssl.create_default_context(cafile=cert)
    stranger.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", control.ports["xds"], ssl=stranger, server_hostname="localhost"
    )
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()
    assert await control.end(signal.SIGTERM) == 0
    assert {json.loads(line)["level"] for line in control.log.splitlines()} == {"info"}


async def test_wrong_documents_are_refused_with_file_and_line(control: Control) -> None:
    await control.start()
    (control.folder / "wine.yaml").write_text(WINE.replace("9999", "0"))
    told = await control.turnout("apply", "-f", "wine.yaml", code=1)
    assert "wine.yaml:4: error: spec.endpoints[0].port:" in told
    told = await control.turnout("apply", "-f", str(control.rules), code=1)
    assert f"owned by the file {control.rules}" in told
    control.rules.write_text("{")
    await control.status_when(lambda s: bool(s["fileErrors"]), code=1)
    assert f"{control.rules}:" in await control.turnout("status", code=1)


async def test_no_terminal_obeys_what_somebody_has_written(control: Control) -> None:
    await control.start()
    (control.folder / "\x1b[2Jwine.yaml").write_text(WINE)
    told = await control.turnout("apply", "-f", "\x1b[2Jwine.yaml", "-m", "two\nlines")
    told += await control.turnout("get", "predictor", "wine")
    told += await control.turnout("status")
    told += await control.turnout("history")
    assert "wine.yaml:1: warning: no route names the Predictor default/wine" in told
    assert "# owner: api, written at '\\x1b[2Jwine.yaml':1\n" in told
    assert r"two\nlines" in told
    assert await control.end(signal.SIGTERM) == 0
    for text in (told, control.log):
        assert text.replace("\n", "").isprintable()
    assert all(re.match(r"\d{4}-", line) for line in control.log.splitlines())


async def test_with_nothing_to_tell_it_is_not_ready_and_says_why(control: Control) -> None:
    control.rules.write_text("{")
    await control.start(ready=False)
    told = await control.status_when(lambda s: "files have errors" in s["notReady"], code=1)
    assert told["state"] is None
    assert "not ready  there is no state yet" in await control.turnout("status", code=1)


@pytest.mark.parametrize(
    "words",
    [
        ["--api", "0.0.0.0:0"],
        ["--api", "example.com:80"],
        ["--xds-cert", "a.pem"],
        ["--xds-client-ca", "a.pem"],
        ["--token-file", "/nonexistent"],
    ],
)
def test_an_unsafe_or_half_command_line_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TURNOUT_API_TOKEN", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["control", *words])
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err or words[0] == "--token-file"


def test_the_page_names_every_option_and_command() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    control_command.add_arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    assert options - set(re.findall(r"--[a-z-]+", PAGE)) == set()
    commands = set(re.findall(r"^\| `turnout ([a-z]+)", PAGE, re.MULTILINE))
    assert commands == {"apply", "get", "delete", "history", "diff", "rollback", "resume", "status"} <= set(COMMANDS)


def test_the_page_has_the_envoy_that_is_in_the_tree() -> None:
    _, _, text = (Path(__file__).parents[2] / "deploy/envoy.yaml").read_text().partition("\n")
    assert f"```yaml untested\n# envoy.yaml\n{text}```" in PAGE


def test_a_control_plane_that_is_not_there_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--api", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.startswith("turnout status: the control plane at http://127.0.0.1:1 does not answer")


def read_url(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())
