"""The stage: one upstream and the proxies of a row, all running at once on loopback, ended when it is left."""

import http.client
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sidebyside import envoy, haproxy, nginx, turnout
from sidebyside.processes import Child, Cores, wait_until
from sidebyside.setup import Launch, Setup, free_port
from sidebyside.tools import COMPILED
from sidebyside.upstream import UpstreamArgv, upstream_argv
from sidebyside.work import Table

PROXIES: dict[str, Callable[[Setup], Launch]] = {
    "turnout": turnout.prepare,
    COMPILED: turnout.prepare_compiled,
    "envoy": envoy.prepare,
    "nginx": nginx.prepare,
    "haproxy": haproxy.prepare,
}
"""Name → what writes its configuration and says how to run it. `turnout` is plain Python, whatever there is."""

VARIANTS: dict[str, Callable[[Setup], Launch]] = {
    "turnout pair": turnout.prepare_pair,
    "turnout armed": turnout.prepare_armed,
    "envoy pair": envoy.prepare_pair,
    "envoy armed": envoy.prepare_armed,
    "turnout mirror": turnout.prepare_mirror,
    f"{COMPILED} mirror": turnout.prepare_compiled_mirror,
    "envoy mirror": envoy.prepare_mirror,
    "turnout grpc": turnout.prepare_grpc,
    f"{COMPILED} grpc": turnout.prepare_compiled_grpc,
    "envoy grpc": envoy.prepare_grpc,
    "nginx grpc": nginx.prepare_grpc,
    "haproxy grpc": haproxy.prepare_grpc,
    "turnout grpc tls": turnout.prepare_grpc_tls,
    f"{COMPILED} grpc tls": turnout.prepare_compiled_grpc_tls,
    "envoy grpc tls": envoy.prepare_grpc_tls,
    "nginx grpc tls": nginx.prepare_grpc_tls,
    "haproxy grpc tls": haproxy.prepare_grpc_tls,
    **{f"turnout spans {share}": turnout.prepare_spans(share, False) for share in turnout.SPANS},
    **{f"{COMPILED} spans {share}": turnout.prepare_spans(share, True) for share in turnout.SPANS},
}
"""Of some of them, the same with two endpoints, that with all that there is for models that fail, with a mirror, HTTP/2
on both sides, that with mutual TLS towards the client, and spans of some requests."""

_START_S = 60.0
"""A table of 10,000 rules is read in this time by all of them."""


@dataclass(frozen=True)
class Lane:
    """One thing to be measured in a row: a proxy with a table, and the label of its column."""

    label: str
    proxy: str
    table: Table


@dataclass(frozen=True)
class Runner:
    """A proxy that runs."""

    lane: Lane
    setup: Setup
    launch: Launch
    child: Child


class Stage:
    """Use as a context manager: leaving it ends all that was started, in whatever way it is left."""

    def __init__(self, folder: Path, cores: Cores, upstream: UpstreamArgv = upstream_argv) -> None:
        self._upstream = upstream
        self._folder = folder
        self._cores = cores
        self._stack = ExitStack()
        self.ports = (free_port(), free_port())

    def __enter__(self) -> "Stage":
        self._folder.mkdir(parents=True)
        argv = self._upstream(self._folder, *self.ports)
        with ExitStack() as stack:
            child = stack.enter_context(Child(argv, self._folder / "upstream.log"))
            for port in self.ports:
                wait_accept(child, port)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def start(self, lane: Lane) -> Runner:
        """Start a proxy and wait until it is ready."""
        runner = self.launch(lane)
        self.wait_ready(runner)
        return runner

    def start_all(self, lanes: Iterable[Lane]) -> list[Runner]:
        """Start several, one after the other."""
        return [self.start(lane) for lane in lanes]

    def launch(self, lane: Lane, cores: frozenset[int] | None = None) -> Runner:
        """Start a proxy on `cores` (default: the proxy's core), without waiting for anything."""
        listen = free_port()
        folder = self._folder / f"{lane.label.replace(' ', '-')}-{listen}"
        folder.mkdir()
        setup = Setup(folder, lane.table, listen, free_port(), *self.ports)
        launch = {**PROXIES, **VARIANTS}[lane.proxy](setup)
        child = self._stack.enter_context(
            Child(launch.argv, launch.output, cores or self._cores.proxy, launch.environment)
        )
        if launch.relay:
            self._stack.enter_context(Child([*launch.relay], folder / "relay.log", self._cores.load))
        return Runner(lane, setup, launch, child)

    def wait_ready(self, runner: Runner) -> None:
        """Return when the admin says so and the listener takes connections."""
        wait_answer(runner.child, runner.setup.admin, runner.launch.ready_path, (200,))
        wait_accept(runner.child, runner.setup.listen)


def wait_answer(child: Child, port: int, path: str, statuses: tuple[int, ...] = ()) -> None:
    """Return when a GET is answered (with one of `statuses`). Raises ProcessDied, TimeoutError."""
    what = f"{child.argv[0]} answers {path} on port {port}"
    wait_until(lambda: answers(child, port, path, statuses), what, _START_S)


def wait_accept(child: Child, port: int) -> None:
    """Return when a connection is accepted, whatever is to be spoken on it. Raises ProcessDied, TimeoutError."""
    wait_until(lambda: _accepts(child, port), f"{child.argv[0]} accepts connections on port {port}", _START_S)


def _accepts(child: Child, port: int) -> bool:
    child.check()
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def answers(child: Child, port: int, path: str, statuses: tuple[int, ...] = ()) -> bool:
    """Whether a GET is answered (with one of `statuses`). Raises ProcessDied if the process has ended."""
    child.check()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return not statuses or status in statuses
