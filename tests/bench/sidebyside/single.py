"""The rows that are no turns of load: what idle connections cost, and how long a start takes."""

import resource
import socket
import statistics
import time
from dataclasses import dataclass

from sidebyside.checks import Asker
from sidebyside.load import Target
from sidebyside.stage import Lane, Runner, Stage, wait_answer
from sidebyside.work import SHAPES

IDLE_CONNECTIONS = 2_000
_WARM_UP_REQUESTS = 500


@dataclass(frozen=True)
class Idle:
    """Anonymous PSS before and with the idle connections, each of which has carried one request.

    Anonymous only: the share of a file's pages changes when anybody else on the machine maps or leaves that file.
    """

    lane: str
    connections: int
    before_bytes: int
    with_bytes: int

    @property
    def bytes_each(self) -> float:
        """What one connection costs. Memory of the kernel's sockets is in nobody's PSS."""
        return (self.with_bytes - self.before_bytes) / self.connections


def allow_many_files() -> None:
    """Raise our limit of open files to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure_idle(stage: Stage, lane: Lane, connections: int = IDLE_CONNECTIONS) -> Idle:
    """Start the proxy afresh, warm it up over one connection, open the connections, and end it."""
    runner = stage.start(lane)
    target = Target(runner.setup.folder, runner.setup.listen, lane.table, SHAPES["small"])
    with runner.child:
        with Asker(runner, target) as asker:
            for _ in range(_WARM_UP_REQUESTS):
                asker.ask()
        before = runner.child.pss_bytes("Pss_Anon")
        sockets: list[socket.socket] = []
        try:
            sockets.extend(_connect_and_ask(runner, target) for _ in range(connections))
            return Idle(lane.label, connections, before, runner.child.pss_bytes("Pss_Anon"))
        finally:
            for s in sockets:
                s.close()


def _connect_and_ask(runner: Runner, target: Target) -> socket.socket:
    s = socket.create_connection(("127.0.0.1", runner.setup.listen), timeout=10)
    headers = target.table.headers(target.shape)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    s.sendall(f"POST {target.table.path(target.shape)} HTTP/1.1\r\n{head}\r\n".encode() + target.shape.body)
    received = b""
    while target.shape.answer not in received:
        data = s.recv(65_536)
        if not data:
            raise ConnectionError(f"{runner.lane.label} closed a connection: {received[:200]!r}")
        received += data
    return s


def measure_start(stage: Stage, lane: Lane, turns: int, cores: frozenset[int]) -> tuple[float, list[float]]:
    """Seconds from process start to the admin's `ready`: the median, and each. On all `cores`, as for a user."""
    times = []
    for _ in range(turns):
        started = time.monotonic()
        runner = stage.launch(lane, cores)
        with runner.child:
            wait_answer(runner.child, runner.setup.admin, runner.launch.ready_path, (200,))
            times.append(time.monotonic() - started)
    return statistics.median(times), times
