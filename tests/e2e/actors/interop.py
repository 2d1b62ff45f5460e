"""One control plane and every kind of data plane beside each other, all with the same rules.

They listen on the same ports of different addresses, so what is different between their answers is different between
the data planes.
"""

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import yaml
from actors.control_plane import ControlPlane
from actors.envoy import Envoy
from actors.interop_documents import DATA_PLANES, MARKER_HOST, DataPlane, spread
from actors.proxy import until
from actors.wire import Message, Wire, connect
from free_ports import free_port

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "control-plane.md"
PORTS = (8080, 8088, 8089)
"""Ports that documents say, for which others are used."""


class Request(NamedTuple):
    """What is asked. `port` is as the documents say it."""

    method: str
    target: str
    host: str = "models.example"
    fields: tuple[tuple[str, str], ...] = ()
    port: int = 8080

    def data(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Answer(msgspec.Struct, frozen=True):
    """What came of a request. `seen` is what the predictor got, None if none did."""

    status: int
    location: str | None
    predictor: str | None
    seen: Message | None
    message: Message

    @property
    def path(self) -> str | None:
        return self.seen and self.seen.target


class Predictor(Protocol):
    """What stands behind. `seen` is what it was asked in HTTP/1.1, or in gRPC."""

    name: str
    port: int
    seen: Any


class Process(Protocol):
    """What serves."""

    def close(self) -> None: ...
    def events(self) -> str: ...


class TurnoutProxy:
    """`turnout proxy --xds`, which listens where the control plane says."""

    def __init__(self, folder: Path, control_plane: str, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._event_log = folder / "events.log"
        command = [
            sys.executable, "-m", "turnout.deploy", "proxy", "--xds", control_plane, "--node-id", name,
            "--node-metadata", f"plane={name}", "--admin", f"127.0.0.1:{free_port()}", "--access-log", "off",
            "--trusted", *(["--xds-sotw"] if name.endswith("sotw") else []),
        ]  # fmt: skip
        with self._event_log.open("wb") as stderr:
            self._process = subprocess.Popen(command, stderr=stderr, cwd=folder)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def events(self) -> str:
        return self._event_log.read_text()


class Stage:
    """All of it, with a predictor for each of the ports 8081 and 8082 of the documents."""

    def __init__(self, folder: Path, predictors: Mapping[int, Predictor]) -> None:
        self.control = ControlPlane(folder / "control", "--debounce", "20ms")
        self.predictors = predictors
        self.ports = {port: _port_of_all() for port in PORTS}
        self.processes: dict[str, Process] = {}
        self._folder = folder
        self._pushes = 0
        self._wires: dict[tuple[str, int], Wire] = {}

    async def start(self, documents: str) -> None:
        """Start the control plane with these documents, and all data planes, and wait until they serve."""
        self._write(documents)
        self.control.start()
        await self.control.ready()
        for plane in DATA_PLANES:
            folder = self._folder / plane.name
            if plane.name.startswith("envoy"):
                self.processes[plane.name] = Envoy(folder, read_bootstrap(self.control.xds_port, plane.name))
            else:
                self.processes[plane.name] = TurnoutProxy(folder, self.control.xds, plane.name)
        await self._settled(documents)

    def close(self) -> None:
        for process in self.processes.values():
            process.close()
        self._hang_up()
        self.control.close()

    # The control plane's side

    async def push(self, documents: str) -> None:
        """Replace the rules by these, and wait until all data planes serve them and have acknowledged all of it."""
        self._pushes += 1
        self.change(documents)
        await self._settled(documents)

    def change(self, documents: str) -> None:
        """Replace the rules by these, and no more."""
        self._write(documents)
        assert self.control.process is not None
        self.control.process.send_signal(signal.SIGHUP)

    async def settled(self) -> None:
        """Wait until all data planes are connected and have acknowledged all that there is, and refused nothing."""

        async def is_settled() -> bool:
            status = await self.control.status()
            told = {proxy["node"]: {kind["status"] for kind in proxy["types"]} for proxy in status["proxies"]}
            assert not any("ERROR" in states for states in told.values()), status
            return told == {plane.name: {"SYNCED"} for plane in DATA_PLANES}

        await until(is_settled)

    def _write(self, documents: str) -> None:
        loaded = [document for document in yaml.safe_load_all(documents) if document]
        text = yaml.safe_dump_all(spread(loaded, self._pushes))
        for port, free in (*self.ports.items(), *((port, echo.port) for port, echo in self.predictors.items())):
            text = re.sub(rf"\bport: {port}\b", f"port: {free}", text)
        self.control.write(text)

    async def _settled(self, documents: str) -> None:
        """The rules of a port are swapped as one, so all of them are there when the marker is."""
        await self.marked(f"/push-{self._pushes}", [port for port in PORTS if f"port: {port}" in documents] or [8080])
        await self.settled()
        await until(self._is_warm)
        self._hang_up()

    def _is_warm(self) -> bool:
        """Envoy acknowledges a cluster before the first round of its health checks, and does not use it until then."""
        envoys = [process for process in self.processes.values() if isinstance(process, Envoy)]
        warming = "cluster_manager.warming_clusters", "listener_manager.total_listeners_warming"
        return not any(envoy.count(name) for envoy in envoys for name in warming)

    def _hang_up(self) -> None:
        """To Envoy, the first rate limit or fault of a listener is another listener, and a connection that was there
        before it knows the new routes, but not the filters."""
        for wire in self._wires.values():
            wire.close()
        self._wires.clear()

    async def marked(self, mark: str, ports: Iterable[int] = (8080,)) -> None:
        """Wait until all data planes serve the rules with that mark."""
        for port in ports:
            marker = Request("GET", "/", MARKER_HOST, port=port)
            for plane in DATA_PLANES:
                await until(lambda plane=plane, marker=marker: self._is_marked(plane, marker, mark))

    async def _is_marked(self, plane: DataPlane, marker: Request, mark: str) -> bool:
        try:
            answer = await self.ask(plane, marker)
        except (OSError, asyncio.IncompleteReadError):
            return False
        return answer.location is not None and answer.location.endswith(mark)

    # The client's side

    async def ask(self, plane: DataPlane, request: Request) -> Answer:
        """One request on a kept connection."""
        key = plane.address, self.ports[request.port]
        wire = self._wires.get(key)
        if wire is None or wire.reader.at_eof():
            wire = self._wires[key] = await connect(key[1], plane.address)
        before = {name: len(echo.seen) for name, echo in self._echoes()}
        try:
            await wire.send(request.data())
            message = await wire.read_response(request.method)
        except (OSError, asyncio.IncompleteReadError):
            self._wires.pop(key)
            raise
        if message.get("connection") == "close":
            self._wires.pop(key).close()
        asked = [(name, seen) for name, echo in self._echoes() for seen in echo.seen[before[name] :] if _is_asked(seen)]
        name, seen = asked[-1] if asked else (None, None)
        location = message.get("location")
        return Answer(message.status, location and location.replace(f":{key[1]}", ":PORT"), name, seen, message)

    async def ask_all(self, request: Request, only: str = "") -> dict[str, Answer]:
        """What each data plane answers, or only those of a kind."""
        return {p.name: await self.ask(p, request) for p in DATA_PLANES if p.name.startswith(only)}

    def _echoes(self) -> list[tuple[str, Predictor]]:
        return [(echo.name, echo) for echo in self.predictors.values()]


def _is_asked(message: Message) -> bool:
    """Whether it came on behalf of a client; health checks and copies do not."""
    return "x-forwarded-for" in message.names and "x-turnout-shadow" not in message.names


def read_bootstrap(port: int, name: str) -> str:
    """What the documentation tells users to start Envoy with, for this control plane."""
    found = re.search(r"```yaml untested\n(# envoy\.yaml.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert found, "the documentation has no bootstrap"
    bootstrap = yaml.safe_load(found[1])
    bootstrap["node"] = {"id": name, "cluster": "test", "metadata": {"plane": name}}
    bootstrap["admin"]["address"]["socket_address"]["port_value"] = 0
    ads = bootstrap["dynamic_resources"]["ads_config"]
    assert ads["api_type"] == "DELTA_GRPC"
    if name.endswith("sotw"):
        ads["api_type"] = "GRPC"
    text = yaml.safe_dump(bootstrap)
    assert text.count("port_value: 18000") == 1
    return text.replace("port_value: 18000", f"port_value: {port}")


def _port_of_all() -> int:
    """A port that was free at the address of each data plane a moment ago."""
    while True:
        port = free_port(DATA_PLANES[0].address)
        if all(_is_free(plane.address, port) for plane in DATA_PLANES):
            return port


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind((address, port))
        except OSError:
            return False
        return True
